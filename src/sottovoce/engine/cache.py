"""Pools of keys and values on the device: one slot per sound (cross-attention), one row per line (self-attention).

    cross: per layer (n_slots, H, 1500, D) keys and values     self: per layer (n_rows, H, 448, D) keys and values

A Pass is the model's view of the pools for one call: it stores what is new and attends to what is there. State is of
the model's dtype and device. Memory of pools is touched when it is first written, not when it is reserved.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.model.whisper import Dims


class Pools:
    """All keys and values of one model on one device."""

    def __init__(self, dims: Dims, n_slots: int, n_rows: int, device: torch.device, dtype: torch.dtype) -> None:
        heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
        self.n_layer = dims.n_text_layer
        self.cross_k, self.cross_v = (
            [
                torch.empty(n_slots, heads, dims.n_audio_ctx, width, device=device, dtype=dtype)
                for _ in range(self.n_layer)
            ]
            for _ in range(2)
        )
        self.self_k, self.self_v = (
            [
                torch.zeros(n_rows, heads, dims.n_text_ctx, width, device=device, dtype=dtype)
                for _ in range(self.n_layer)
            ]
            for _ in range(2)
        )

    def put_sound_(self, slots: Seq[int], kv: list[tuple[Tensor, Tensor]]) -> None:
        """Store the projected keys and values of encoded sounds. kv: per layer a pair of (W, S, H, D)."""
        for i_layer, (k, v) in enumerate(kv):
            for i, slot in enumerate(slots):
                self.cross_k[i_layer][slot].copy_(k[i].transpose(0, 1))
                self.cross_v[i_layer][slot].copy_(v[i].transpose(0, 1))

    def copy_rows_(self, targets: Seq[int], sources: Seq[int], length: int) -> None:
        """Row targets[i] continues what row sources[i] held, up to `length` positions."""
        moved = [(t, s) for t, s in zip(targets, sources, strict=True) if t != s]
        if not moved:
            return
        to, of = ([pair[i] for pair in moved] for i in range(2))
        for pool in (*self.self_k, *self.self_v):
            pool[to, :, :length] = pool[of, :, :length]


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive lines of a batch whose slots are consecutive too and serve as many lines each: one attention call.

    lines [line, line + n_slots * n_each)  read  slots [slot, slot + n_slots), n_each lines a slot.
    """

    line: int
    slot: int
    n_slots: int
    n_each: int


def runs(groups: Seq[tuple[int, int]]) -> list[Run]:
    """Cut a batch into as few attention calls as its slots allow. groups: (slot, n_lines) in the order of the lines."""
    found: list[Run] = []
    line = 0
    for slot, n_each in groups:
        last = found[-1] if found else None
        if last is not None and last.n_each == n_each and last.slot + last.n_slots == slot:
            found[-1] = Run(last.line, last.slot, last.n_slots + 1, n_each)
        else:
            found.append(Run(line, slot, 1, n_each))
        line += n_each
    return found


class _Pass:
    def __init__(self, pools: Pools, groups: Seq[tuple[int, int]]) -> None:
        self.pools = pools
        self.runs = runs(groups)

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        n_text, heads, width = q.shape[1:]
        out = torch.empty_like(q)
        for run in self.runs:
            lines = slice(run.line, run.line + run.n_slots * run.n_each)
            shape = (run.n_slots, run.n_each * n_text, heads, width)
            kv = slice(run.slot, run.slot + run.n_slots)
            a = F.scaled_dot_product_attention(
                q[lines].reshape(shape).transpose(1, 2),
                self.pools.cross_k[i_layer][kv],
                self.pools.cross_v[i_layer][kv],
            )  # (n_slots, H, n_each * T, D)
            out[lines] = a.transpose(1, 2).reshape(-1, n_text, heads, width)
        return out


class PrefillPass(_Pass):
    """Prompts of any length, together: lines are padded on the right, and what padding writes is overwritten later.

    rows: where each line's keys and values are kept; groups: (slot, 1) per line.
    """

    def __init__(self, pools: Pools, rows: Seq[int], slots: Seq[int]) -> None:
        super().__init__(pools, [(slot, 1) for slot in slots])
        self.rows = list(rows)

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, H, T, D)
        if self.rows:
            self.pools.self_k[i_layer][self.rows, :, : k.shape[2]] = k
            self.pools.self_v[i_layer][self.rows, :, : v.shape[2]] = v
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


class DecodePass(_Pass):
    """One new token a line. positions: (R,) where each line's token stands; groups: (slot, n_lines) by sequence."""

    def __init__(
        self, pools: Pools, rows: Seq[int], positions: Tensor, longest: int, groups: Seq[tuple[int, int]]
    ) -> None:
        super().__init__(pools, groups)
        self.positions = positions
        self.length = longest + 1
        device = positions.device
        self.rows = torch.tensor(rows, device=device)
        dense = list(rows) == list(range(rows[0], rows[0] + len(rows)))
        self.view = slice(rows[0], rows[0] + len(rows)) if dense else None
        self.mask = (torch.arange(self.length, device=device) <= positions[:, None])[:, None, None]  # (R, 1, 1, T)

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = self.pools.self_k[i_layer], self.pools.self_v[i_layer]
        keys[self.rows, :, self.positions] = k[:, 0]
        values[self.rows, :, self.positions] = v[:, 0]
        where = self.view if self.view is not None else self.rows
        a = F.scaled_dot_product_attention(
            q.transpose(1, 2), keys[where, :, : self.length], values[where, :, : self.length], attn_mask=self.mask
        )  # (R, H, 1, D)
        return a.transpose(1, 2)


def raw_scores(q: Tensor, keys: Tensor) -> Tensor:
    """(T, S) float32 scores of one head before the softmax, from q (T, D) and keys (S, D).

    Source: openai/whisper model.py:MultiHeadAttention.qkv_attention, which scales both before it multiplies.
    """
    scale = q.shape[-1] ** -0.25
    found: Tensor = (q * scale) @ (keys * scale).T
    return found.float()


class AlignPass(PrefillPass):
    """A prefill that keeps the cross-attention scores of chosen heads, and stores nothing.

    scores: (n_heads, T, S) float32 before the softmax, of the single line, in the order of `heads`.
    """

    def __init__(self, pools: Pools, slot: int, heads: Seq[tuple[int, int]]) -> None:
        super().__init__(pools, [], [slot])
        self.slot = slot
        self.heads = list(heads)
        self._scores: dict[tuple[int, int], Tensor] = {}

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        for layer, head in self.heads:
            if layer == i_layer:
                self._scores[layer, head] = raw_scores(q[0, :, head], self.pools.cross_k[i_layer][self.slot, head])
        return super().attend_cross(i_layer, q)

    @property
    def scores(self) -> Tensor:
        return torch.stack([self._scores[pair] for pair in self.heads])
