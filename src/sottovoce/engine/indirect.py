"""Attention through an index: each line reads any slot or row, and several may read the same. Knows no model.

`attend` is the plain twin of triton_attention.py: it gathers, then attends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.engine.eight_bits import in_8_bits


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys and values of one layer, (N, H, S, D): N slots or rows. 8-bit ones have a scale each, (N, H, S) float32."""

    keys: Tensor
    values: Tensor
    key_scale: Tensor | None = None
    value_scale: Tensor | None = None

    @classmethod
    def empty(
        cls, n: int, heads: int, n_positions: int, width: int, device: torch.device, dtype: torch.dtype, int8: bool
    ) -> Kept:
        shape, kind = (n, heads, n_positions, width), torch.int8 if int8 else dtype
        numbers = (torch.zeros(shape, device=device, dtype=kind) for _ in range(2))
        scales = (torch.zeros(shape[:3], device=device) if int8 else None for _ in range(2))
        return cls(*numbers, *scales)

    def put_(self, index: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store whole lines. index: (W,) int64; keys, values: (W, H, S, D)."""
        pairs = ((self.keys, self.key_scale, keys), (self.values, self.value_scale, values))
        for numbers, scales, given in pairs:
            if scales is None:
                numbers.index_copy_(0, index, given.to(numbers.dtype))
            else:
                eight, scale = in_8_bits(given)
                numbers.index_copy_(0, index, eight)
                scales.index_copy_(0, index, scale)

    def gather(self, index: Tensor, n_positions: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(R, H, n_positions, D) keys and values of the lines that are asked for."""
        found = []
        for numbers, scales in ((self.keys, self.key_scale), (self.values, self.value_scale)):
            taken = numbers[index, :, :n_positions]
            if scales is not None:
                taken = taken * scales[index, :, :n_positions, None]
            found.append(taken.to(dtype))
        return found[0], found[1]


class Attend(Protocol):
    """One query a line. any_length: whether the cost follows each line's own length, so that `longest` is of no use."""

    any_length: bool

    def __call__(self, q: Tensor, kept: Kept, index: Tensor, lengths: Tensor | None, longest: int) -> Tensor:
        """(R, H, D) from q (R, H, D).

        index: (R,) int64, whose keys and values each line reads; below 0: nobody's, and what comes back for it is
        undefined. lengths: (R,) int64 positions that each line sees, at most `longest`; None: all `longest`.
        """
        ...


class GatherAttend:
    """The plain twin: any device, any precision."""

    any_length = False

    def __call__(self, q: Tensor, kept: Kept, index: Tensor, lengths: Tensor | None, longest: int) -> Tensor:
        keys, values = kept.gather(index.clamp(min=0), longest, q.dtype)
        mask = None
        if lengths is not None:
            mask = (torch.arange(longest, device=q.device) < lengths[:, None])[:, None, None]  # (R, 1, 1, T)
        return F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=mask)[:, :, 0]
