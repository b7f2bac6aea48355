"""The parallel strategy on real sound with real weights, beside its slow twin; doubtful sound; where words stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import pytest

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.flow import question
from sottovoce.flow.gates import plain
from sottovoce.flow.words import place_words
from sottovoce.types import Aligned, Decode, Decoded, Segment, Strategy, Window
from tests.cpu.test_parallel import T, at, run, said


@pytest.fixture(scope="module")
def tiny() -> Iterator[Whisper]:
    with Whisper("tiny", device="cpu", compute="float32") as model:
        yield model


@pytest.fixture(scope="module")
def known() -> np.ndarray:
    return decode.load(str(files("sottovoce.audio") / "assets" / "known.ogg"))


@pytest.mark.weights
def test_a_recording_of_one_window_reads_as_in_the_sequential_strategy(tiny: Whisper, known: np.ndarray) -> None:
    """The slow twin, where both hear the same window."""
    one, other = (tiny.transcribe(known, language="en", strategy=s) for s in Strategy)
    assert [s.tokens for s in one.segments] == [s.tokens for s in other.segments]


@pytest.mark.weights
def test_speech_between_long_noises_is_heard_whole_and_nothing_else(tiny: Whisper, known: np.ndarray) -> None:
    alone = plain(tiny.transcribe(known, language="en", temperature=0).text).split()
    noise = np.random.default_rng(0).normal(scale=0.003, size=40 * 16_000).astype(np.float32)
    quiet = np.zeros(25 * 16_000, np.float32)
    together = np.concatenate([noise, known, quiet, known, noise, known, noise])
    transcript = tiny.transcribe(together, language="en", temperature=0)
    words = plain(transcript.text).split()
    assert abs(len(words) - 3 * len(alone)) <= 3 and transcript.dropped == ()
    at_s = np.cumsum([0, *[len(x) for x in (noise, known, quiet, known, noise, known)]]) / 16_000
    for segment in transcript.segments:
        assert any(at_s[i] - 1 < segment.start < segment.end < at_s[i + 1] + 1 for i in (1, 3, 5))


@pytest.mark.weights
def test_word_times_change_no_word(tiny: Whisper, known: np.ndarray) -> None:
    together = np.tile(np.concatenate([known, np.zeros(8000, np.float32)]), 4)
    without = tiny.transcribe(together, language="en", temperature=0)
    timed = tiny.transcribe(together, language="en", temperature=0, word_timestamps=True)
    assert timed.text == without.text
    words = [w for s in timed.segments for w in s.words or ()]
    assert "".join(w.word for w in words) == timed.text
    assert all(a.start <= b.start for a, b in itertools.pairwise(words))
    assert all(s.start <= w.start < w.end <= s.end for s in timed.segments for w in s.words or ())
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(words))


@pytest.mark.weights
@pytest.mark.parametrize("pause_s", [0.4, 2.0])
def test_no_word_lies_in_a_pause(tiny: Whisper, known: np.ndarray, pause_s: float) -> None:
    """By attention alone the first word after a pause began in it: 0.1 to 0.5 s too early, with base 0.2 on average."""
    pause = np.zeros(round(pause_s * 16_000), np.float32)
    loud = np.flatnonzero(np.abs(known) > 0.02)
    spoken = known[loud[0] : loud[-1]]
    timed = tiny.transcribe(np.concatenate([spoken, pause, spoken]), language="en", temperature=0, word_timestamps=True)
    first_s, last_s = len(spoken) / 16_000 + 0.1, len(spoken) / 16_000 + pause_s - 0.1
    words = [w for s in timed.segments for w in s.words or ()]
    assert len(words) >= 20
    assert not [w for w in words if w.start < last_s and w.end > first_s]


@pytest.mark.parametrize(("silence", "kept"), [(0.66, False), (0.1, True)])
def test_what_beams_find_in_doubtful_speech_must_stand_without_them(silence: float, kept: bool) -> None:
    """With five beams 35 words were written for 13 recordings of noise, greedily none: a beam finds what is fluent."""

    def answer(window: Window) -> Decoded:
        assert isinstance(window.ask, Decode)
        sure = window.ask.search.beam_size > 1
        return said(0.0, " I don't know.", 3.0, no_speech_prob=silence, avg_logprob=-0.9 if sure else -1.3)

    assert bool(run([(0, 3)], answer, beam_size=5).transcript.text) is kept


def test_speech_whose_words_are_not_heard_again_has_one_line() -> None:
    """It had two, one of them for no words: its seconds counted twice in what the command said was dropped."""

    def answer(window: Window) -> Decoded:
        if at(window) == (0, 8):
            return said(3.0, " See you next time.", 5.6, no_speech_prob=0.5)
        return said(0.0, f" Something else, {at(window)[1]}.", at(window)[1], no_speech_prob=0.5)

    played = run([(3.0, 5.5)], answer, seconds=8, temperature=(0.0,), voice=0.6)
    assert played.transcript.text == ""
    (line,) = played.transcript.dropped
    assert line.reason == "words that were not heard again"
    assert (line.start, line.end) == (pytest.approx(3, abs=0.1), pytest.approx(5.5, abs=0.1))


def test_words_that_are_too_many_to_align_at_once_are_all_there() -> None:
    """A text longer than the decoder's context was read beyond its end: kernels wrote outside their memory."""
    text = tuple(T.encode(" one two three" * 150))
    ask = question.alignment(T, text, 448)
    assert len(ask.sot) + len(ask.text) + 2 == 448
    aligned = Aligned(tuple(range(len(ask.text) + 1)), (0.9,) * len(ask.text))
    whole = Segment(0, 0, 0.0, 25.0, " one two three" * 150, text, 0.0, -0.1, 1.0, 0.0)
    (placed,) = place_words([whole], T, aligned, offset_s=0.0, last_speech_s=0.0, prepend="", append="")
    assert [w.word for w in placed.words or ()] == [" one", " two", " three"] * 150
    assert all(a.end <= b.end for a, b in itertools.pairwise(placed.words or ()))
