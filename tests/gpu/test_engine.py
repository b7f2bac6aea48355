"""The whole engine on a device, beside the CPU: the same tokens in float32, whoever sits in the batch; memory."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from sottovoce.engine import memory
from sottovoce.engine.engine import Engine
from sottovoce.engine.fused import Fused
from sottovoce.engine.stream import Stream
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.types import Align, Aligned, Decode, Decoded, Rules, Search, Window
from tests.cpu import plain_engine as twin
from tests.cpu.test_engine import V, a_sound, an_ask, run

Parts = tuple[Stream, Fused]


@pytest.fixture(params=["auto", "int8"])
def kv(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def an_engine(parts: Parts, kv: str = "auto") -> Engine:
    engine = Engine(
        TorchRunner(twin.a_model().to(parts[0].device), V, 8, 1, kv, parts=parts), twin.SOT, encode_windows=3
    )
    engine.begin()
    return engine


def some_windows(n: int) -> list[Window]:
    dice = random.Random(n)
    asks = [an_ask(dice, beams=dice.choice([1, 1, 1, 2, 5])) for _ in range(n)]
    return [Window(f"k{i}", a_sound(i), ask, f"flow{i % 3}") for i, ask in enumerate(asks)]


def test_the_tokens_are_those_of_the_cpu(parts: Parts) -> None:
    windows = some_windows(40)
    expected = run(Engine(TorchRunner(twin.a_model(), V, n_rows=8, n_threads=1), twin.SOT), windows)
    for ours, theirs in zip(run(an_engine(parts), windows), expected, strict=True):
        assert isinstance(ours, Decoded)
        assert isinstance(theirs, Decoded)
        assert ours.tokens == theirs.tokens
        assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-3)
        assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-4)


def test_alone_and_in_company_a_window_says_the_same(parts: Parts, kv: str) -> None:
    windows = some_windows(8)
    together = run(an_engine(parts, kv), windows)
    alone = [run(an_engine(parts, kv), [window])[0] for window in windows]
    assert [a.tokens for a in together if isinstance(a, Decoded)] == [a.tokens for a in alone if isinstance(a, Decoded)]


def test_sampling_and_word_times(parts: Parts) -> None:
    engine = an_engine(parts)
    hot = Decode((twin.SOT,), search=Search(temperature=0.8, best_of=3, seed=7, max_tokens=20), rules=Rules())
    text = tuple(range(20, 35))
    asked = [Window("a", a_sound(0), hot), Window("b", a_sound(2), Align((twin.SOT, 103), text))]
    sampled, aligned = run(engine, asked)
    (again,) = run(engine, asked[:1])
    assert isinstance(sampled, Decoded)
    assert isinstance(again, Decoded)
    assert sampled.tokens == again.tokens
    assert isinstance(aligned, Aligned)
    (expected,) = run(Engine(TorchRunner(twin.a_model(), V, 8, 1), twin.SOT), asked[1:])
    assert isinstance(expected, Aligned)
    assert aligned.jumps == expected.jumps


@pytest.fixture
def little_memory(device: torch.device) -> Iterator[None]:
    """No more than 50 MB beyond what is there."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 50e6) / total, device)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.usefixtures("on_a_device")
def test_no_window_is_lost_for_want_of_memory(parts: Parts, request: pytest.FixtureRequest) -> None:
    windows = some_windows(30)
    engine = an_engine(parts)
    expected = run(engine, windows)
    engine = an_engine(parts)
    request.getfixturevalue("little_memory")
    found = run(engine, windows)
    assert [a.tokens for a in found if isinstance(a, Decoded)] == [a.tokens for a in expected if isinstance(a, Decoded)]


@pytest.mark.usefixtures("on_a_device")
def test_unloading_gives_the_memory_back(parts: Parts, device: torch.device) -> None:
    memory.give_back()
    before = torch.cuda.memory_reserved(device)
    engine = an_engine(parts)
    run(engine, some_windows(8))
    assert torch.cuda.memory_reserved(device) > before
    engine.runner.give_room()
    del engine
    memory.give_back()
    assert torch.cuda.memory_reserved(device) <= before + 2**26, "what libraries keep for their own use"
