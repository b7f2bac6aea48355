"""Forced alignment with real weights: the known clip's text, right and wrong, gets its times; nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib.resources import files
from time import process_time

import numpy as np
import pytest

from sottovoce.api import Whisper
from sottovoce.audio import decode, vad
from sottovoce.errors import OptionError
from sottovoce.flow.forced import align
from sottovoce.flow.given import Item, transcript, windows, words_of
from sottovoce.flow.listen import Checkpoint
from sottovoce.options import Options
from sottovoce.text.formats import Transcript
from sottovoce.text.known import SPOKEN
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Align, Aligned, Answer, Decode, Decoded, Detect, Detected, Window, Word
from tests.null.flows import play

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
        *({"diarize": True}, {"channels": True}, {"replacements": {"a": "b"}}, {"on_segment": print}),
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


def test_speech_is_known_where_it_is_also_when_the_language_is_heard_all_over() -> None:
    """Of a long recording the language is heard in excerpts too; their speech was taken for the recording's own."""
    first, second, seconds = (2.0, 6.0), (300.0, 310.0), 320
    tokenizer, lines = Tokenizer(51865, "en"), ["one two three four", "alpha beta gamma delta epsilon"]
    samples = np.random.default_rng(0).normal(scale=0.01, size=seconds * SAMPLE_RATE).astype(np.float32)
    track = np.zeros(len(samples) // vad.FRAME + 1, np.float32)
    for start, end in (first, second):
        track[round(start * SAMPLE_RATE / vad.FRAME) : round(end * SAMPLE_RATE / vad.FRAME)] = 1

    def hear(clip: np.ndarray) -> Iterator[np.ndarray]:
        i = int(np.flatnonzero(samples == clip[0])[0]) // vad.FRAME
        part = track[i : i + len(clip) // vad.FRAME + 1]
        yield from (part[k : k + 100] for k in range(0, len(part), 100))

    def answer(window: Window) -> Answer:
        ask = window.ask
        if isinstance(ask, Detect):
            return Detected((1 / len(ask.languages),) * len(ask.languages))
        if isinstance(ask, Align):
            n = len(ask.text)
            return Aligned(tuple(range(0, (n + 1) * 10, 10)), (0.5,) * n)
        assert isinstance(ask, Decode)
        if int(window.key.split(":")[1].split("+")[0]) > 10_000:
            return Decoded((tokenizer.timestamp_begin,), -0.1, no_speech_prob=0.01)
        begin = tokenizer.timestamp_begin
        return Decoded((begin, *tokenizer.encode(f" {lines[0]}"), begin + 200), -0.1, no_speech_prob=0.01)

    placed = play(align(samples, lines, Options(), Checkpoint(80, 51865), "f", hear=hear), answer).transcript
    assert [s.text.strip() for s in placed.segments] == lines
    assert any(second[0] - 1 < w.start < second[1] for w in placed.segments[1].words or ())
    assert all(w.end < first[1] + 1 or w.start > second[0] - 1 for w in words(placed))


def test_a_transcript_of_many_lines_is_made_at_once() -> None:
    """Ten hours of lines took half a minute, because each line looked at all words."""
    n = 40_000
    items = [Item(" w", (1,), i // 5, i * 0.3, i * 0.3 + 0.2, 0.5, True) for i in range(n)]
    began_s = process_time()
    made = transcript(Transcript("", (), "en", n * 0.3), items, n // 5)
    assert [len(s.words or ()) for s in made.segments] == [5] * (n // 5)
    assert process_time() - began_s < 5


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
