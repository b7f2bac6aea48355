"""Numbers as 8-bit whole ones with a scale a line: keys and values on CUDA."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 127  # symmetric: -128 is not used


def in_8_bits(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers, (..., D) int8, and what one of them is worth, (...) float32."""
    x = x.float()
    scale = x.abs().amax(dim=-1).clamp(min=1e-12) / MOST
    return (x / scale[..., None]).round().to(torch.int8), scale
