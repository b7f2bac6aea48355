"""Cross-attention -> when each token is spoken: median filter, dynamic time warping. Knows tokens as numbers only.

Source: openai/whisper timing.py:find_alignment; slow twins: tests/cpu/test_align.py.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.engine import kernels

MOST_EXCHANGED = 9  # of a median's width: beyond, sorting costs less than exchanging neighbours
LINES_AT_ONCE = 64  # of 1500 positions, so that all of an exchange stays in the cache


class Jumps(Protocol):
    """When the tokens of a text are spoken."""

    def __call__(self, scores: Tensor, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int) -> Tensor:
        """Audio position at which each token begins, (T - n_sot - 1,) int64.

        scores: (n_heads, T, S) float32, before the softmax, of the whole text; the first n_sot tokens and the last
        one are not asked about.
        """
        ...


def jumps(scores: Tensor, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int) -> Tensor:
    """As Jumps, on the host. Plain twin of triton_align.py."""
    matrix = attention_matrix(scores, n_positions, qk_scale, medfilt_width)
    return torch.from_numpy(token_jumps(matrix[n_sot:-1].cpu().numpy()))  # sync


def median_filter(x: Tensor, width: int) -> Tensor:
    """Median over `width` (odd) neighbours along the last axis, edges reflected; x itself if it is too short."""
    pad = width // 2
    if x.shape[-1] <= pad:
        return x
    shape = x.shape
    x = F.pad(x.reshape(1, -1, shape[-1]), (pad, pad), mode="reflect")
    if width > MOST_EXCHANGED:
        return x.unfold(-1, width, 1).sort().values[..., pad].reshape(shape)
    parts = [_median(part, width) for part in torch.split(x, LINES_AT_ONCE, dim=1)]
    return torch.cat(parts, dim=1).reshape(shape)


def _median(x: Tensor, width: int) -> Tensor:
    """As median_filter, of padded lines: exchanges of neighbours until the larger half stands in order at the end."""
    n = x.shape[-1] - width + 1
    sorted_ = [x[..., i : i + n] for i in range(width)]
    for n_done in range(width // 2 + 1):
        for i in range(width - 1 - n_done):
            a, b = sorted_[i], sorted_[i + 1]
            sorted_[i], sorted_[i + 1] = torch.minimum(a, b), torch.maximum(a, b)
    return sorted_[width // 2]


def attention_matrix(scores: Tensor, n_positions: int, qk_scale: float, medfilt_width: int) -> Tensor:
    """(T, n_positions) how much each token looks at each audio position: heads normalised, smoothed and averaged.

    scores: (n_heads, T, S) float32, before the softmax.
    """
    return median_filter(normalised(scores, n_positions, qk_scale), medfilt_width).mean(dim=0)


def normalised(scores: Tensor, n_positions: int, qk_scale: float) -> Tensor:
    """(n_heads, T, n_positions) how much more each token looks at a position than the others do."""
    weights = (scores[:, :, :n_positions] * qk_scale).softmax(dim=-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    # a position that every token looks at alike says nothing (0 / 0)
    return ((weights - mean) / std).nan_to_num(0.0)


def dtw(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest monotonic path through (T, S) costs, as (text indices, time indices).

    Whole anti-diagonals at a time: a cell needs only the two diagonals before its own. Ties go the reference's way.
    """
    n, m = cost.shape
    # skewed[i, d] = total[i, d - i]; column d is an anti-diagonal of the (n + 1, m + 1) table
    total = np.full((n + m + 1, n + 1), np.inf, np.float32)
    trace = np.full((n + m + 1, n + 1), -1, np.int8)
    total[0, 0] = 0
    for d in range(2, n + m + 1):
        low, high = max(1, d - m), min(n, d - 1)
        i = np.arange(low, high + 1)
        c0, c1, c2 = total[d - 2, i - 1], total[d - 1, i - 1], total[d - 1, i]
        step = np.where((c0 < c1) & (c0 < c2), 0, np.where((c1 < c0) & (c1 < c2), 1, 2))
        best = np.choose(step, (c0, c1, c2))
        total[d, i] = cost[i - 1, d - i - 1] + best
        trace[d, i] = step
    return _walk_back(trace, n, m)


def _walk_back(trace: np.ndarray, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    i, j = n, m
    path = []
    while i > 0 or j > 0:
        path.append((i - 1, j - 1))
        step = 2 if i == 0 else 1 if j == 0 else trace[i + j, i]
        if step != 2:
            i -= 1
        if step != 1:
            j -= 1
    text, time = np.array(path[::-1]).T
    return text, time


def token_jumps(matrix: np.ndarray) -> np.ndarray:
    """Audio position at which each token begins. matrix: (T, S), high where a token is heard. Returns (T,) int64."""
    found = kernels.library()
    if found is not None and matrix.size:
        return _starts(found, matrix)
    text, time = dtw(-matrix.astype(np.float64))
    begins = np.diff(text, prepend=text[0] - 1) > 0
    starts: np.ndarray = np.maximum(time[begins], 0)  # of no position at all, the path begins before the first
    return starts


def _starts(library: ctypes.CDLL, matrix: np.ndarray) -> np.ndarray:
    """The same, by a kernel (cpp/align.cpp)."""
    (n, m), matrix = matrix.shape, np.ascontiguousarray(matrix, np.float32)
    totals, trace = np.empty(2 * (m + 1), np.float32), np.empty((n + 1) * (m + 1), np.int8)
    starts = np.empty(n, np.int64)
    library.sv_path(n, m, *(ctypes.c_void_p(a.ctypes.data) for a in (matrix, totals, trace, starts)))
    return starts
