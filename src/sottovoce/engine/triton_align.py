"""Word times by Triton: the median filter, and dynamic time warping with its walk back. Plain twin: align.py.

Source: openai/whisper triton_ops.py, for one program a whole alignment, diagonal by diagonal.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sottovoce.engine import align

BLOCK = 64  # positions that one program filters


@triton.jit(do_not_specialize=["n_heads", "n_lines", "n_positions"])
def _filter_and_mean(
    x, out, n_heads, n_lines, n_positions, WIDTH: tl.constexpr, ROOM: tl.constexpr, BLOCK: tl.constexpr
):
    """The median of WIDTH neighbours by their ranks, then the mean over heads. x: (n_heads, T, S); out: (T, S)."""
    line = tl.program_id(0)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    j = tl.arange(0, ROOM)
    at = p[:, None] + j[None, :] - WIDTH // 2  # (BLOCK, ROOM)
    at = tl.where(at < 0, -at, at)
    at = tl.where(at >= n_positions, 2 * (n_positions - 1) - at, at)
    there = (p < n_positions)[:, None] & (j < WIDTH)[None, :]
    total = tl.zeros((BLOCK,), tl.float32)
    for head in range(n_heads):
        near = tl.load(x + (head * n_lines + line) * n_positions + at, mask=there, other=float("inf"))
        less = near[:, :, None] < near[:, None, :]  # (BLOCK, of whom, who)
        tied = (near[:, :, None] == near[:, None, :]) & (j[:, None] < j[None, :])[None, :, :]
        rank = tl.sum((less | tied).to(tl.int32), axis=1)  # (BLOCK, ROOM)
        total += tl.sum(tl.where(there & (rank == WIDTH // 2), near, 0.0), axis=1)
    tl.store(out + line * n_positions + p, total / n_heads, mask=p < n_positions)


@triton.jit(do_not_specialize=["n_lines", "n_positions"])  # every text would be compiled for
def _warp(matrix, total, trace, starts, n_lines, n_positions, ROOM: tl.constexpr):
    """The cheapest monotonic path through -matrix, as align.py:dtw finds it, and where on it each line begins.

    total: (3, n_lines + 1) float32, all infinite, in turn the last three anti-diagonals.
    trace: (n_lines + n_positions + 1, n_lines + 1) int8: which way a cell was reached.
    """
    width = n_lines + 1
    i = tl.arange(0, ROOM)
    tl.store(total, 0.0)
    for d in range(2, n_lines + n_positions + 1):
        tl.debug_barrier()  # what was stored by other threads is there
        here = (i >= tl.maximum(1, d - n_positions)) & (i <= tl.minimum(n_lines, d - 1))
        two_ago, one_ago, now = total + (d - 2) % 3 * width, total + (d - 1) % 3 * width, total + d % 3 * width
        c0 = tl.load(two_ago + i - 1, mask=here, other=float("inf"))
        c1 = tl.load(one_ago + i - 1, mask=here, other=float("inf"))
        c2 = tl.load(one_ago + i, mask=here, other=float("inf"))
        diagonal, up = (c0 < c1) & (c0 < c2), (c1 < c0) & (c1 < c2)
        step = tl.where(diagonal, 0, tl.where(up, 1, 2))
        best = tl.where(diagonal, c0, tl.where(up, c1, c2))
        cost = -tl.load(matrix + (i - 1) * n_positions + d - i - 1, mask=here, other=0.0)
        # cells outside of the table are infinite: of three diagonals ago, another value stands there
        tl.store(now + i, tl.where(here, cost + best, float("inf")), mask=i <= n_lines)
        tl.store(trace + d * width + i, step.to(tl.int8), mask=here)
    tl.debug_barrier()
    line, position = n_lines, n_positions
    while (line > 0) & (position > 0):
        tl.store(starts + line - 1, (position - 1).to(tl.int64))
        step = tl.load(trace + (line + position) * width + line)
        line = tl.where(step == 2, line, line - 1)
        position = tl.where(step == 1, position, position - 1)


def jumps(scores: Tensor, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int) -> Tensor:
    """As align.Jumps, on the device and without a wait."""
    x = align.normalised(scores, n_positions, qk_scale)
    return starts(filtered(x, medfilt_width)[n_sot:-1])


def filtered(x: Tensor, width: int) -> Tensor:
    """(T, S) the mean over heads of the median over `width` (odd) neighbours. x: (n_heads, T, S) float32."""
    n_heads, n_lines, n_positions = x.shape
    if n_positions <= width // 2:
        return x.mean(dim=0)
    out = torch.empty(n_lines, n_positions, device=x.device)
    _filter_and_mean[n_lines, triton.cdiv(n_positions, BLOCK)](
        x.contiguous(), out, n_heads, n_lines, n_positions,
        WIDTH=width, ROOM=triton.next_power_of_2(width), BLOCK=BLOCK,
    )  # fmt: skip
    return out


def starts(matrix: Tensor) -> Tensor:
    """As align.token_jumps: (T,) int64 from (T, S)."""
    n_lines, n_positions = matrix.shape
    found = torch.zeros(n_lines, dtype=torch.int64, device=matrix.device)
    if not n_lines or not n_positions:
        return found
    total = torch.full((3, n_lines + 1), torch.inf, device=matrix.device)
    trace = torch.zeros(n_lines + n_positions + 1, n_lines + 1, dtype=torch.int8, device=matrix.device)
    _warp[1,](matrix.contiguous(), total, trace, found, n_lines, n_positions, ROOM=triton.next_power_of_2(n_lines + 1))
    return found
