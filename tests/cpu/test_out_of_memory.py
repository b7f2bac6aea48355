"""Memory runs out above a cap: the engine goes on in smaller parts, says so, and loses no window."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sottovoce.engine.engine import Engine
from sottovoce.engine.loop import Loop
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.errors import EngineError
from sottovoce.model.whisper import Whisper
from sottovoce.types import Align, Aligned, Answer, Decode, Decoded, Detect, Detected, Lane, Rules, Search, Window
from tests.cpu import plain_engine as twin
from tests.cpu.test_engine import AHEAD, V, a_sound, an_ask, run

N_ROWS = 8


def no_memory_on_a_gpu() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def no_memory_on_a_cpu() -> Exception:
    return RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory")


class CappedRunner(TorchRunner):
    """A device with memory for so many sequences at once. calls: (stage, how many) of every call that went well."""

    most: dict[str, int]
    error: Callable[[], Exception]

    def cap(self, error: Callable[[], Exception] = no_memory_on_a_gpu, **most: int) -> None:
        self.most, self.error = most, error
        self.calls: list[tuple[str, int]] = []

    def _do(self, stage: str, sequences: Any, run: Callable[[], Any], late: bool = False) -> Any:
        over = len(sequences) > self.most.get(stage, N_ROWS)
        done = None if over and not late else run()
        if over:
            raise self.error()
        self.calls.append((stage, len(sequences)))
        return done

    def encode(self, sequences):  # type: ignore[no-untyped-def]
        return self._do("encode", sequences, lambda: super(CappedRunner, self).encode(sequences))

    def prefill(self, sequences):  # type: ignore[no-untyped-def]
        return self._do("prefill", sequences, lambda: super(CappedRunner, self).prefill(sequences))

    def decode(self, sequences):  # type: ignore[no-untyped-def]
        return self._do("decode", sequences, lambda: super(CappedRunner, self).decode(sequences))

    def sample(self, sequences, logits):  # type: ignore[no-untyped-def]
        # the worst place: tokens have been taken already when it runs out
        return self._do("sample", sequences, lambda: super(CappedRunner, self).sample(sequences, logits), late=True)

    def detect(self, sequences, sot):  # type: ignore[no-untyped-def]
        return self._do("detect", sequences, lambda: super(CappedRunner, self).detect(sequences, sot))


@pytest.fixture(scope="module")
def model() -> Whisper:
    return twin.a_model()


@pytest.fixture(params=AHEAD)
def runner(model: Whisper, request: pytest.FixtureRequest) -> CappedRunner:
    made = CappedRunner(model, V, n_rows=N_ROWS, n_threads=1, parts=AHEAD[request.param])
    made.cap()
    return made


def windows(n: int) -> list[Window]:
    """Greedy, beams and sampling."""
    dice = random.Random(n)
    asks = [an_ask(dice, beams=dice.choice([1, 1, 2])) for _ in range(n - 1)]
    hot = Decode((twin.SOT,), search=Search(temperature=0.8, best_of=2, seed=7, max_tokens=20), rules=Rules())
    return [Window(f"k{i}", a_sound(i), ask, f"flow{i % 3}") for i, ask in enumerate([*asks, hot])]


def tokens(answers: list[Answer]) -> list[tuple[int, ...]]:
    assert all(isinstance(a, Decoded) for a in answers)
    return [a.tokens for a in answers if isinstance(a, Decoded)]


@pytest.mark.parametrize("error", [no_memory_on_a_gpu, no_memory_on_a_cpu, MemoryError])
@pytest.mark.parametrize("stage", ["encode", "prefill", "decode", "sample"])
@pytest.mark.parametrize("most", [1, 3])
def test_no_window_is_lost_and_the_words_are_the_same(
    runner: CappedRunner, stage: str, most: int, error: Callable[[], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    expected = tokens(run(Engine(runner, twin.SOT, encode_windows=4), windows(12)))
    runner.cap(error, **{stage: most})
    with caplog.at_level(logging.WARNING):
        assert tokens(run(Engine(runner, twin.SOT, encode_windows=4), windows(12))) == expected
    assert "out of memory" in caplog.text
    assert "going on with" in caplog.text
    assert max(n for name, n in runner.calls if name == stage) <= most


def test_what_does_not_fit_alone_is_told_and_the_others_go_on(runner: CappedRunner) -> None:
    runner.cap(sample=0)
    loop = Loop(Engine(runner, twin.SOT))
    futures = [loop.submit(window) for window in windows(5)]
    for future in futures:
        with pytest.raises(EngineError, match=r"one window alone does not fit.*CUDA out of memory"):
            future.result(30)
    runner.cap()
    assert len(tokens([loop.submit(windows(5)[0]).result(30)])) == 1
    loop.close()


def test_languages_and_alignments_are_answered_too(runner: CappedRunner) -> None:
    asks: list[Detect | Align] = [Detect((10, 20, 30))] * 5
    asks += [Align((twin.SOT, 103), tuple(range(20, 30)))]
    questions = [Window(f"k{i}", a_sound(i), ask) for i, ask in enumerate(asks)]
    expected = run(Engine(runner, twin.SOT), questions)
    runner.cap(detect=1, encode=1)
    answers = run(Engine(runner, twin.SOT), questions)
    for a, b in zip(expected, answers, strict=True):
        if isinstance(a, Aligned) and isinstance(b, Aligned):
            assert a.jumps == b.jumps
        else:
            assert isinstance(a, Detected)
            assert isinstance(b, Detected)
            assert a.probs == pytest.approx(b.probs, abs=1e-5)


def test_the_small_parts_last_until_there_is_nothing_to_do(runner: CappedRunner) -> None:
    engine = Engine(runner, twin.SOT)
    runner.cap(decode=2)
    run(engine, windows(12))
    n_calls = len(runner.calls)
    runner.cap()
    run(engine, windows(12))
    assert max(n for _, n in runner.calls) > 2
    assert len(runner.calls) < n_calls


def test_another_error_is_no_lack_of_memory(runner: CappedRunner) -> None:
    runner.cap(lambda: RuntimeError("device lost"), decode=0)
    engine = Engine(runner, twin.SOT)
    for window in windows(4):
        engine.add(window, Lane.REQUEST)
    outcomes = [o for _ in range(6) for o in engine.step()]
    assert len(outcomes) == 4
    assert all("device lost" in str(o.error) for o in outcomes)
