"""Word and character errors: the fewest edits from a reference to what was written. Pure; knows no language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    above = [j * (step + 1) for j in range(len(written) + 1)]  # cell = errors * step + deletions + insertions
    for i, want in enumerate(reference, start=1):
        row = [i * (step + 1)]
        for j, got in enumerate(written, start=1):
            diagonal = above[j - 1] + (0 if want == got else step)
            row.append(min(diagonal, above[j] + step + 1, row[j - 1] + step + 1))
        above = row
    errors, moved = divmod(above[-1], step)
    # deletions - insertions is what the lengths differ by, deletions + insertions is what was counted
    deletions = (moved + len(reference) - len(written)) // 2
    return Edits(len(reference), errors - moved, deletions, moved - deletions)
