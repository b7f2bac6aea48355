"""Invented segments beside silence are found, spoken ones are left."""

from __future__ import annotations

import pytest

from sottovoce.flow.silence import is_anomaly, skip_hallucinations
from sottovoce.types import Segment, Word


def a_segment(start: float, *words: tuple[str, float, float, float]) -> Segment:
    found = tuple(Word(*w) for w in words)
    end = found[-1].end if found else start
    return Segment(0, 0, start, end, "".join(w.word for w in found), (), 0.0, -0.3, 1.0, 0.1, found)


def spoken(start: float) -> Segment:
    return a_segment(
        start,
        (" so", start, start + 0.4, 0.9),
        (" it", start + 0.4, start + 0.7, 0.95),
        (" is", start + 0.7, start + 1.0, 0.9),
    )


def invented(start: float) -> Segment:
    return a_segment(start, (" Thanks", start, start + 0.02, 0.1), (" bye", start + 0.02, start + 0.04, 0.1))


@pytest.mark.parametrize(
    ("segment", "odd"),
    [
        (spoken(1.0), False),
        (invented(1.0), True),
        (a_segment(0.0, (" well", 0.0, 6.0, 0.9)), True),  # four seconds too long
        (a_segment(0.0), False),
        (None, False),
    ],
)
def test_odd_words_make_an_odd_segment(segment: Segment | None, odd: bool) -> None:
    assert is_anomaly(segment) is odd


def test_an_invented_segment_between_silences_is_cut_away() -> None:
    kept = skip_hallucinations([spoken(0.5), invented(10.0)], 2.0, 0.0, 0.0, 30.0, 30.0)
    assert kept is not None
    segments, resume_s, bad_end_s = kept
    assert [s.start for s in segments] == [0.5]
    assert (resume_s, bad_end_s) == (10.0, 10.04)


def test_an_odd_segment_inside_speech_stays() -> None:
    window = [spoken(9.0), invented(10.1), spoken(10.2)]
    assert skip_hallucinations(window, 2.0, 8.9, 0.0, 30.0, 30.0) is None


def test_nothing_odd_is_nothing_cut() -> None:
    assert skip_hallucinations([spoken(0.5), spoken(20.0)], 2.0, 0.0, 0.0, 30.0, 30.0) is None
