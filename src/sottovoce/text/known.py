"""What is spoken in the known clip (audio/assets/known.ogg), and how far from it is what was heard. Knows no sound."""

from __future__ import annotations

import re

SPOKEN = "The old house listens to the sea, and the sea whispers back."  # scripts/make_examples.py:KNOWN
ALLOWED = 0.25  # share of the words that the smallest model may mishear


def n_errors(heard: str) -> int:
    """Words to change, add or drop between what is spoken and what was heard."""
    return distance(words(SPOKEN), words(heard))


def is_right(heard: str) -> bool:
    """Whether it was heard as well as the smallest model must."""
    return n_errors(heard) <= ALLOWED * len(words(SPOKEN))


def words(text: str) -> list[str]:
    """Lower-case words without marks."""
    return re.findall(r"\w+", text.lower().replace("'", ""))


def distance(a: list[str], b: list[str]) -> int:
    """The fewest words to change, add or drop to make one list the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
