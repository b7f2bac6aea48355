"""What rows stand under, as the host knows it: which ids are suppressed, and who has a rule about repetition.

Asking costs no wait for a device. The table of masks is where the rules are: on torch rules.py, in numpy host_rules.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as Seq
from typing import Any

from sottovoce.engine.network import Array
from sottovoce.types import Decode

MASKS_KEPT = 64  # lines of the table of suppressed ids before unused ones go; 52 kB each


class Standing(ABC):
    """Lines of a table of masks by what they suppress, and who uses which.

    A subclass has the table, (n_masks, V) bool, and for each row the line of it that holds always, and at first.
    """

    _table: Array
    _always: Any
    _first: Any

    def __init__(self) -> None:
        self._masks: dict[tuple[int, ...], int] = {}  # suppressed ids -> line of the table
        self._repeating: set[int] = set()
        self._ids_by_row: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    @abstractmethod
    def _with_mask(self, ids: tuple[int, ...]) -> Array:
        """The table, and behind it a line that suppresses these ids."""

    def release(self, rows: Seq[int]) -> None:
        """These rows have ended: what was asked for them costs nobody anything any more."""
        self._repeating.difference_update(rows)

    def repeats(self, rows: Seq[int]) -> bool:
        """Whether a rule about repetition holds on one of these rows."""
        return not self._repeating.isdisjoint(rows)

    def _note(self, rows: Seq[int], ask: Decode) -> tuple[int, int]:
        """These rows begin under the rules of `ask`. Returns the lines of the table that hold always, and at first."""
        if len(self._masks) >= MASKS_KEPT:
            self._forget_masks()
        always, first = ask.rules.suppress, ask.rules.suppress + ask.rules.suppress_first
        self._ids_by_row.update(dict.fromkeys(rows, (always, first)))
        repeating = ask.search.repetition_penalty != 1 or ask.search.no_repeat_ngram_size > 0
        (self._repeating.update if repeating else self._repeating.difference_update)(rows)
        return self._mask(always), self._mask(first)

    def _forget_masks(self) -> None:
        """Keep the masks that the rows' latest sequences use, and no other."""
        self._masks.clear()
        self._table = self._table[:0]
        for row, (always, first) in self._ids_by_row.items():
            self._always[row], self._first[row] = self._mask(always), self._mask(first)

    def _mask(self, ids: tuple[int, ...]) -> int:
        if ids not in self._masks:
            self._masks[ids] = len(self._table)
            self._table = self._with_mask(ids)
        return self._masks[ids]
