"""Which language is spoken where: what is listened to, who may be meant, and where a recording switches."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from itertools import pairwise, product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.errors import OptionError
from sottovoce.flow import longform
from sottovoce.flow.listen import Checkpoint
from sottovoce.flow.parallel import transcribe
from sottovoce.flow.spans import Span, Stretch
from sottovoce.flow.switching import FLOOR, LEAST_S, SWITCH, languages, pieces, speech_s
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.text.formats import Transcript
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Answer, Decode, Detect, Detected, Task, Window
from tests.cpu.test_parallel import CHECKPOINT, N_VOCAB, T, at, full, run, said
from tests.null.flows import Played, play

CODES = Tokenizer(N_VOCAB).language_codes
LONG_S = 600.0


def detected(**probs: float) -> Detected:
    return Detected(tuple(probs.get(code, 0.0) for code in CODES))


def hears(*spoken: tuple[float, str], sure: float = 0.9) -> Callable[[Window], Answer]:
    """Answers of a model that hears the language that is spoken, from each time on, in the middle of a window."""

    def answer(window: Window) -> Answer:
        start, size = at(window)
        code = [code for since, code in spoken if since <= start + size / 2][-1]
        if isinstance(window.ask, Detect):
            return detected(**{code: sure}, la=1 - sure)
        return full(window)

    return answer


def asked_in(played: Played) -> list[tuple[float, str]]:
    """Where each decoding begins, and the language that it is asked in."""
    asks = [(at(w)[0], w.ask.prompt[w.ask.i_sot + 1]) for w in played.windows if isinstance(w.ask, Decode)]
    return [(start, CODES[token - T.language_tokens[0]]) for start, token in asks]


# --- the language of a recording --------------------------------------------------------------------------------------


def test_a_language_that_is_sure_is_heard_once() -> None:
    played = run([(0, 20), (28, 50)], hears((0, "de")), language=None)
    assert sum(isinstance(w.ask, Detect) for w in played.windows) == 1
    assert played.transcript.language == "de"


def test_a_doubt_is_settled_by_the_windows_that_follow_weighed_by_their_speech() -> None:
    """Two windows of a few words say Latin, one of twenty seconds Italian: a majority would be wrong."""

    def answer(window: Window) -> Answer:
        if not isinstance(window.ask, Detect):
            return full(window)
        return detected(it=0.75, la=0.25) if at(window)[1] > 15 else detected(la=0.6, it=0.4)

    played = run([(0, 2), (10, 12), (20, 40)], answer, language=None)
    assert sum(isinstance(w.ask, Detect) for w in played.windows) == 3
    assert played.transcript.language == "it"
    assert played.transcript.language_probability == pytest.approx((2 * 0.4 + 2 * 0.4 + 20 * 0.75) / 24, abs=0.01)
    heard = {w.key for w in played.windows if isinstance(w.ask, Detect)}
    assert heard <= {w.key for w in played.windows if isinstance(w.ask, Decode)}, "their slots are warm"


def test_of_a_long_recording_windows_all_over_it_are_heard() -> None:
    def answer(window: Window) -> Answer:
        if not isinstance(window.ask, Detect):
            return full(window)
        return detected(en=0.5, cy=0.4) if at(window)[0] < 100 else detected(cy=0.99)

    speech = [(float(i), i + 20.0) for i in range(0, round(LONG_S), 25)]
    played = run(speech, answer, language=None, seconds=LONG_S)
    places = [at(w)[0] for w in played.windows if isinstance(w.ask, Detect)]
    assert places[0] == 0 and places[1] > 250
    assert played.transcript.language == "cy"


def test_a_number_of_windows_that_is_given_is_kept_to_and_most_decide() -> None:
    votes = iter([detected(de=0.4, en=0.3), detected(nl=0.45), detected(de=0.4)])

    def answer(window: Window) -> Answer:
        return next(votes) if isinstance(window.ask, Detect) else full(window)

    speech = [(float(i), i + 20.0) for i in range(0, round(LONG_S), 25)]
    played = run(speech, answer, language=None, language_detection_segments=3, seconds=LONG_S)
    assert (played.transcript.language, next(votes, None)) == ("de", None)


# --- candidates -------------------------------------------------------------------------------------------------------


def test_detection_chooses_among_the_languages_that_may_be_spoken() -> None:
    def answer(window: Window) -> Answer:
        return detected(la=0.9, it=0.06, es=0.02) if isinstance(window.ask, Detect) else full(window)

    played = run([(0, 20)], answer, language=None, languages=("es", "it"))
    assert played.transcript.language == "it"
    assert played.transcript.language_probs == {"es": pytest.approx(0.25), "it": pytest.approx(0.75)}


def test_one_candidate_is_the_language() -> None:
    played = run([(0, 20)], full, language=None, languages=("de",))
    assert not any(isinstance(w.ask, Detect) for w in played.windows)
    assert asked_in(played) == [(0.0, "de")]
    assert played.transcript.segments[0].language is None, "it cannot differ"


def test_candidates_are_given_in_any_spelling() -> None:
    assert Request.of({"languages": "German, en-GB,zh_TW"}).options.languages == ("de", "en", "zh-Hant")
    assert Request.of({"languages": ["Deutsch", "de"]}).options.languages == ("de",)
    assert Request.of({"languages": None}).options.languages == ()


@pytest.mark.parametrize("wrong", [{"languages": 5}, {"languages": ["auto"]}, {"languages": "de", "language": "en"}])
def test_candidates_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="was given"):
        Request.of(wrong)


def test_a_model_refuses_candidates_that_it_does_not_know() -> None:
    for n_vocab, code in ((51864, "de"), (N_VOCAB, "yue")):
        flow = transcribe(np.zeros(16_000, np.float32), Options(languages=("en", code)), Checkpoint(80, n_vocab), "f")
        with pytest.raises(OptionError, match=code):
            next(flow)


# --- recordings that switch -------------------------------------------------------------------------------------------


def test_each_part_of_a_window_is_read_in_its_own_language_and_says_so() -> None:
    """By whole windows the second language is lost: a window is of one language, however sure that is."""
    speech = [(0, 4), (4.5, 9), (9.6, 14), (14.5, 20)]
    played = run(speech, hears((0, "en"), (9.3, "de")), language=None, languages=("en", "de"))
    assert [code for _, code in asked_in(played)] == ["en", "de"]
    assert asked_in(played)[1][0] == pytest.approx(9.3, abs=0.3)
    assert [s.language for s in played.transcript.segments] == ["en", "de"]
    assert played.transcript.language == "de"
    shares = played.transcript.languages
    assert list(shares) == ["de", "en"] and sum(shares.values()) == pytest.approx(1)
    assert Transcript.from_dict(played.transcript.to_dict()).languages == shares


def test_without_candidates_nothing_is_said_of_languages() -> None:
    written = run([(0, 20)], full).transcript.to_dict()
    assert "languages" not in written and "language" not in written["segments"][0]


def test_a_doubtful_piece_does_not_switch() -> None:
    def answer(window: Window) -> Answer:
        if not isinstance(window.ask, Detect):
            return full(window)
        return detected(es=0.8, it=0.2) if 5 < at(window)[0] < 8 else detected(it=1.0)

    played = run([(0, 5), (6, 11), (12, 17)], answer, language=None, languages=("it", "es"))
    assert [s.language for s in played.transcript.segments] == ["it"]


def test_a_piece_that_sounds_like_no_candidate_does_not_switch() -> None:
    """German with an accent, heard as Latin, 0.6 % German and 5 % English, was called English."""

    def answer(window: Window) -> Answer:
        if not isinstance(window.ask, Detect):
            return full(window)
        return detected(la=0.94, en=0.05, de=0.006) if at(window)[0] > 9 else detected(de=1.0)

    played = run([(0, 5), (6, 9), (11, 17)], answer, language=None, languages=("de", "en"))
    assert [s.language for s in played.transcript.segments] == ["de"]


def test_the_sequential_strategy_ends_a_window_where_another_candidate_begins() -> None:
    sound = decode.load(str(files("sottovoce.audio") / "assets" / "known.ogg"))
    samples = np.concatenate([sound, np.zeros(16_000, np.float32), sound])
    switch_s = len(sound) / 16_000
    heard = hears((0, "en"), (switch_s, "de"))

    def answer(window: Window) -> Answer:
        return detected(en=0.9) if "language" in window.key else heard(window)

    played = play(longform.transcribe(samples, Options(languages=("en", "de")), CHECKPOINT, "flow"), answer)
    first, second = asked_in(played)
    assert (first, second[1]) == ((0.0, "en"), "de")
    assert second[0] == pytest.approx(switch_s + 0.5, abs=0.6)
    assert [s.language for s in played.transcript.segments] == ["en", "de"]
    asks = [w.ask for w in played.windows if isinstance(w.ask, Decode)]
    assert [a.i_sot for a in asks] == [0, 0], "text in another language is no context"


def test_english_is_not_translated_in_the_parallel_strategy() -> None:
    played = run(
        [(0, 9), (10, 19)], hears((0, "en"), (9.5, "de")), language=None, languages=("en", "de"), task=Task.TRANSLATE
    )
    tasks = [w.ask.prompt[w.ask.i_sot + 2] for w in played.windows if isinstance(w.ask, Decode)]
    assert tasks == [T.transcribe, T.translate]
    assert [s.language for s in played.transcript.segments] == ["en", "de"], "of what is spoken"


# --- pieces and their languages ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.02, 2.0), st.floats(0.1, 9.0)), min_size=1, max_size=12))
def test_pieces_fill_their_stretch_and_have_speech_enough(rhythm: list[tuple[float, float]]) -> None:
    spans: list[Span] = []
    at_s = 0.0
    for pause_s, long_s in rhythm:
        start = round((at_s + pause_s) * 16_000)
        at_s += pause_s + long_s
        spans.append(Span(start, round(at_s * 16_000)))
    end = spans[-1].end // 320 * 320 + 640
    stretch = Stretch(0, end, tuple(spans))
    found = pieces(stretch, np.zeros(end, np.float32))
    assert (found[0].start, found[-1].end) == (0, end)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert [s for p in found for s in p.speech] == spans, "no speech is cut"
    assert len(found) == 1 or all(speech_s(p) >= LEAST_S for p in found)
    assert all(p.start <= p.speech[0].start and p.speech[-1].end <= p.end for p in found)


@given(st.lists(st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98), st.floats(0.1, 1.0)), min_size=1, max_size=7))
def test_the_languages_of_pieces_are_the_best_of_all_ways(given_probs: list[tuple[float, float, float]]) -> None:
    """The slow twin tries all ways through the languages that are the most probable of some piece."""
    probs = [{"a": a / (a + b + 0.1), "b": b / (a + b + 0.1), "c": 0.1 / (a + b + 0.1)} for a, b, _ in given_probs]
    weights = [w for _, _, w in given_probs]

    def worth(way: tuple[str, ...]) -> float:
        total = sum(w * log(max(p[code], FLOOR)) for code, p, w in zip(way, probs, weights, strict=True))
        return total - SWITCH * sum(x != y for x, y in pairwise(way))

    tops = {max(p, key=lambda code: p[code]) for p in probs}
    best = max(worth(way) for way in product(tops, repeat=len(probs)))
    assert worth(tuple(languages(probs, weights))) == pytest.approx(best)


# --- whose characters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tag", "kept"), [("zh-TW", "這"), ("zh-CN", "这"), ("zh", "这")])
def test_chinese_is_read_again_until_it_is_in_the_characters_that_are_wanted(tag: str, kept: str) -> None:
    def answer(window: Window) -> Answer:
        assert isinstance(window.ask, Decode)
        line = T.decode(window.ask.prompt[: window.ask.i_sot])
        text = "這個時候我們來說話, " if "普通話" in line else "这个时候我们来说话, "
        return said(0.0, text, at(window)[1])

    played = run([(0, 10)], answer, language=Request.of({"language": tag}).options.language)
    assert kept in played.transcript.text
    assert "普通" not in played.transcript.text
    assert len(played.windows) == (2 if kept == "這" else 1)


# --- real weights -----------------------------------------------------------------------------------------------------


@pytest.mark.weights
def test_a_recording_of_one_language_is_not_switched_by_candidates() -> None:
    known = decode.load(str(files("sottovoce.audio") / "assets" / "known.ogg"))
    samples = np.tile(np.concatenate([known, np.zeros(8000, np.float32)]), 3)
    with Whisper("tiny", device="cpu") as model:
        plain = model.transcribe(samples, language="en")
        followed = model.transcribe(samples, languages=["de", "en", "fr"])
        translated = model.transcribe(samples, language="en", task="translate")
    assert {s.language for s in followed.segments} == {"en"} and followed.languages == {"en": 1.0}
    assert followed.text == plain.text == translated.text
