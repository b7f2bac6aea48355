"""The words of a window in the parallel strategy: every token is in one, in any language; nothing lies outside."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.flow.placing import place_heard, within
from sottovoce.flow.spans import Span, Stretch
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Aligned, Segment, Word
from tests.voice import voice

SOUND = voice(14.0)
STRETCH = Stretch(2 * SAMPLE_RATE, 12 * SAMPLE_RATE, (Span(2 * SAMPLE_RATE + 3200, 12 * SAMPLE_RATE - 6400),))
LINES = {
    "en": [" It costs $7.50 - 100% more,", ' he said: "no..."', " 742 - 1 = ♪ 741!"],
    "zh": ["我们今天去北京，", "看看长城。3个人"],
    "ja": ["東京は日本の首都です。", "OpenAI 2024年"],
    "th": ["สวัสดีครับ", " วันนี้อากาศดี"],
    "de": [" —", " „Ja“, – sagte er."],
}


def lines(language: str, texts: list[str]) -> tuple[Tokenizer, list[Segment]]:
    tokenizer = Tokenizer(51865, language)
    segments = [
        Segment(i, 200, 2.0 + i, 3.0 + i, text, tuple(tokenizer.encode(text)), 0.0, -0.1, 1.0, 0.0)
        for i, text in enumerate(texts)
    ]
    return tokenizer, segments


@pytest.mark.parametrize("language", LINES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.3, 1))
def test_every_text_has_its_words_whatever_attention_says(language: str, seed: int, share: float) -> None:
    tokenizer, segments = lines(language, LINES[language])
    n = sum(len(s.tokens) for s in segments)
    n_known = max(1, round(share * n))  # a text may be longer than what can be read at once
    draw = np.random.default_rng(seed)
    jumps = np.sort(draw.integers(0, 500, n_known + 1))
    aligned = Aligned(tuple(map(int, jumps)), tuple(map(float, draw.uniform(0, 1, n_known))))
    placed = place_heard(
        segments, tokenizer, aligned, SOUND, STRETCH, lag_s=None, prepend="\"'“¿([{-", append="\"'.。,，!！?？:：”)]}、"
    )
    words = [w for s in placed for w in s.words or ()]
    assert ["".join(w.word for w in s.words or ()) for s in placed] == LINES[language]
    assert all(2 <= w.start < w.end <= 12 and 0 <= w.probability <= 1 for w in words)
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert all(s.start == s.words[0].start and s.end == s.words[-1].end for s in placed if s.words)


def test_marks_are_no_words_and_signs_are() -> None:
    tokenizer, segments = lines("en", [" One - two % ..."])
    n = len(segments[0].tokens)
    aligned = Aligned(tuple(range(0, 40 * (n + 1), 40)), (0.5,) * n)
    (placed,) = place_heard(segments, tokenizer, aligned, SOUND, STRETCH, lag_s=0.0, prepend="", append="")
    assert [w.word for w in placed.words or ()] == [" One -", " two", " % ..."]


def test_words_of_a_segment_that_was_moved_stay_inside() -> None:
    words = [Word("a", 1.0, 1.5, 1.0), Word("b", 1.5, 2.0, 1.0), Word("c", 2.5, 3.0, 1.0)]
    moved = within(words, 2.0, 2.6)
    assert all(2.0 <= w.start < w.end <= 2.6 for w in moved)
    assert within(words, 1.0, 3.0) == tuple(words)


@pytest.mark.parametrize("end_s", [1.3456, 1.3444, 1.016, 1.004, 1.0])
def test_words_end_with_their_segment_where_it_ends_inside_of_a_frame(end_s: float) -> None:
    """The last word ended up to 5 ms behind its segment, and behind the recording."""
    words = (Word(" a", 0.9, 1.1, 0.5), Word(" b", 1.2, 1.6, 0.5))
    found = within(words, 1.0, end_s)
    assert all(1.0 <= w.start <= w.end <= end_s for w in found)
