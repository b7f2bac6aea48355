"""What the machine can do: matrix operations a second, bytes read a second. Measured, never looked up."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

SIZES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 2048, 2048), (6000, 512, 2048))  # rows, inner, columns
LARGE_SIZES = ((8192, 8192, 8192), (16384, 8192, 8192))  # a GPU is not filled by less
FAR_BYTES = 2**30  # more than any cache near a core
ROUND_S = 0.3  # each is repeated for so long; the best counts, since only others can make it slower


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations/s of the best matrix product that torch knows here, two a multiply-add."""
    best = 0.0
    for m, k, n in (*SIZES, *(LARGE_SIZES if device.type == "cuda" else ())):
        a = torch.randn(m, k, device=device).to(dtype)
        b = torch.randn(n, k, device=device).to(dtype)
        seconds = fastest(lambda a=a, b=b: torch.nn.functional.linear(a, b), device)  # type: ignore[misc]
        best = max(best, 2.0 * m * k * n / seconds)
    return best


def read_bandwidth(device: torch.device, n_bytes: int = FAR_BYTES) -> float:
    """Bytes/s of reading a buffer of n_bytes again and again, by the best of a few ways to read."""
    buffer = torch.ones(n_bytes // 4, device=device)
    square = buffer[: (buffer.numel() // 4096) * 4096].view(-1, 4096)
    vector = torch.ones(4096, device=device)
    ways: tuple[Callable[[], Tensor], ...] = (buffer.sum, buffer.max, lambda: torch.mv(square, vector))
    return max(n_bytes / fastest(way, device) for way in ways)


def fastest(work: Callable[[], object], device: torch.device, round_s: float = ROUND_S) -> float:
    """Seconds of the fastest of many runs, after two that do not count."""
    with torch.inference_mode():
        for _ in range(2):
            work()
        best, spent = float("inf"), 0.0
        while spent < round_s or best == float("inf"):
            wait(device)
            began = time.perf_counter()
            work()
            wait(device)
            seconds = time.perf_counter() - began
            best, spent = min(best, seconds), spent + seconds
    return best


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
