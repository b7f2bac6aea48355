"""Triton's kernels beside their plain twins, interpreted; and compiled for devices that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from sottovoce.engine import align, choices, fused
from sottovoce.engine.choices import RowState
from sottovoce.engine.engine import Engine
from sottovoce.engine.fused import Fused, kernels
from sottovoce.engine.indirect import GatherAttend, Kept
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.stream import PlainStream
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.types import Align, Aligned, Decode, Decoded, Rules, Search, Window
from tests.cpu import plain_engine as twin
from tests.cpu.streams import CPU
from tests.cpu.test_cuda import greedy_windows
from tests.cpu.test_engine import V, a_sound, run

ROOT = Path(__file__).parents[2]

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("tests/gpu compares them as they run on a device", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def quiet_numpy() -> Iterator[None]:
    """The interpreter computes with numpy, which warns where a device gives infinities and goes on."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(scope="module")
def triton() -> Fused:
    return kernels()


def some_kept(n: int, heads: int, n_positions: int, width: int, dtype: torch.dtype, int8: bool) -> Kept:
    draw = torch.Generator().manual_seed(n)
    kept = Kept.empty(n, heads, n_positions, width, CPU, dtype, int8)
    pair = (torch.randn(n, heads, n_positions, width, generator=draw) for _ in range(2))
    kept.put_(torch.arange(n), *pair)
    return kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("n_positions", [40, 600])
def test_attention_to_any_slots(triton: Fused, n_positions: int, int8: bool, dtype: torch.dtype) -> None:
    """Several lines at a slot, slots in any order, a line of nobody; more positions than one program reads."""
    kept = some_kept(5, 2, n_positions, 16, dtype, int8)
    index = torch.tensor([3, 3, 0, -1, 4, 3])
    q = torch.randn(6, 2, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    ours, theirs = (f(q, kept, index, None, n_positions) for f in (triton.attend, GatherAttend()))
    real = index >= 0
    torch.testing.assert_close(ours[real], theirs[real], atol=2e-3 if dtype == torch.float16 else 2e-6, rtol=1e-3)
    assert ours[~real].eq(0).all()


def test_attention_of_lines_of_different_lengths(triton: Fused) -> None:
    kept = some_kept(6, 2, 448, 16, torch.float32, False)
    index, lengths = torch.tensor([5, 0, 2, 1, 4]), torch.tensor([1, 448, 256, 257, 64])
    q = torch.randn(5, 2, 16, generator=torch.Generator().manual_seed(0))
    ours, theirs = (f(q, kept, index, lengths, 448) for f in (triton.attend, GatherAttend()))
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-4)


def test_a_lines_attention_does_not_depend_on_its_neighbours(triton: Fused) -> None:
    kept = some_kept(5, 2, 300, 16, torch.float32, False)
    q, index = torch.randn(4, 2, 16), torch.tensor([2, 0, 4, 2])
    together = triton.attend(q, kept, index, None, 300)
    for i in range(4):
        assert torch.equal(triton.attend(q[i : i + 1], kept, index[i : i + 1], None, 300)[0], together[i])


def a_book(draw: np.random.Generator, n_rows: int) -> RuleBook:
    v = Vocabulary(n_vocab=1003, eot=700, timestamp_begin=802, no_timestamps=801, no_speech=790)
    rules = RuleBook(v, n_rows + 1, 96, CPU)
    for row in range(n_rows):
        suppress = tuple(draw.choice(700, 90, replace=False).tolist())
        limit = None if draw.random() < 0.3 else int(draw.integers(0, 60))
        rules.reset_([row], Decode((1,), 0, Search(), Rules(suppress, (700, 220), bool(draw.random() < 0.8), limit)))
    return rules


@pytest.mark.parametrize("seed", range(6))
def test_choices_and_what_they_change(triton: Fused, seed: int) -> None:
    """Every state of the grammar, rows that end, by their text or by their number, and rows that have ended."""
    n, books, states = 6, [], []
    for _ in range(2):
        books.append(a_book(np.random.default_rng(seed), n))
        left = torch.arange(n + 1) + 3
        ended = torch.zeros(n + 1, dtype=torch.bool)
        states.append(RowState(torch.zeros_like(left), torch.arange(n + 1), left, ended))
    draw = np.random.default_rng(seed)
    for _ in range(9):
        # every second line, as a prefill gives them
        logits = torch.from_numpy(draw.normal(0, 3, (2 * n + 4, 1003)).astype(np.float32))[1::2]
        logits[:, 802:] += float(draw.choice([-4, 0, 3]))
        logits[:, 700] += float(draw.choice([0, 6]))
        rows, lines = (torch.from_numpy(draw.permutation(k)[:5].copy()) for k in (n, n + 2))
        (ours, p), (theirs, q) = (
            best(book, logits, lines, rows, 1, state)
            for best, book, state in zip((triton.best, choices.best_), books, states, strict=True)
        )
        possible = torch.isfinite(q)
        assert torch.equal(ours[possible], theirs[possible])
        torch.testing.assert_close(p, q, atol=2e-5, rtol=0)
        for name, mine in books[0].tensors().items():
            assert torch.equal(mine[:n], books[1].tensors()[name][:n]), name
        assert torch.equal(books[0].history[:n], books[1].history[:n])
        for name in RowState.__slots__:
            assert torch.equal(getattr(states[0], name)[:n], getattr(states[1], name)[:n]), name


@pytest.mark.parametrize("seed", range(3))
def test_the_best_few(triton: Fused, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rules, rows = a_book(draw, 5), torch.tensor([4, 0, 2])
    for _ in range(3):
        logits = torch.from_numpy(draw.normal(0, 3, (3, 1003)).astype(np.float32))
        logits[:, 802:] += float(draw.choice([-4, 0, 3]))
        args = rules, logits, torch.arange(3), rows, 6, None
        (ours, p), (theirs, q) = triton.best(*args), choices.best_(*args)
        possible = torch.isfinite(q)
        assert torch.equal(ours[possible], theirs[possible])
        torch.testing.assert_close(p, q, atol=2e-5, rtol=0)
        rules.update_(theirs[:, 0], rows)


def test_of_equals_the_lowest_id_comes_first(triton: Fused) -> None:
    rules = a_book(np.random.default_rng(0), 1)
    rules.reset_([0], Decode((1,), rules=Rules(timestamps=False)))
    logits = torch.zeros(1, 1003)
    tokens, _ = triton.best(rules, logits, torch.tensor([0]), torch.tensor([0]), 4, None)
    assert tokens.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(("n_tokens", "n_positions"), [(1, 1), (2, 9), (7, 150), (20, 33)])
def test_word_times(triton: Fused, n_tokens: int, n_positions: int) -> None:
    scores = torch.randn(3, n_tokens + 3, 160, generator=torch.Generator().manual_seed(n_tokens)) * 3
    args = scores, 2, n_positions, 1.0, 7
    assert triton.jumps(*args).tolist() == align.jumps(*args).tolist()


def test_ties_of_the_path_go_the_references_way(triton: Fused) -> None:
    from sottovoce.engine import triton_align

    draw = np.random.default_rng(0)
    for _ in range(20):
        n, m = draw.integers(1, 8), draw.integers(1, 20)
        matrix = draw.integers(0, 3, (n, m)).astype(np.float32)
        found = triton_align.starts(torch.from_numpy(matrix))
        assert found.tolist() == align.token_jumps(matrix).tolist()


@pytest.mark.parametrize("width", [3, 5, 7, 13])
def test_the_median_filter(triton: Fused, width: int) -> None:
    from sottovoce.engine import triton_align

    for n_positions in (3, 70):
        x = torch.randn(3, 2, n_positions, generator=torch.Generator().manual_seed(0)).round(decimals=1)
        expected = align.median_filter(x, width).mean(dim=0)
        torch.testing.assert_close(triton_align.filtered(x, width), expected)


def test_kernels_are_tried_before_they_are_used(triton: Fused) -> None:
    """Each beside its twin; what differs is named, and the twins compute."""
    assert fused.differing(triton, CPU, torch.float16) == []
    wrong = Fused(
        lambda *args: triton.attend(*args) * 1.2,  # type: ignore[arg-type]
        lambda rules, logits, *rest: triton.best(rules, logits.flip(1), *rest),
        lambda *args: triton.jumps(*args) + 1,
    )
    assert fused.differing(wrong, CPU, torch.float32) == ["attention differs", "choice differs", "word times differs"]


def test_twins_compute_where_kernels_are_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where Triton is missing, does not compile, or the device is too old for it."""
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert fused.fused(CPU, torch.float32) is not fused.PLAIN
    monkeypatch.setattr(fused, "differing", lambda *_: ["attention differs"])
    assert fused.fused(CPU, torch.float32) is fused.PLAIN
    assert "attention differs" in caplog.text

    def missing() -> Fused:
        raise ImportError("No module named 'triton'")

    monkeypatch.setattr(fused, "kernels", missing)
    assert fused.fused(CPU, torch.float32) is fused.PLAIN
    assert "No module named 'triton'" in caplog.text
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert fused.fused(CPU, torch.float32) is fused.PLAIN


def test_a_whole_decoding_by_kernels(triton: Fused) -> None:
    """Greedy rows, beams and word times: the tokens of the plain network."""
    model = twin.a_model()
    beams = Decode((twin.SOT,), search=Search(beam_size=2, max_tokens=2), rules=Rules())
    greedy = [
        Window(w.key, w.sound, Decode(w.ask.prompt, w.ask.i_sot, Search(max_tokens=3), w.ask.rules))
        for w in greedy_windows(2)
        if isinstance(w.ask, Decode)
    ]
    windows = [*greedy, Window("b", a_sound(7), beams), Window("a", a_sound(1), Align((twin.SOT,), (20, 21, 22)))]
    ours, theirs = (
        run(Engine(TorchRunner(model, V, n_rows=4, n_threads=1, parts=parts), twin.SOT), windows)
        for parts in ((PlainStream(CPU), triton), None)
    )
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, Decoded) and isinstance(b, Decoded):
            assert a.tokens == b.tokens
            assert a.avg_logprob == pytest.approx(b.avg_logprob, abs=1e-4)
        else:
            assert isinstance(a, Aligned)
            assert isinstance(b, Aligned)
            assert a.jumps == b.jumps


def test_the_kernels_compile_for_devices_that_are_not_here() -> None:
    """To machine code, by the assembler that Triton brings. In a process of its own: this one interprets them."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    code = "from tests.cpu.compiled import compile_all; compile_all()"
    ran = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split() == ["80", "90"]
