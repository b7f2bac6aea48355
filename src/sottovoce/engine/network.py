"""What a runner computes with: a model with its slots and rows. On torch plain.py and cuda.py, on kernels native.py."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any, Protocol, TypeAlias

Array: TypeAlias = Any  # a tensor of torch, or an array of numpy where kernels compute

NOWHERE = -1  # the row of a text whose keys and values are not kept


class Network(Protocol):
    """A model with its slots and rows."""

    def features(self, mel: Array) -> Array:
        """(W, M, F) float32 log-mel -> (W, S, C) encoded sound, in the model's dtype."""
        ...

    def put_sound_(self, slots: Seq[int], features: Array) -> None:
        """Project encoded sounds, (W, S, C), to keys and values, and store them in their slots."""
        ...

    def copy_rows_(self, targets: Seq[int], sources: Seq[int], length: int) -> None:
        """Row targets[i] continues what row sources[i] held, up to `length` positions.

        They are rows of one sequence: none begins another text before all are done.
        """
        ...

    def read(self, texts: Seq[Seq[int]], rows: Seq[int], slots: Seq[int], wanted: Seq[Seq[int]]) -> Array:
        """Read texts from their beginning, together. Returns (n_wanted, V) float32 logits, text by text.

        rows: where keys and values of each stay, or NOWHERE for all, which are one token each then. wanted: per text
        the indices of tokens whose logits are asked for, ascending.
        """
        ...

    def step(self, tokens: Seq[int], rows: Seq[int], positions: Seq[int], groups: Seq[tuple[int, int]]) -> Array:
        """One token a row. groups: (slot, n_rows) in the order of the rows. Returns (R, V) float32 logits."""
        ...

    def scores(
        self, text: Seq[int], slot: int, wanted: Seq[int], heads: Seq[tuple[int, int]], n_ids: int
    ) -> tuple[Array, Array]:
        """Read one text for its attention; nothing is kept.

        wanted: indices of tokens, ascending; of the token after each it is asked how probable it is among ids
        [0, n_ids). Returns these probabilities, (n_wanted,), and the cross-attention scores of heads (layer, head)
        before the softmax, (n_heads, T, S), float32.
        """
        ...
