"""Word and character errors: the fewest edits from a reference to what was written. Pure; knows no language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Edits:
    """n: length of the reference. `+` adds up several recordings."""

    n: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per unit of the reference; inf if there is no reference but something was written."""
        return self.errors / self.n if self.n else float("inf") if self.errors else 0.0

    def __add__(self, other: Edits) -> Edits:
        return Edits(
            self.n + other.n,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def edits(reference: Sequence[str], written: Sequence[str]) -> Edits:
    """The fewest edits; among equally few, as many substitutions as possible. Time and memory: n x m and m.

    A cell is one number: errors first, then the deletions and insertions, so that the smallest is the wanted one.
    """
    step = len(reference) + len(written) + 1  # more than any count of deletions and insertions
    ids = {word: i for i, word in enumerate(dict.fromkeys((*reference, *written)))}
    got = np.array([ids[word] for word in written], np.int64)
    along = np.arange(len(written) + 1, dtype=np.int64) * (step + 1)  # what insertions alone cost
    above = along  # cell = errors * step + deletions + insertions
    for word in reference:
        row = above + step + 1
        np.minimum(row[1:], above[:-1] + np.where(got == ids[word], 0, step), out=row[1:])
        # a cell from its left neighbour, and that from its own: the least of all, each with the insertions since
        above = np.minimum.accumulate(row - along) + along
    errors, moved = divmod(int(above[-1]), step)
    # deletions - insertions is what the lengths differ by, deletions + insertions is what was counted
    deletions = (moved + len(reference) - len(written)) // 2
    return Edits(len(reference), errors - moved, deletions, moved - deletions)
