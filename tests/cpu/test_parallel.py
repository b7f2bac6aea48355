"""The parallel strategy: what is asked at once, what is asked again, and that nothing vanishes without a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sottovoce.audio.vad import FRAME
from sottovoce.errors import OptionError
from sottovoce.flow.listen import Checkpoint
from sottovoce.flow.parallel import transcribe
from sottovoce.flow.protocol import WAIT, Got, Known
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Align, Aligned, Answer, Decode, Decoded, Detect, Detected, Strategy, Window
from tests.null.flows import Played, play

N_VOCAB = 51865
T = Tokenizer(N_VOCAB, "en", "transcribe")
CHECKPOINT = Checkpoint(80, N_VOCAB)


def said(*parts: float | str, **more: float) -> Decoded:
    """Tokens of times and texts, as a window would decode them."""
    tokens: list[int] = []
    for part in parts:
        tokens += T.encode(part) if isinstance(part, str) else [T.timestamp_begin + round(part / 0.02)]
    return Decoded(tuple(tokens), **{"avg_logprob": -0.3, "no_speech_prob": 0.01, **more})  # type: ignore[arg-type]


def at(window: Window) -> tuple[float, float]:
    """Where a window begins, and how long it is, in seconds."""
    seek, size = window.key.split(":")[1].split("+")
    return int(seek) / 100, int(size) / 100


def run(
    speech: list[tuple[float, float]],
    answer: Callable[[Window], Answer],
    *,
    seconds: float = 60.0,
    n_in_flight: int = 20,
    voice: float = 1.0,
    **options: object,
) -> Played:
    """Transcribe a sound with speech at these seconds, as probable as voice."""
    samples = np.random.default_rng(0).normal(scale=0.01, size=round(seconds * 16_000)).astype(np.float32)
    track = np.zeros(len(samples) // FRAME + 1, np.float32)
    for start, end in speech:
        track[round(start * 16_000 / FRAME) : round(end * 16_000 / FRAME)] = voice

    def hear(clip: np.ndarray) -> Iterator[np.ndarray]:
        # a clip of the recording: its frames are found by its first sample
        first = 0 if len(clip) in (0, len(samples)) else int(np.flatnonzero(samples == clip[0])[0]) // FRAME
        yield from np.array_split(track[first : first + len(clip) // FRAME + 1], 7)

    given = Options(**{"language": "en", **options})  # type: ignore[arg-type]
    return play(transcribe(samples, given, CHECKPOINT, "flow", n_in_flight, hear), answer)


def goes_on(window: Window) -> bool:
    """Is the model asked to go on behind its last timestamp?"""
    return isinstance(window.ask, Decode) and not window.ask.rules.timestamps


STOPS = " One two three four five six seven eight, one two three, and a half or so, then nine ten and so on"
UNSURE = said(" mumble", avg_logprob=-3.0)


def full(window: Window) -> Decoded:
    """Words from the window's beginning to its end."""
    start, size = at(window)
    spoken = " ".join(f"{hash((start, i)):x}"[:4] for i in range(round(size)))
    return said(0.0, f" From {start:.0f} some words: {spoken}.", size)


def test_windows_are_asked_together_and_told_in_order_of_time() -> None:
    speech = [(float(i), i + 8.0) for i in range(0, 90, 10)]
    order: list[str] = []

    def answer(window: Window) -> Decoded:
        order.append(window.key)
        return full(window)

    played = run(speech, answer, seconds=100)
    starts = [s.start for s in played.transcript.segments]
    assert starts == sorted(starts) and len(starts) == len(order) >= 3
    assert [s.id for s in played.transcript.segments] == list(range(len(starts)))
    assert played.transcript.text == "".join(s.text for s in played.transcript.segments)
    assert played.transcript.coverage == pytest.approx(1)
    assert played.known[-1].position_s == 100


def test_answers_in_any_order_give_the_same_transcript() -> None:
    speech = [(float(i), i + 8.0) for i in range(0, 290, 14)]
    samples = np.zeros(300 * 16_000, np.float32)
    track = np.zeros(len(samples) // FRAME + 1, np.float32)
    for start, end in speech:
        track[round(start * 16_000 / FRAME) : round(end * 16_000 / FRAME)] = 1

    def in_order(seed: int) -> tuple[object, ...]:
        rng = np.random.default_rng(seed)
        flow = transcribe(samples, Options(language="en"), CHECKPOINT, "f", 4, lambda _: [track])
        waiting: list[Window] = []
        told: list[float] = []
        thing = next(flow)
        try:
            while True:
                got = None
                if isinstance(thing, Window):
                    waiting.append(thing)
                    assert len(waiting) <= 4, "more windows are in flight than allowed"
                elif thing is WAIT:
                    window = waiting.pop(int(rng.integers(len(waiting))))
                    got = Got(window, full(window))
                elif isinstance(thing, Known):
                    told += [s.start for s in thing.segments]
                thing = flow.send(got)
        except StopIteration as end:
            assert told == sorted(told)
            return tuple(end.value.segments)

    assert in_order(0) == in_order(1) == in_order(2)


def test_silence_is_an_empty_transcript_and_asks_for_nothing() -> None:
    played = run([], full)
    assert (played.windows, played.transcript.text, played.transcript.dropped) == ([], "", ())
    assert played.transcript.coverage == 1


@pytest.mark.parametrize("n", [0, 1, 159, 160, 16_000])
def test_almost_no_sound_is_no_crash(n: int) -> None:
    """With the real detector of speech."""
    flow = transcribe(np.zeros(n, np.float32), Options(language="en"), CHECKPOINT, "f")
    assert play(flow, full).transcript.duration == n / 16_000


def test_without_speech_the_language_is_heard_at_the_beginning() -> None:
    answer = Detected(tuple(0.9 if c == "de" else 0.0 for c in T.language_codes))
    played = run([], lambda _: answer, language=None)
    assert played.transcript.language == "de" and len(played.windows) == 1


def test_the_language_is_heard_where_speech_begins_and_first() -> None:
    answer = Detected(tuple(0.9 if c == "de" else 0.0 for c in T.language_codes))
    played = run([(40, 55)], lambda w: answer if isinstance(w.ask, Detect) else full(w), language=None)
    detect, decode = played.windows
    assert detect.key == decode.key, "the slot is warm"
    assert at(detect)[0] == pytest.approx(39.6, abs=0.1)
    assert isinstance(decode.ask, Decode) and decode.ask.prompt[1] == T.to_language_token("de")


def test_text_after_the_last_timestamp_is_kept() -> None:
    """faster-whisper's batched pipeline drops it."""
    played = run(
        [(0, 20)],
        lambda w: said(0.0, " One two three four five six seven.", 10.0, 10.0, " And the tail of all of it here"),
    )
    assert [(s.start, s.text) for s in played.transcript.segments][1] == (10.0, " And the tail of all of it here")
    assert played.transcript.segments[1].end == pytest.approx(20, abs=0.5)


def test_a_window_that_stops_before_the_end_of_speech_is_made_to_go_on() -> None:
    """A full window likes to stop early: 18 words of 1050 were lost in eight minutes of read speech."""

    def answer(window: Window) -> Decoded:
        if goes_on(window):
            return said(" and the rest of it here.", 20.0)
        return said(0.0, STOPS, 17.0)

    played = run([(0, 20)], answer)
    _, ask = (w.ask for w in played.windows)
    assert isinstance(ask, Decode)
    assert [t - T.timestamp_begin for t in ask.prompt[-2:]] == [850, 850]
    assert len({w.key for w in played.windows}) == 1, "the slot is warm"
    assert [(s.start, s.text) for s in played.transcript.segments][1:] == [(17.0, " and the rest of it here.")]
    assert played.transcript.dropped == ()


@pytest.mark.parametrize("more", [UNSURE, said(" nine ten and so on", 20.0), said(" the rest", 3.0), said(STOPS, 20.0)])
def test_what_it_goes_on_with_must_be_sure_new_and_later(more: Decoded) -> None:
    def answer(window: Window) -> Decoded:
        if at(window)[0] > 0:
            return replace(UNSURE, no_speech_prob=0.9)
        return more if goes_on(window) else said(0.0, STOPS, 17.0)

    played = run([(0, 20)], answer)
    assert [s.text for s in played.transcript.segments] == [STOPS]
    assert [(d.start, d.reason) for d in played.transcript.dropped] == [(17.0, "no speech")]


def test_speech_behind_the_last_words_is_read_again() -> None:
    def answer(window: Window) -> Decoded:
        if goes_on(window):
            return UNSURE
        if at(window)[0] == 0:
            return said(0.0, " One two three four five six seven eight nine ten and so on up to here.", 9.0)
        return said(0.0, " The rest of it, that would have been lost.", at(window)[1])

    played = run([(0, 20)], answer)
    assert [at(w)[0] for w in played.windows] == [0, 0, 9]
    assert played.transcript.text.endswith("that would have been lost.")
    assert played.transcript.dropped == ()


def test_speech_between_two_segments_is_read_again() -> None:
    def answer(window: Window) -> Decoded:
        if at(window)[0] == 0:
            return said(0.0, " One two three four five six.", 5.0, 12.0, " Seven eight nine ten eleven twelve.", 20.4)
        return said(0.0, " What lies between the two.", at(window)[1])

    played = run([(0, 20)], answer)
    assert [s.text.split()[0] for s in played.transcript.segments] == ["One", "What", "Seven"]
    assert [at(w) for w in played.windows][1] == (5.0, 7.0)


def test_speech_that_stays_without_words_is_named() -> None:
    def answer(window: Window) -> Decoded:
        if goes_on(window):
            return UNSURE
        if at(window)[0] == 0:
            return said(0.0, " One two three four five six seven eight nine ten and so on up to here.", 9.0)
        return said(0.0, " um", 1.0, no_speech_prob=0.9, avg_logprob=-1.5)

    played = run([(0, 20)], answer)
    (line,) = played.transcript.dropped
    assert (line.start, line.reason) == (9.0, "no speech")
    assert line.end == pytest.approx(20, abs=0.1)
    assert played.transcript.coverage == pytest.approx(9 / 20, abs=0.01)
    assert played.transcript.to_dict()["dropped"] == [{"start": 9.0, "end": line.end, "reason": "no speech"}]


def test_a_hole_says_nothing_that_its_neighbours_say() -> None:
    def answer(window: Window) -> Decoded:
        if goes_on(window):
            return UNSURE
        if at(window)[0] == 0:
            return said(0.0, " One two three four five six seven eight nine ten, and up to here.", 9.0)
        return said(0.0, " And up to here.", 1.0, 1.0, " And then the rest of it.", at(window)[1])

    played = run([(0, 20)], answer)
    assert played.transcript.text.count("p to here") == 1


def test_a_window_that_fails_climbs_alone_from_its_warm_slot() -> None:
    def answer(window: Window) -> Decoded:
        assert isinstance(window.ask, Decode)
        bad = window.ask.search.temperature < 0.4 and at(window)[0] == 0
        return replace(full(window), avg_logprob=-2.0) if bad else full(window)

    played = run([(0, 25), (32, 55)], answer)
    asked = [(at(w)[0], w.ask.search.temperature, w.flow) for w in played.windows if isinstance(w.ask, Decode)]
    first = [(t, flow) for start, t, flow in asked if start == 0]
    assert first == [(0.0, "flow"), (0.2, "flow:again"), (0.4, "flow:again")]
    assert len(asked) == 4
    assert len({w.key for w in played.windows}) == 2


def test_of_failures_the_least_bad_stands_and_not_the_last() -> None:
    def answer(window: Window) -> Decoded:
        assert isinstance(window.ask, Decode)
        t = window.ask.search.temperature
        return replace(full(window), avg_logprob=-1.2 - t, temperature=t)

    played = run([(0, 7)], answer)
    assert {s.temperature for s in played.transcript.segments} == {0.0}


def test_far_too_few_words_are_a_fault() -> None:
    def answer(window: Window) -> Decoded:
        assert isinstance(window.ask, Decode)
        cold = window.ask.search.temperature == 0
        return said(0.0, " Thank you.", at(window)[1]) if cold else full(window)

    played = run([(0, 25)], answer)
    assert "some words" in played.transcript.text


def test_a_window_that_fails_on_all_rungs_is_cut_in_two() -> None:
    def answer(window: Window) -> Decoded:
        return said(0.0, " la la" * 60, 10.0) if at(window)[1] > 20 else full(window)

    played = run([(0, 12), (12.6, 25)], answer, temperature=(0.0, 0.5))
    assert len(played.transcript.segments) == 2
    assert "la la" not in played.transcript.text


def test_a_moment_of_speech_is_not_decoded_without_end() -> None:
    """A noise of 0.4 s was written as 224 tokens, on every rung, for every candidate: half a minute of computing."""
    asks = [w.ask for speech in ([(5, 5.5)], [(5, 25)]) for w in run(speech, full).windows]
    lengths = [a.search.max_tokens for a in asks if isinstance(a, Decode) and a.rules.timestamps]
    assert lengths[0] < 50 and lengths[-1] == 224


def test_words_that_do_not_fit_a_window_are_read_in_two() -> None:
    """Scripts of many tokens a word fill a decoding before the window ends; what follows would be lost."""

    def answer(window: Window) -> Decoded:
        if at(window)[1] > 20:
            return said(0.0, " " + "".join(chr(0x1000 + i * 7 % 50) for i in range(120)))
        return full(window)

    played = run([(0, 12), (12.6, 25)], answer, temperature=(0.0,))
    assert len(played.transcript.segments) == 2 and played.transcript.coverage == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("texts", "kept"), [((" Two.",) * 6, " Two."), ((" A.", " B.", " C.", " D.", " E.", " F."), "")]
)
def test_a_word_that_no_gate_passes_stands_if_two_decodings_agree_on_it(texts: tuple[str, ...], kept: str) -> None:
    """A lone digit is improbable whatever it is; noises are heard as something else each time."""
    left = iter(texts)
    played = run([(5, 5.7)], lambda _: said(0.0, next(left), 1.1, avg_logprob=-1.3), voice=0.7)
    assert played.transcript.text == kept
    assert bool(played.transcript.dropped) != bool(kept)


def test_the_prompt_does_not_leak_into_the_text() -> None:
    def answer(window: Window) -> Decoded:
        assert isinstance(window.ask, Decode)
        return said(0.0, " Names: Ada, Grace, Alan.", at(window)[1]) if window.ask.i_sot else full(window)

    played = run([(0, 7)], answer, initial_prompt="Names: Ada, Grace, Alan.")
    assert "Ada" not in played.transcript.text and "some words" in played.transcript.text


def test_the_initial_prompt_stands_before_every_window() -> None:
    played = run([(0, 25), (32, 55)], full, initial_prompt="Ada")
    asks = [w.ask for w in played.windows if isinstance(w.ask, Decode)]
    assert [T.decode(a.prompt[: a.i_sot]) for a in asks] == ["<|startofprev|> Ada"] * 2


def test_a_window_in_another_script_is_read_again_with_the_text_before_it() -> None:
    """Chinese that came out half simplified, half traditional: its windows do not know each other."""

    def answer(window: Window) -> Decoded:
        assert isinstance(window.ask, Decode)
        start, size = at(window)
        simplified = start < 30 or window.ask.i_sot > 0
        return said(0.0, ("这个时候我们来说话, " if simplified else "這個時候我們來說話, ") + str(start) * 4, size)

    played = run([(0, 10), (36, 46)], answer, language="zh")
    assert "這" not in played.transcript.text and played.transcript.text.count("这") == 2
    asks = [w.ask for w in played.windows if isinstance(w.ask, Decode)]
    assert len(asks) == 3 and "这个时候" in T.decode(asks[2].prompt[: asks[2].i_sot])


def test_clips_are_transcribed_and_nothing_else() -> None:
    played = run([(0, 60)], full, clips=((10.0, 20.0), (50.0, None)))
    assert [at(w) for w in played.windows] == [(10.0, 10.0), (50.0, 10.0)]
    assert run([(0, 60)], full, clips=((80.0, 90.0),)).windows == []


def test_words_are_in_recording_time_and_inside_their_segments() -> None:
    def answer(window: Window) -> Answer:
        if isinstance(window.ask, Align):
            n = len(window.ask.text)
            return Aligned(tuple(range(0, 10 * (n + 1), 10)), (0.9,) * n)
        return full(window)

    played = run([(10, 25), (35, 55)], answer, word_timestamps=True)
    assert len(played.transcript.segments) == 2
    for segment in played.transcript.segments:
        assert segment.words
        assert all(segment.start <= w.start <= w.end <= segment.end for w in segment.words)
    assert played.transcript.segments[1].start > 34


def test_an_english_model_refuses_other_languages_aloud() -> None:
    flow = transcribe(np.zeros(16_000, np.float32), Options(language="de"), Checkpoint(80, 51864), "f")
    with pytest.raises(OptionError, match="English only"):
        next(flow)


@pytest.mark.parametrize("given", ["parallel", Strategy.PARALLEL, None])
def test_a_strategy_goes_by_its_name(given: Any) -> None:
    assert Request.of({"strategy": given}).options.chosen_strategy is Strategy.PARALLEL


def test_another_strategy_is_refused() -> None:
    with pytest.raises(OptionError, match="parallel or sequential was expected"):
        Request.of({"strategy": "batched"})


def test_a_short_recording_is_heard_whole_as_in_the_sequential_strategy() -> None:
    """A frame more at its end changed words in four of a hundred clips."""
    samples = np.random.default_rng(0).normal(scale=0.1, size=100_123).astype(np.float32)
    track = np.ones(len(samples) // FRAME + 1, np.float32)
    played = play(transcribe(samples, Options(language="en"), CHECKPOINT, "f", hear=lambda _: [track]), full)
    (window,) = played.windows
    assert (window.key, window.sound.n_frames) == ("f:0+625", 625)
