"""Attention through an index by Triton, split over the positions that a line sees (flash-decoding). Twin: indirect.py.

Every line is split alike, whoever its neighbours are, so that its result does not depend on them by a single bit.
Lines that read the same slot stand side by side: what one has read, the next finds in the cache of the device.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from sottovoce.engine.indirect import GatherAttend, Kept

SPLIT = 256  # positions of one program: one row of `base` makes 48 programs of it, one of `large-v3` 120
BLOCK = 64  # positions in registers at once
LOG2_E = math.log2(math.e)


@triton.jit
def _attend_part(
    q, keys, values, key_scale, value_scale, index, lengths, partial, tops, sums, n_positions, longest, scale,
    HAS_LENGTHS: tl.constexpr, IS_8_BIT: tl.constexpr, SPLIT: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    line, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    n_heads, n_parts = tl.num_programs(1), tl.num_programs(2)
    d = tl.arange(0, WIDTH)
    of = tl.load(index + line)  # int64: pools are larger than 2 GiB
    end = longest
    if HAS_LENGTHS:
        end = tl.load(lengths + line).to(tl.int32)
    begin = part * SPLIT
    end = tl.minimum(end, begin + SPLIT)
    end = tl.where(of < 0, begin, end)
    first = (tl.maximum(of, 0) * n_heads + head) * n_positions  # int64 once; the offsets below are short
    keys, values = keys + first * WIDTH, values + first * WIDTH
    if IS_8_BIT:
        key_scale, value_scale = key_scale + first, value_scale + first
    query = tl.load(q + (line * n_heads + head) * WIDTH + d).to(tl.float32) * scale
    top = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    found = tl.zeros((WIDTH,), tl.float32)
    for p0 in range(begin, end, BLOCK):
        p = p0 + tl.arange(0, BLOCK)
        seen = p < end
        at = p[:, None] * WIDTH + d[None, :]
        key = tl.load(keys + at, mask=seen[:, None], other=0).to(tl.float32)
        score = tl.sum(key * query[None, :], axis=1)
        if IS_8_BIT:
            score *= tl.load(key_scale + p, mask=seen, other=0.0)
        score = tl.where(seen, score, float("-inf"))
        highest = tl.maximum(top, tl.max(score, axis=0))
        weight = tl.exp2(score - highest)
        shrink = tl.exp2(top - highest)
        total = total * shrink + tl.sum(weight, axis=0)
        if IS_8_BIT:
            weight *= tl.load(value_scale + p, mask=seen, other=0.0)
        value = tl.load(values + at, mask=seen[:, None], other=0).to(tl.float32)
        found = found * shrink + tl.sum(weight[:, None] * value, axis=0)
        top = highest
    to = (line * n_heads + head) * n_parts + part
    tl.store(partial + to * WIDTH + d, found)
    tl.store(tops + to, top)
    tl.store(sums + to, total)


@triton.jit
def _join_parts(partial, tops, sums, out, n_parts, PARTS: tl.constexpr, WIDTH: tl.constexpr):
    pair = tl.program_id(0)  # a line and a head
    part, d = tl.arange(0, PARTS), tl.arange(0, WIDTH)
    there = part < n_parts
    top = tl.load(tops + pair * n_parts + part, mask=there, other=float("-inf"))
    highest = tl.max(top, axis=0)
    weight = tl.exp2(top - tl.where(highest == float("-inf"), 0.0, highest))
    total = tl.sum(weight * tl.load(sums + pair * n_parts + part, mask=there, other=0.0), axis=0)
    places = (pair * n_parts + part[:, None]) * WIDTH + d[None, :]
    found = tl.sum(weight[:, None] * tl.load(partial + places, mask=there[:, None], other=0.0), axis=0)
    found = found / tl.where(total > 0, total, 1.0)
    tl.store(out + pair * WIDTH + d, found.to(out.dtype.element_ty))


class TritonAttend:
    """As indirect.Attend. Heads whose width is no power of two are left to the twin: no checkpoint has them."""

    any_length = True

    def __init__(self) -> None:
        self._twin = GatherAttend()

    def __call__(self, q: Tensor, kept: Kept, index: Tensor, lengths: Tensor | None, longest: int) -> Tensor:
        n_lines, n_heads, width = q.shape
        if width & (width - 1):
            return self._twin(q, kept, index, lengths, longest)
        q = q.contiguous()
        out = torch.empty_like(q)
        n_parts = -(-longest // SPLIT)
        partial = torch.empty(n_lines, n_heads, n_parts, width, device=q.device)
        tops, sums = (torch.empty(n_lines, n_heads, n_parts, device=q.device) for _ in range(2))
        _attend_part[n_lines, n_heads, n_parts](
            *(q, kept.keys, kept.values),
            *(q if kept.key_scale is None else kept.key_scale, q if kept.value_scale is None else kept.value_scale),
            *(index, index if lengths is None else lengths, partial, tops, sums),
            *(kept.keys.shape[2], longest, width**-0.5 * LOG2_E),
            HAS_LENGTHS=lengths is not None, IS_8_BIT=kept.key_scale is not None,
            SPLIT=SPLIT, BLOCK=BLOCK, WIDTH=width,
        )  # fmt: skip
        _join_parts[n_lines * n_heads,](
            partial, tops, sums, out, n_parts, PARTS=triton.next_power_of_2(n_parts), WIDTH=width
        )
        return out
