"""A text that is given against what was heard: every word once, in order, and the right ones together."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.flow.matching import Pair, key, match

VOCABULARY = ["the", "old", "house", "listens", "to", "sea", "and", "whispers", "back", "horse"]
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=40)


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_every_word_is_there_once_and_in_order(a: list[str], b: list[str]) -> None:
    pairs = match(a, b)
    assert [p.given for p in pairs if p.given is not None] == list(range(len(a)))
    assert [p.heard for p in pairs if p.heard is not None] == list(range(len(b)))


@given(WORDS)
def test_a_text_that_was_heard_as_it_is_given_is_paired_wholly(a: list[str]) -> None:
    assert match(a, a) == [Pair(i, i) for i in range(len(a))]


def test_wrong_missing_and_added_words_leave_the_others_paired() -> None:
    a = ["the", "old", "house", "listens", "to", "the", "sea"]
    b = ["well", "the", "old", "horse", "listens", "the", "green", "sea"]
    both = {(a[p.given], b[p.heard]) for p in match(a, b) if p.given is not None and p.heard is not None}
    assert both == {(w, w) for w in ("the", "old", "listens", "sea")} | {("house", "horse")}


def test_a_passage_that_nobody_spoke_does_not_take_what_was_heard_instead() -> None:
    a = ["one", "two", "three", "purple", "elephants", "dancing", "under", "moonlight", "four", "five", "six"]
    b = ["one", "two", "three", "cook", "it", "in", "its", "own", "water", "for", "four", "five", "six"]
    pairs = [p for p in match(a, b) if p.given is not None and p.heard is not None]
    assert {a[p.given or 0] for p in pairs} == {"one", "two", "three", "four", "five", "six"}


def test_a_word_that_is_the_same_by_chance_goes_to_the_edge() -> None:
    """Text without five of its lines: "the" before the gap was found in its middle, 43 s too late."""
    a = ["he", "walked", "along", "the", "shore"]
    between = ["lane", "of", "stones", "and", "then", "saw", "the", "house", "on", "a", "hill", "by"]
    b = ["he", "walked", "along", "the", *between, "the", "shore"]
    pairs = {p.given: p.heard for p in match(a, b) if p.given is not None}
    assert pairs[3] in (3, len(b) - 2) and pairs[4] == len(b) - 1


def test_a_long_text_is_matched_in_seconds() -> None:
    """A book has 100,000 words: a table of all pairs would take 10 GB."""
    draw = random.Random(0)
    a = [f"w{draw.randrange(8000)}" for _ in range(60_000)]
    b = [w if draw.random() > 0.1 else "x" for w in a]
    began = time.process_time()
    pairs = match(a, b)
    assert time.process_time() - began < 60
    right = sum(p.given == p.heard for p in pairs)
    assert right > 0.97 * len(a)


def test_keys_are_without_case_marks_and_accents() -> None:
    assert [key(w) for w in (" Café,", "DON’T", "ﬁne", "…", "9²")] == ["cafe", "dont", "fine", "", "92"]
