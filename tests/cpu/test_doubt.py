"""What may be invented must be heard twice; who is heard clearly is believed."""

from __future__ import annotations

import pytest

from sottovoce.audio import vad
from sottovoce.flow.doubt import is_doubtful, is_same, is_unvoiced
from sottovoce.flow.spans import Span, Stretch
from sottovoce.types import Decoded, Segment, Window
from tests.cpu.test_parallel import UNSURE, at, run, said
from tests.voice import voice

S = 16_000
INVENTED = " I'm going to take a seat now, thank you."


def segment(start: float, end: float, text: str, no_speech: float = 0.02) -> Segment:
    return Segment(0, 0, start, end, text, (), 0.0, -0.5, 1.0, no_speech)


def stretch(*speech: tuple[float, float, float]) -> Stretch:
    return Stretch(0, 30 * S, tuple(Span(round(a * S), round(b * S), p) for a, b, p in speech))


def test_letters_without_voice_are_doubtful() -> None:
    """39 letters over 0.3 s of faint voice: written for a noise."""
    noise = stretch((10.0, 10.3, 0.5))
    assert is_unvoiced(segment(9, 12, INVENTED), noise)
    assert not is_unvoiced(segment(9, 12, INVENTED), stretch((9.0, 11.5, 0.95)))


def test_digits_in_a_window_that_may_be_silent_are_believed_where_a_voice_is_clear() -> None:
    """ " 1,001 90210" was said clearly, with a probability of silence of 0.66: it was dropped."""
    digits = segment(0, 5, " 1,001 90210", no_speech=0.66)
    assert not is_doubtful(digits, stretch((0.9, 2.6, 0.95), (4.0, 5.0, 0.93)))
    assert is_doubtful(digits, stretch((0.9, 2.6, 0.5), (4.0, 5.0, 0.55)))


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        (" We're here.", " We're here!", True),
        (" Tell me what happened, friend.", " Tell me what happened.", True),
        (" The Bible is a story of the world.", " I'm sorry.", False),
        (" Anna", " Hannah", True),
        (" Anna", " Good", False),
        (" Anna", "", False),
    ],
)
def test_the_same_is_said_again(text: str, other: str, same: bool) -> None:
    assert is_same(text, other) is same


def test_what_is_not_heard_again_is_dropped_with_a_line() -> None:
    def answer(window: Window) -> Decoded:
        start, size = at(window)
        if start == 0 and size > 10:
            return said(0.0, " A voice speaks here for some seconds, yes.", 8.0, 8.0, INVENTED, 12.0)
        return UNSURE

    played = run([(0.0, 8.0), (10.0, 10.3)], answer, seconds=14.0)
    assert INVENTED not in played.transcript.text and "A voice speaks" in played.transcript.text
    (line,) = [d for d in played.transcript.dropped if d.reason == "words that were not heard again"]
    assert (line.start, line.end) == pytest.approx((8.0, 12.0))


def test_what_is_heard_again_stays() -> None:
    def answer(window: Window) -> Decoded:
        start, size = at(window)
        if start == 0 and size > 20:
            return said(0.0, " A voice speaks here for some seconds, yes.", 8.0, 8.0, INVENTED, 16.0)
        return said(0.0, INVENTED, size)

    played = run([(0.0, 8.0), (12.0, 12.3), (16.5, 24.0)], answer, seconds=25.0)
    assert INVENTED in played.transcript.text


def test_blocks_are_heard_without_memory_but_for_a_second() -> None:
    """After minutes of noise the network missed the first seconds of speech; a block's frames depend on it alone."""
    sound = voice(40.0)
    found = list(vad.fresh_blocks(sound))
    first = 3 * vad.BLOCK - vad.RECENT
    alone = next(iter(vad.fresh_blocks(sound[first * vad.FRAME :])))
    assert sum(len(block) for block in found) == len(sound) // vad.FRAME + 1
    # what is heard before a block begins with the recording's own samples there, here with none
    assert found[3][:100] == pytest.approx(alone[vad.RECENT : vad.RECENT + 100], abs=0.02)
    assert found[0] == pytest.approx(next(iter(vad.blocks(sound))), abs=1e-5)


def test_a_sentence_that_is_said_again_and_again_is_kept() -> None:
    """A window that repeats itself failed in whole and in halves, and all of its words were dropped."""
    again = " The same words are said in the same way"

    def answer(window: Window) -> Decoded:
        _, size = at(window)
        return said(0.0, again * max(1, round(size / 3.5)), size)

    played = run([(0.0, 28.0)], answer, seconds=28.0)
    n = played.transcript.text.count(again)
    assert 5 <= n <= 10 and not played.transcript.dropped


def test_a_word_that_no_gate_passes_stands_if_its_voice_is_clear() -> None:
    """Digits of half a second were dropped, though the detector was sure of them: words were lost for doubts alone."""
    left = iter((" A.", " B.", " C.", " D.", " E.", " F."))
    played = run([(5, 5.7)], lambda _: said(0.0, next(left), 1.1, avg_logprob=-1.3), voice=0.9)
    assert played.transcript.text and not played.transcript.dropped


def test_marks_alone_are_no_words() -> None:
    """Music was written down as dots, one every few seconds."""

    def answer(window: Window) -> Decoded:
        return said(0.0, " .", 2.0, 2.0, " Words are said here for a while.", 8.0)

    played = run([(0.0, 8.0)], answer, seconds=8.0)
    assert [s.text for s in played.transcript.segments] == [" Words are said here for a while."]
