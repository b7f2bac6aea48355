"""Promises of bench/compare.py: what parity calls equal."""

from __future__ import annotations

from typing import Any

import pytest
from bench.compare import differences, first_split
from hypothesis import given
from hypothesis import strategies as st

WORD = {"word": " hello", "start": 0.1, "end": 0.5, "probability": 0.9}


def segment(**changed: Any) -> dict[str, Any]:
    return {
        "seek": 0,
        "start": 0.0,
        "end": 2.0,
        "text": " hello",
        "tokens": [50364, 1, 50464],
        "temperature": 0.0,
        "compression_ratio": 0.5,
        "avg_logprob": -0.3,
        "no_speech_prob": 0.01,
        **changed,
    }


def transcript(*segments: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"language": "en", "text": "".join(s["text"] for s in segments), "segments": list(segments), **changed}


def fields(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return [d.field for d in differences(ours, theirs)]


def test_a_transcript_is_like_itself() -> None:
    assert fields(transcript(segment(words=[WORD])), transcript(segment(words=[WORD]))) == []


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("tokens", [50364, 2, 50464]),
        ("start", 1e-9),
        ("end", 2.0000001),
        ("seek", 1),
        ("temperature", 0.2),
        ("compression_ratio", 0.5000001),
        ("text", " Hello"),
        ("avg_logprob", -0.302),
        ("no_speech_prob", 0.02),
    ],
)
def test_every_field_of_a_segment_is_compared(field: str, other: Any) -> None:
    assert f"segments[0].{field}" in fields(transcript(segment(**{field: other})), transcript(segment()))


def test_sums_of_logarithms_may_differ_by_their_rounding() -> None:
    assert fields(transcript(segment(avg_logprob=-0.3005)), transcript(segment())) == []


def test_nan_is_like_nan_and_unlike_a_number() -> None:
    unknown = transcript(segment(no_speech_prob=float("nan")))
    assert fields(unknown, transcript(segment(no_speech_prob=float("nan")))) == []
    assert fields(unknown, transcript(segment())) == ["segments[0].no_speech_prob"]


def test_a_missing_segment_is_a_difference() -> None:
    assert fields(transcript(segment()), transcript(segment(), segment())) == ["text", "len(segments)"]


def test_what_follows_another_token_is_not_compared() -> None:
    """It was decoded with another context: only the first difference says something."""
    ours = transcript(segment(tokens=[1]), segment(end=9.0))
    assert fields(ours, transcript(segment(), segment())) == ["segments[0].tokens"]


@pytest.mark.parametrize("change", [{"start": 0.12}, {"end": 0.52}, {"word": " hallo"}, {"probability": 0.88}])
def test_every_field_of_a_word_is_compared(change: dict[str, Any]) -> None:
    (name,) = change
    ours = transcript(segment(words=[{**WORD, **change}]))
    assert fields(ours, transcript(segment(words=[WORD]))) == [f"segments[0].words[0].{name}"]


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_before_the_split_all_is_shared_and_at_it_nothing(a: list[int], b: list[int]) -> None:
    n = first_split(a, b)
    assert a[:n] == b[:n]
    assert a[n : n + 1] != b[n : n + 1] or a == b
