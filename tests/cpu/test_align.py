"""Word times beside their slow twins: the median by sorting windows, the path by filling the whole table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.engine import align_native, kernels
from sottovoce.engine.align import attention_matrix, dtw, jumps, median_filter, token_jumps


def slow_dtw(x: np.ndarray) -> tuple[list[int], list[int]]:
    n, m = x.shape
    cost = np.full((n + 1, m + 1), np.inf, np.float32)
    trace = np.full((n + 1, m + 1), -1)
    cost[0, 0] = 0
    for j in range(1, m + 1):
        for i in range(1, n + 1):
            c0, c1, c2 = cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1]
            step = 0 if c0 < c1 and c0 < c2 else 1 if c1 < c0 and c1 < c2 else 2
            cost[i, j] = x[i - 1, j - 1] + (c0, c1, c2)[step]
            trace[i, j] = step
    trace[0, :], trace[:, 0] = 2, 1
    i, j, path = n, m, []
    while i > 0 or j > 0:
        path.append((i - 1, j - 1))
        step = trace[i, j]
        i, j = (i - 1 if step != 2 else i), (j - 1 if step != 1 else j)
    return [p[0] for p in path[::-1]], [p[1] for p in path[::-1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32 - 1), st.booleans())
def test_the_cheapest_path_is_the_whole_tables(n: int, m: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, m)).astype(np.float64) if ties else rng.normal(size=(n, m))
    text, time = dtw(x)
    assert (text.tolist(), time.tolist()) == slow_dtw(x)


@pytest.mark.parametrize("width", [3, 5, 7, 13])
@pytest.mark.parametrize("shape", [(10,), (1, 15), (4, 5, 345), (3, 4)])
def test_the_median_is_that_of_sorted_neighbours(shape: tuple[int, ...], width: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    pad = width // 2
    if shape[-1] <= pad:
        assert median_filter(x, width) is x
        return
    padded = np.pad(x.numpy(), [(0, 0)] * (x.ndim - 1) + [(pad, pad)], mode="reflect")
    expected = np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1)
    np.testing.assert_array_equal(median_filter(x, width).numpy(), expected.astype(np.float32))


def test_tokens_are_found_where_they_are_heard() -> None:
    """Three tokens that look at 10, 50 and 90 of 100 positions begin near the borders between them."""
    centres = torch.tensor([10.0, 50.0, 90.0])
    scores = (-((torch.arange(100) - centres[:, None]) ** 2) / 100).expand(2, -1, -1)
    starts = token_jumps(attention_matrix(scores, 100, 1.0, 7).numpy())
    assert starts[0] == 0
    assert 10 < starts[1] <= 50
    assert 50 < starts[2] <= 90


compiled = pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: nothing to compare")


@compiled
@pytest.mark.parametrize("seed", range(30))
def test_the_kernel_walks_the_path_of_its_twin(seed: int) -> None:
    """Exactly, also where many steps cost the same."""
    rng = np.random.default_rng(seed)
    n, m = (int(rng.integers(1, 40)), int(rng.integers(1, 90)))
    matrix = rng.normal(size=(n, m)) if seed % 2 else rng.integers(-1, 2, size=(n, m)).astype(float)
    as_given = matrix.astype(np.float32)
    text, time = dtw(-as_given.astype(np.float64))
    expected = np.maximum(time[np.diff(text, prepend=text[0] - 1) > 0], 0)
    assert token_jumps(as_given).tolist() == expected.tolist()


def spoken(n_heads: int, n_tokens: int, n_audio: int, seed: int) -> torch.Tensor:
    """Scores as those of a text that is spoken evenly, in some noise."""
    noise = torch.randn(n_heads, n_tokens, n_audio, generator=torch.Generator().manual_seed(seed))
    centres = torch.linspace(0, n_audio * 0.9, n_tokens)[:, None]
    return 6 * torch.exp(-(((torch.arange(n_audio) - centres) / 12) ** 2)) + noise


@compiled
@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 3, 5, 7, 9, 13])
@pytest.mark.parametrize(
    ("n_tokens", "n_sot", "n_audio", "n_positions"),
    [
        (60, 3, 300, 300),
        (60, 3, 301, 237),
        (4, 1, 150, 16),
        (3, 1, 150, 150),
        (30, 1, 90, 4),
        (9, 2, 64, 1),
    ],
)
def test_the_kernel_finds_where_tokens_begin(
    n_tokens: int, n_sot: int, n_audio: int, n_positions: int, width: int, n_threads: int
) -> None:
    """Also of sounds shorter than the window, than a vector and than the median; and of a text without words."""
    scores = spoken(6, n_tokens, n_audio, seed=n_tokens)
    expected = jumps(scores, n_sot, n_positions, 1.0, width).tolist()
    found = align_native.jumps(scores.numpy().copy(), n_sot, n_positions, 1.0, width, n_threads)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@compiled
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.5])  # down to 1e-32; below 1e-38 torch goes on, and the kernel stops
def test_positions_that_every_token_looks_at_alike_say_nothing(scale: float) -> None:
    """0 / 0 at first; with a mean that is a little off, noise of one standard deviation. And what is hardly looked at
    counts as much as the rest: its squares are below what float32 holds."""
    scores = spoken(4, 40, 200, seed=0)
    scores[:, :, :30] = torch.linspace(-40, 5, 30)
    scores[:, :, 30:60] -= 45
    expected = jumps(scores, 2, 200, scale, 7).tolist()
    assert align_native.jumps(scores.numpy().copy(), 2, 200, scale, 7, 2).tolist() == expected
    same = torch.zeros(4, 12, 50)
    assert align_native.jumps(same.numpy().copy(), 2, 50, scale, 7, 2).tolist() == jumps(same, 2, 50, scale, 7).tolist()


@compiled
def test_all_tokens_of_a_sound_without_positions_begin_at_once() -> None:
    scores = spoken(2, 8, 40, seed=0)
    assert align_native.jumps(scores.numpy().copy(), 2, 0, 1.0, 7, 2).tolist() == [0] * 5
