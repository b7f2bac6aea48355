"""Every Triton kernel beside its plain twin on a device: the same, and faster."""

from __future__ import annotations

import pytest
import torch
from bench import device as bench
from bench.stages import vocabulary_of

from sottovoce.engine import fused
from sottovoce.engine.choices import RowState
from sottovoce.engine.fused import Fused
from sottovoce.engine.indirect import Kept
from sottovoce.engine.rules import RuleBook
from sottovoce.model import catalogue
from sottovoce.model.dims import Dims
from sottovoce.types import Decode, Rules

N_ROWS = 48


@pytest.fixture(scope="module", params=["large-v3", "base"])
def dims(request: pytest.FixtureRequest) -> Dims:
    card = catalogue.find(request.param)
    assert card is not None
    return card.dims


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("int8", [False, True])
def test_attention(kernels: Fused, device: torch.device, dims: Dims, dtype: torch.dtype, int8: bool) -> None:
    """Sounds, several lines at a slot and lines of nobody among them; and texts of every length."""
    heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
    kept = Kept.empty(8, heads, dims.n_audio_ctx, width, device, dtype, int8)
    numbers = (torch.randn(8, heads, dims.n_audio_ctx, width, device=device).to(dtype) for _ in range(2))
    kept.put_(torch.arange(8, device=device), *numbers)
    index = torch.randint(0, 8, (N_ROWS,), device=device)
    index[5] = -1
    q = torch.randn(N_ROWS, heads, width, device=device).to(dtype)
    lengths = torch.randint(1, 449, (N_ROWS,), device=device)
    real = index >= 0
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    for args in ((q, kept, index, None, dims.n_audio_ctx), (q, kept, index, lengths, 448)):
        ours, theirs = (f.attend(*args) for f in (kernels, fused.PLAIN))
        torch.testing.assert_close(ours[real], theirs[real], atol=tolerance, rtol=tolerance)
    alone = kernels.attend(q[7:8], kept, index[7:8], None, dims.n_audio_ctx)
    assert torch.equal(alone[0], kernels.attend(q, kept, index, None, dims.n_audio_ctx)[7]), "its neighbours matter"


@pytest.mark.parametrize("k", [1, 6])
def test_choices(kernels: Fused, device: torch.device, dims: Dims, k: int) -> None:
    v, line = vocabulary_of(dims), torch.arange(N_ROWS, device=device)
    books = [RuleBook(v, N_ROWS + 1, dims.n_text_ctx, device) for _ in range(2)]
    states = []
    for book in books:
        for row in range(N_ROWS):
            suppress = tuple(range(row, v.eot, 97))
            book.reset_([row], Decode((1,), rules=Rules(suppress, (v.eot, 220), row % 4 > 0, [None, 10][row % 2])))
        left = torch.arange(N_ROWS + 1, device=device) + 4
        states.append(RowState(torch.zeros_like(left), left.clone(), left, torch.zeros_like(left, dtype=torch.bool)))
    for seed in range(12):
        logits = torch.randn(N_ROWS, v.n_vocab, generator=torch.Generator().manual_seed(seed)) * 3
        logits[:, v.timestamp_begin :] += [-4, 0, 3][seed % 3]
        logits = logits.to(device)
        (ours, p), (theirs, q) = (
            which.best(book, logits.clone(), line, line, k, state if k == 1 else None)
            for which, book, state in zip((kernels, fused.PLAIN), books, states, strict=True)
        )
        possible = torch.isfinite(q)
        assert torch.equal(ours[possible], theirs[possible])
        torch.testing.assert_close(p, q, atol=1e-4, rtol=0)
        if k > 1:
            for book in books:
                book.update_(theirs[:, 0], line)
        for name in RowState.__slots__:
            assert torch.equal(*(getattr(state, name)[:N_ROWS] for state in states)), name


@pytest.mark.parametrize("n_tokens", [1, 30, 220])
def test_word_times(kernels: Fused, device: torch.device, n_tokens: int) -> None:
    scores = torch.randn(6, n_tokens + 4, 1500, device=device) * 3
    for n_positions in (3, 700, 1500):
        ours, theirs = (f.jumps(scores, 3, n_positions, 1.0, 7) for f in (kernels, fused.PLAIN))
        assert ours.tolist() == theirs.tolist()


@pytest.mark.usefixtures("on_a_device")
@pytest.mark.parametrize("kv", ["auto", "int8"])
@pytest.mark.parametrize("n_rows", [1, 64])
def test_every_kernel_is_faster_than_its_twin(
    kernels: Fused, device: torch.device, dims: Dims, n_rows: int, kv: str
) -> None:
    for pair in bench.pairs(kernels, dims, device, torch.float16, kv, n_rows):
        print(f"{pair.name}: {1e6 * pair.ours:.0f} us, its twin {1e6 * pair.twin:.0f} us")
        assert pair.ours < pair.twin, pair.name
