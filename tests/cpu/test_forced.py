"""Forced alignment with real weights: the known clip's text, right and wrong, gets its times; nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import pytest

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.errors import OptionError
from sottovoce.flow.given import Item, windows, words_of
from sottovoce.text.formats import Transcript
from sottovoce.text.known import SPOKEN
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Word

PAUSE_S = 1.0
N = 8
FIRST, SECOND = SPOKEN.split(", ")


@pytest.fixture(scope="module")
def tiny() -> Iterator[Whisper]:
    with Whisper("tiny", device="cpu") as model:
        yield model


@pytest.fixture(scope="module")
def known() -> np.ndarray:
    return decode.load(str(files("sottovoce.audio") / "assets" / "known.ogg"))


@pytest.fixture(scope="module")
def long(known: np.ndarray) -> np.ndarray:
    """The known clip eight times: several windows, at known places."""
    return np.concatenate([np.concatenate([known, np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)])] * N)


def words(transcript: Transcript) -> list[Word]:
    return [w for s in transcript.segments for w in s.words or ()]


def check(transcript: Transcript, lines: list[str]) -> None:
    assert [s.text.strip() for s in transcript.segments] == lines
    assert all("".join(w.word for w in s.words or ()) == s.text for s in transcript.segments)
    found = words(transcript)
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(found))
    assert all(w.start < w.end for w in found if w.probability > 0)
    assert found[0].start >= 0 and found[-1].end <= transcript.duration


@pytest.mark.weights
def test_lines_are_found_where_they_are_spoken(tiny: Whisper, known: np.ndarray, long: np.ndarray) -> None:
    """Each of eight copies, across windows, where it is in the clip alone; one word or another strays."""
    alone = tiny.align(known, [SPOKEN], language="en")
    check(alone, [SPOKEN])
    placed = tiny.align(long, [SPOKEN] * N, language="en")
    check(placed, [SPOKEN] * N)
    assert placed.missing == () and placed.dropped == ()
    step_s = len(known) / SAMPLE_RATE + PAUSE_S
    away_s = [
        abs(one.start - i * step_s - other.start)
        for i, segment in enumerate(placed.segments)
        for one, other in zip(segment.words or (), alone.segments[0].words or (), strict=True)
    ]
    assert np.mean(away_s) < 0.05 and max(away_s) < 0.3


@pytest.mark.weights
def test_wrong_words_take_the_place_of_what_is_said(tiny: Whisper, known: np.ndarray) -> None:
    right, wrong = (
        tiny.align(known, [text], language="en") for text in (SPOKEN, SPOKEN.replace("whispers", "bananas"))
    )
    check(wrong, [SPOKEN.replace("whispers", "bananas")])
    assert [abs(a.start - b.start) < 0.2 for a, b in zip(words(right), words(wrong), strict=True)].count(False) <= 1
    (odd,) = (w for w in words(wrong) if "bananas" in w.word)
    assert odd.probability < 0.2


@pytest.mark.weights
def test_what_nobody_says_is_missing(tiny: Whisper, long: np.ndarray) -> None:
    unspoken = "Seventeen purple elephants were dancing under an enormous yellow umbrella."
    lines = [SPOKEN, unspoken, SPOKEN, *[SPOKEN] * (N - 4)]
    placed = tiny.align(long, lines, language="en")
    check(placed, lines)
    assert [(m.line, m.text) for m in placed.missing] == [(1, unspoken)]
    assert all(w.probability == 0 for w in placed.segments[1].words or ())


@pytest.mark.weights
def test_speech_that_no_line_has_is_dropped_aloud(tiny: Whisper, known: np.ndarray) -> None:
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    placed = tiny.align(np.concatenate([known, pause, known]), [f"{FIRST},"], language="en")
    check(placed, [f"{FIRST},"])
    assert placed.segments[0].end - placed.segments[0].start < 3
    assert sum(d.end - d.start for d in placed.dropped) > 3


@pytest.mark.weights
def test_one_line_may_be_many(tiny: Whisper, known: np.ndarray) -> None:
    lines = [f"{FIRST},", SECOND]
    placed = tiny.align(known, "\n\n".join(lines), language="en")
    check(placed, lines)
    assert placed.segments[0].end <= placed.segments[1].start
    again = tiny.align(known, placed, language="en")
    assert [s.text for s in again.segments] == [s.text for s in placed.segments]


@pytest.mark.weights
@pytest.mark.parametrize(
    "wish",
    [
        *({"task": "translate"}, {"clips": "0,1"}, {"strategy": "sequential"}, {"multilingual": True}),
        # these were taken, and nothing came of them
        *({"diarize": True}, {"channels": True}, {"replacements": ["old=new"]}, {"on_segment": lambda s: None}),
    ],
)
def test_what_align_cannot_honour_is_refused(tiny: Whisper, known: np.ndarray, wish: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(wish))):
        tiny.align(known, SPOKEN, language="en", **wish)


@pytest.mark.weights
@pytest.mark.parametrize("text", ["", " \n ", "...", []])
def test_a_text_without_words_is_refused(tiny: Whisper, known: np.ndarray, text: str | list[str]) -> None:
    with pytest.raises(OptionError, match="nothing that can be spoken"):
        tiny.align(known, text, language="en")


@pytest.mark.weights
def test_silence_has_none_of_the_text(tiny: Whisper) -> None:
    placed = tiny.align(np.zeros(5 * SAMPLE_RATE, np.float32), [SPOKEN], language="en")
    assert [m.text for m in placed.missing] == [SPOKEN]
    assert placed.segments[0].text.strip() == SPOKEN


def test_words_are_cut_into_windows_that_fit_and_end_in_pauses() -> None:
    items = [Item("w", (1,), 0, i * 0.5 + (i >= 50) * 1.0, i * 0.5 + 0.4 + (i >= 50) * 1.0) for i in range(200)]
    parts = list(windows(items))
    assert [item for part in parts for item in part] == items
    assert all(part[-1].end - part[0].start <= 29 for part in parts)
    assert len(parts[0]) == 50  # in its longest pause
    far = [Item("a", (1,), 0, 0.0, 1.0), Item("b", (1,), 0, 7.0, 8.0)]
    assert list(windows(far)) == [far[:1], far[1:]]


@pytest.mark.parametrize(
    ("language", "line"), [("en", "„No” — he said: 7 % - ..."), ("zh", "我们今天去北京，看看长城。"), ("en", "...")]
)
def test_the_words_of_a_line_are_the_line(language: str, line: str) -> None:
    tokenizer = Tokenizer(51865, language)
    items = words_of(tokenizer, line, 3)
    assert "".join(item.word for item in items).strip() == line
    assert tokenizer.decode([t for item in items for t in item.ids]).strip() == line
    assert all(item.line == 3 for item in items)
