"""Promises of bench/edits.py. The twin tries every alignment, one edit after another."""

from __future__ import annotations

from functools import cache

from bench.edits import Edits, edits
from hypothesis import example, given, settings
from hypothesis import strategies as st

texts = st.lists(st.sampled_from("abc"), max_size=7)


def slow(reference: list[str], written: list[str]) -> Edits:
    """Every way from one text to the other; the fewest edits, then the most substitutions."""

    @cache
    def ways(i: int, j: int) -> frozenset[tuple[int, int, int]]:
        """(substitutions, deletions, insertions) of every alignment of what is left."""
        if i == len(reference) and j == len(written):
            return frozenset({(0, 0, 0)})
        found = set()
        if i < len(reference) and j < len(written):
            step = int(reference[i] != written[j])
            found |= {(s + step, d, n) for s, d, n in ways(i + 1, j + 1)}
        if i < len(reference):
            found |= {(s, d + 1, n) for s, d, n in ways(i + 1, j)}
        if j < len(written):
            found |= {(s, d, n + 1) for s, d, n in ways(i, j + 1)}
        return frozenset(found)

    best = min(ways(0, 0), key=lambda w: (sum(w), -w[0]))
    return Edits(len(reference), *best)


@given(texts, texts)
@settings(max_examples=300, deadline=None)
@example(list("abcab"), [])
@example([], list("cab"))
@example(list("ab"), list("ba"))
def test_counting_agrees_with_trying_every_alignment(reference: list[str], written: list[str]) -> None:
    assert edits(reference, written) == slow(reference, written)


@given(texts, texts)
def test_deletions_and_insertions_change_places_with_the_texts(a: list[str], b: list[str]) -> None:
    there, back = edits(a, b), edits(b, a)
    assert (there.substitutions, there.deletions, there.insertions) == (
        back.substitutions,
        back.insertions,
        back.deletions,
    )


def test_recordings_add_up_by_their_length() -> None:
    """A rate over a set is errors over words, not a mean of rates."""
    both = edits(["the", "cat", "sat"], ["the", "cat"]) + edits(["no"], ["yes"])
    assert both == Edits(n=4, substitutions=1, deletions=1)
    assert both.rate == 0.5


def test_words_without_a_reference_have_no_finite_rate() -> None:
    assert edits([], ["thank", "you"]).rate == float("inf")
    assert edits([], []).rate == 0
