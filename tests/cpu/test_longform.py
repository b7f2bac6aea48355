"""The sequential strategy: where it seeks, what it carries, when it tries again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from sottovoce.errors import OptionError
from sottovoce.flow.longform import Checkpoint, detect_language, transcribe
from sottovoce.options import Options
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Align, Aligned, Answer, Decode, Decoded, Detect, Detected, Task
from tests.null.flows import Played, play

N_VOCAB = 51865
T = Tokenizer(N_VOCAB, "en", "transcribe")
CHECKPOINT = Checkpoint(80, N_VOCAB)


def stamp(seconds: float) -> int:
    return T.timestamp_begin + round(seconds / 0.02)


def said(*parts: float | str, **more: float) -> Decoded:
    """Tokens of times and texts, as a window would decode them."""
    tokens: list[int] = []
    for part in parts:
        tokens += T.encode(part) if isinstance(part, str) else [stamp(part)]
    return Decoded(tuple(tokens), **{"avg_logprob": -0.3, "no_speech_prob": 0.01, **more})  # type: ignore[arg-type]


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.01, size=round(seconds * 16_000)).astype(np.float32)


def run(seconds: float, answers: list[Answer], **options: object) -> Played:
    left: Iterator[Answer] = iter(answers)
    given = Options(**{"language": "en", **options})  # type: ignore[arg-type]
    played = play(transcribe(sound(seconds), given, CHECKPOINT, "flow"), lambda _: next(left))
    assert next(left, None) is None, "the flow asked for less than was prepared"
    return played


def prompts(played: Played) -> list[str]:
    """The context of every decoded window, as text."""
    return [
        T.decode([t for t in w.ask.prompt[: w.ask.i_sot] if t < T.eot])
        for w in played.windows
        if isinstance(w.ask, Decode)
    ]


def frames(played: Played) -> list[int]:
    return [int(w.key.split(":")[1].split("+")[0]) for w in played.windows]


def test_the_next_window_begins_at_the_last_pair_of_timestamps() -> None:
    played = run(50, [said(0.0, " One.", 10.0, 10.0, " Two", 20.0, 20.0, " unfin"), said(0.0, " End.", 5.0)])
    assert frames(played) == [0, 2000]
    texts = [(s.start, s.end, s.text) for s in played.transcript.segments]
    assert texts == [(0.0, 10.0, " One."), (10.0, 20.0, " Two"), (20.0, 25.0, " End.")]
    assert played.transcript.text == " One. Two End."


def test_a_single_timestamp_at_the_end_skips_the_rest_of_the_window() -> None:
    played = run(40, [said(0.0, " One.", 5.0, 5.0, " Two.", 9.0), said(0.0, " Rest.", 3.0)])
    assert frames(played) == [0, 3000]


def test_without_any_pair_the_window_is_one_segment() -> None:
    played = run(20, [said(0.0, " All of it.", 12.0)])
    (segment,) = played.transcript.segments
    assert (segment.start, segment.end) == (0.0, 12.0)
    assert segment.seek == 0


def test_silence_is_skipped_but_progress_is_told() -> None:
    played = run(40, [said(0.0, " You", 1.0, no_speech_prob=0.9, avg_logprob=-1.5), said(0.0, " Hi.", 2.0)])
    assert [k.position_s for k in played.known] == [30.0, 40.0]
    assert played.transcript.text == " Hi."


def test_a_confident_window_is_not_silence() -> None:
    played = run(10, [said(0.0, " Yes.", 1.0, no_speech_prob=0.9, avg_logprob=-0.2)])
    assert played.transcript.text == " Yes."


def test_what_is_repetitive_or_unsure_is_tried_hotter() -> None:
    loop = said(0.0, " la la" * 60, 10.0)
    unsure = said(0.0, " Mumble.", 10.0, avg_logprob=-2.0, temperature=0.2)
    good = said(0.0, " Better.", 10.0, temperature=0.4)
    played = run(10, [loop, unsure, good])
    temperatures = [w.ask.search.temperature for w in played.windows if isinstance(w.ask, Decode)]
    assert temperatures == [0.0, 0.2, 0.4]
    assert len({w.key for w in played.windows}) == 1, "the same sound stays in its warm slot"
    (segment,) = played.transcript.segments
    assert (segment.text, segment.temperature) == (" Better.", 0.4)


def test_the_last_rung_stands_even_if_it_fails() -> None:
    bad = said(0.0, " Bad.", 10.0, avg_logprob=-3.0)
    assert run(10, [bad, bad], temperature=(0.0, 1.0)).transcript.text == " Bad."


def test_likely_silence_is_not_tried_again() -> None:
    played = run(10, [said(0.0, " Hm", 1.0, no_speech_prob=0.8, avg_logprob=-2.0)])
    assert played.transcript.segments == ()


def test_beams_serve_temperature_zero_and_candidates_the_others() -> None:
    bad = said(0.0, " Bad.", 10.0, avg_logprob=-3.0)
    played = run(10, [bad, bad], temperature=(0.0, 0.6), beam_size=5, best_of=3)
    rows = [w.ask.search.n_rows for w in played.windows if isinstance(w.ask, Decode)]
    assert rows == [5, 3]


def test_text_is_the_next_windows_context() -> None:
    played = run(60, [said(0.0, " One.", 30.0), said(0.0, " Two.", 30.0)], initial_prompt="Names: Ada.")
    assert prompts(played) == [" Names: Ada.", " Names: Ada. One."]
    assert played.transcript.text == " One. Two.", "the initial prompt is not said"


def test_context_is_dropped_after_a_hot_window() -> None:
    hot = said(0.0, " Hot.", 30.0, temperature=0.8)
    assert prompts(run(60, [hot, said(0.0, " Two.", 30.0)], temperature=(0.8,)))[1] == ""


def test_context_can_be_switched_off() -> None:
    played = run(60, [said(0.0, " One.", 30.0), said(0.0, " Two.", 30.0)], condition_on_previous_text=False)
    assert prompts(played) == ["", ""]


def test_a_carried_prompt_stands_before_every_window() -> None:
    answers: list[Answer] = [
        said(0.0, " One.", 30.0, temperature=0.8),
        said(0.0, " Two.", 30.0),
        said(0.0, " Three.", 5.0),
    ]
    played = run(65, answers, initial_prompt="Ada", carry_initial_prompt=True, temperature=(0.8,))
    assert prompts(played) == [" Ada", " Ada", " Ada Two."]


def test_context_never_fills_more_than_half() -> None:
    played = run(10, [said(0.0, " Short.", 5.0)], initial_prompt="word " * 600, hotwords="hot " * 600)
    (window,) = played.windows
    assert isinstance(window.ask, Decode)
    assert len(window.ask.prompt) + 224 <= 448 + 3


def test_hotwords_stand_before_every_window() -> None:
    played = run(60, [said(0.0, " One.", 30.0), said(0.0, " Two.", 30.0)], hotwords="Ada Lovelace")
    assert prompts(played) == [" Ada Lovelace", " Ada Lovelace One."]


def test_a_prefix_stands_after_the_start_tokens() -> None:
    played = run(10, [said(0.0, " x", 5.0)], prefix="So it", without_timestamps=True)
    ask = played.windows[0].ask
    assert isinstance(ask, Decode)
    assert ask.prompt == (*T.sot_sequence_including_notimestamps, *T.encode(" So it"))
    assert not ask.rules.timestamps


def test_clips_are_transcribed_and_nothing_else() -> None:
    played = run(100, [said(0.0, " A.", 5.0), said(0.0, " B.", 10.0)], clips=((10.0, 20.0), (90.0, None)))
    assert [(w.key.split(":")[1], w.sound.n_frames) for w in played.windows] == [
        ("1000+1000", 1000),
        ("9000+1000", 1000),
    ]
    assert [s.start for s in played.transcript.segments] == [10.0, 90.0]


def test_a_clip_beyond_the_end_is_empty() -> None:
    assert run(10, [], clips=((20.0, 30.0),)).transcript.segments == ()


@pytest.mark.parametrize("n", [0, 1, 159, 160])
def test_almost_no_sound_is_no_crash(n: int) -> None:
    answers = iter([said(0.0, " Hm.", 0.0)])
    flow = transcribe(np.zeros(n, np.float32), Options(language="en"), CHECKPOINT, "f")
    assert play(flow, lambda _: next(answers)).transcript.duration == n / 16_000


def detected(**probs: float) -> Detected:
    return Detected(tuple(probs.get(code, 0.0) for code in Tokenizer(N_VOCAB).language_codes))


def test_the_language_is_heard_before_the_words() -> None:
    played = run(10, [detected(de=0.9, nl=0.1), said(0.0, " Hallo.", 5.0)], language=None)
    assert (played.heard[0].language, played.heard[0].probability) == ("de", 0.9)
    decode = played.windows[1].ask
    assert isinstance(decode, Decode)
    assert decode.prompt[1] == T.to_language_token("de")
    assert played.transcript.language == "de"
    assert played.transcript.language_probs["nl"] == 0.1


def test_an_unsure_language_is_voted_on() -> None:
    votes: list[Answer] = [detected(de=0.4, en=0.3), detected(nl=0.45), detected(de=0.4)]
    flow = detect_language(sound(90), Options(language_detection_segments=3), CHECKPOINT, "f")
    left = iter(votes)
    assert play(flow, lambda _: next(left)).heard[0].language == "de"


def test_an_english_model_refuses_other_languages_aloud() -> None:
    for options in (Options(language="de"), Options(task=Task.TRANSLATE)):
        flow = transcribe(sound(1), options, Checkpoint(80, 51864), "f")
        with pytest.raises(OptionError, match="English only"):
            next(flow)


def test_every_window_may_have_a_language_of_its_own() -> None:
    answers: list[Answer] = [
        detected(en=1.0),
        detected(en=1.0),
        said(0.0, " One.", 30.0),
        detected(de=1.0),
        said(0.0, " Zwei.", 10.0),
    ]
    played = run(40, answers, language=None, multilingual=True)
    languages = [w.ask.prompt[w.ask.i_sot + 1] for w in played.windows if isinstance(w.ask, Decode)]
    assert languages == [T.to_language_token("en"), T.to_language_token("de")]


def words_at(text: str, *starts_s: float) -> Aligned:
    tokens = T.encode(text)
    assert len(starts_s) == len(tokens) + 1
    return Aligned(tuple(round(s * 50) for s in starts_s), (0.9,) * len(tokens))


def test_words_move_the_segment_and_the_next_window() -> None:
    first = said(0.0, " One two.", 6.0, 6.0)
    aligned = words_at(" One two.", 0.5, 1.0, 1.5, 1.6)
    played = run(
        10, [first, aligned, said(0.0, " Rest.", 3.0), words_at(" Rest.", 0.0, 0.4, 0.5)], word_timestamps=True
    )
    one = played.transcript.segments[0]
    assert [w.word for w in one.words or ()] == [" One", " two."]
    assert (one.start, one.end) == (0.5, 1.5), "a mark that joins a word does not move its end"
    assert frames(played)[2] == 150, "the last word's end says where to go on"
    asks = [type(w.ask) for w in played.windows]
    assert asks == [Decode, Align, Decode, Align]
    assert played.windows[0].key == played.windows[1].key, "alignment finds the slot warm"


def test_language_detection_listens_to_a_full_window() -> None:
    played = play(detect_language(sound(3), Options(), CHECKPOINT, "f"), lambda _: detected(en=1.0))
    (window,) = played.windows
    assert isinstance(window.ask, Detect)
    assert window.sound.n_frames == 3000
