"""What other engines get wrong with recordings, and the promise of ours beside each. Real weights, real sound.

Promises with a test elsewhere, in test_parallel.py where no file is named:

    text after the last timestamp is kept (faster-whisper batched)      test_text_after_the_last_timestamp_is_kept
    gates and temperatures hold for windows decoded together (same)     test_a_window_that_fails_climbs_alone_...
    speech that stays without words is named (every batching peer)      test_speech_that_stays_without_words_is_named
    the prompt's own words are a fault                                  test_the_prompt_does_not_leak_into_the_text
    no sound at all is no crash and no text                             test_almost_no_sound_is_no_crash
    nothing is written into inserted noise                    test_parallel_heard.py: test_speech_between_long_noises_..
    a window's words do not depend on its batch               test_compat_faster.py: test_a_chunks_words_do_not_depend..
    a language may switch inside a window                     test_switching.py: test_each_part_of_a_window_is_read_..
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.cli.job import Job
from sottovoce.cli.options import CONTEXT, config_of
from sottovoce.cli.transcribe import transcribe
from sottovoce.compat.faster_whisper.vad import collect_chunks
from sottovoce.flow import parallel
from sottovoce.flow.gates import plain
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.text.known import distance, words
from sottovoce.types import Decode, Strategy
from tests.cpu.test_parallel import CHECKPOINT, T, full, run
from tests.null.flows import play
from tests.voice import voice

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 16_000
SILENCE = np.zeros(RATE, np.float32)


@pytest.fixture(scope="module")
def model() -> Iterator[Whisper]:
    with Whisper("tiny.en", device="cpu") as model:
        yield model


@pytest.fixture(scope="module")
def base() -> Iterator[Whisper]:
    with Whisper("base", device="cpu") as model:
        yield model


@pytest.fixture(scope="module")
def english() -> np.ndarray:
    return decode.load(str(EXAMPLES / "english.ogg"))


@pytest.fixture(scope="module")
def said() -> list[str]:
    return words((EXAMPLES / "english.txt").read_text("utf-8"))


def error_rate(spoken: list[str], heard: str) -> float:
    return distance(spoken, words(heard)) / len(spoken)


# --- faster-whisper ---------------------------------------------------------------------------------------------------


def test_a_chunk_names_every_span_that_it_is_made_of() -> None:
    """faster-whisper's collect_chunks (vad.py) forgets the span that opens a chunk: its metadata misses it."""
    spans = [{"start": a * RATE, "end": b * RATE} for a, b in ((0, 8), (9, 20), (25, 40), (41, 44), (50, 79), (80, 81))]
    chunks, metadata = collect_chunks(np.zeros(81 * RATE, np.float32), spans, max_duration=30)
    assert [span for m in metadata for span in m["segments"]] == spans
    for chunk, m in zip(chunks, metadata, strict=True):
        assert len(chunk) == sum(s["end"] - s["start"] for s in m["segments"]) == m["duration"] * RATE


@pytest.mark.weights
def test_no_word_is_lost_at_a_windows_end(model: Whisper, english: np.ndarray, said: list[str]) -> None:
    """faster-whisper's batched pipeline drops what follows a window's last pair of timestamps, and hears it no more."""
    transcript = model.transcribe(english)
    assert error_rate(said, transcript.text) < 0.1
    assert transcript.coverage is not None and transcript.coverage > 0.97
    for paragraph in (EXAMPLES / "english.txt").read_text("utf-8").split("\n\n"):
        first, last = words(paragraph)[:6], words(paragraph)[-6:]
        heard = words(transcript.text)
        for end in (first, last):
            runs = [heard[i : i + 6] for i in range(len(heard))]
            assert min(distance(end, r) for r in runs) <= 2, f"{' '.join(end)}: its beginning or end is missing"


@pytest.mark.weights
def test_windows_decoded_together_have_segments_of_a_sentence_or_so(model: Whisper, english: np.ndarray) -> None:
    """faster-whisper's batches, and speaches', make one segment of each window of up to 30 s."""
    segments = model.transcribe(english).segments
    assert len(segments) > len(english) / RATE / 12
    assert max(s.end - s.start for s in segments) < 20


# --- whisperX ---------------------------------------------------------------------------------------------------------

FLAGS = [
    ("--temperature", "0.3", "temperature"),
    ("--temperature-increment-on-fallback", "None", "temperature"),
    ("--compression-ratio-threshold", "1.9", "compression_ratio_threshold"),
    ("--logprob-threshold", "-0.7", "logprob_threshold"),
    ("--no-speech-threshold", "0.3", "no_speech_threshold"),
    ("--condition-on-previous-text", "True", "condition_on_previous_text"),
    ("--initial-prompt", "Ada", "initial_prompt"),
    ("--hotwords", "Ada", "hotwords"),
    ("--beam-size", "3", "beam_size"),
    ("--best-of", "3", "best_of"),
    ("--patience", "2", "patience"),
    ("--length-penalty", "0.5", "length_penalty"),
    ("--suppress-tokens", "5", "suppress_tokens"),
    ("--word-timestamps", "True", "word_timestamps"),
    ("--hallucination-silence-threshold", "2", "hallucination_silence_threshold"),
    ("--task", "translate", "task"),
    ("--language", "de", "language"),
    ("--seed", "7", "seed"),
]


def options_of(*flags: str) -> tuple[Any, str]:
    given: dict[str, Any] = dict(transcribe.make_context("transcribe", ["a.wav", *flags], **CONTEXT).params)
    config = config_of(given)
    if not given.pop("fp16"):
        config = config.with_(compute="float32")
    for place in ("server", "api_key", "resident", "resident_idle"):  # where it is done, not how
        given.pop(place)
    return Request.of(Job.of(given.pop("files"), config, given).options).options, config.compute


@pytest.mark.parametrize(("flag", "value", "field"), FLAGS, ids=[flag for flag, _, _ in FLAGS])
def test_a_flag_reaches_the_decoding(flag: str, value: str, field: str) -> None:
    """whisperX takes these flags and stores them; its generate() never sees them, and --fp16 is read by nobody."""
    plain_options, _ = options_of()
    options, _ = options_of(flag, value)
    assert getattr(options, field) != getattr(plain_options, field)


def test_precision_is_what_the_flag_says() -> None:
    assert options_of("--fp16", "False")[1] == "float32" != options_of()[1]


@pytest.mark.parametrize(
    ("options", "n_asked"),
    [({"logprob_threshold": -0.2}, 6), ({"logprob_threshold": None}, 1), ({"temperature": (0.0, 0.4)}, 1)],
)
def test_thresholds_decide_in_the_parallel_strategy_too(options: dict[str, Any], n_asked: int) -> None:
    """faster-whisper's batches and whisperX document theirs as unused."""
    played = run([(0, 5)], full, **options)
    assert len(played.windows) == n_asked


# --- vLLM, whisper.cpp: times -----------------------------------------------------------------------------------------


@pytest.mark.weights
def test_times_do_not_drift_over_many_windows(model: Whisper, english: np.ndarray) -> None:
    """vLLM says that chunk n begins at n x 30 s although its chunks are shorter: half a second more with every chunk.

    whisper.cpp's times were seconds early before what its detector cuts out was put back. Here pauses of many lengths
    lie between, so that no window is as long as another.
    """
    clip = english[: 12 * RATE]
    alone = model.transcribe(clip).segments[0]
    parts: list[np.ndarray] = []
    starts_s: list[float] = []
    for i in range(14):
        starts_s.append(sum(map(len, parts)) / RATE + alone.start)
        parts += [clip, np.zeros(round((1.3 + 2.7 * (i % 5)) * RATE), np.float32)]
    transcript = model.transcribe(np.concatenate(parts))
    begin = " ".join(words(alone.text)[:3])
    found = [s.start for s in transcript.segments if plain(s.text).startswith(begin)]
    assert len(found) >= 12, "nearly every one is a segment of its own"
    off = [min(abs(f - s) for s in starts_s) for f in found]
    assert max(off) < 0.6 and abs(np.mean(off[-4:]) - np.mean(off[:4])) < 0.3


@pytest.mark.weights
@pytest.mark.parametrize("strategy", list(Strategy))
def test_duration_is_a_number_and_the_whole_recordings(model: Whisper, strategy: Strategy) -> None:
    """vLLM writes it as a string."""
    samples = np.concatenate([SILENCE, voice(1.5), SILENCE])
    transcript = model.transcribe(samples, strategy=strategy, temperature=0)
    assert isinstance(transcript.duration, float)
    assert transcript.duration == len(samples) / RATE


# --- WhisperLive ------------------------------------------------------------------------------------------------------


@pytest.mark.weights
def test_word_times_are_there_alone_and_in_company(model: Whisper, english: np.ndarray) -> None:
    """WhisperLive drops word_timestamps where its batch has one request only."""
    clips = [english[: 9 * RATE], english[20 * RATE : 34 * RATE], english[50 * RATE : 58 * RATE]]
    options: dict[str, Any] = {"word_timestamps": True, "temperature": 0}
    together = model.transcribe(clips, **options)
    (one,) = model.transcribe(clips[:1], **options)
    alone = model.transcribe(clips[0], **options)
    for transcript in (*together, one, alone):
        assert transcript.segments and all(s.words for s in transcript.segments)
    assert together[0].text == one.text == alone.text


def test_hotwords_stand_before_every_window_that_is_decoded_together() -> None:
    """WhisperLive's batches have no field for them, and do without."""
    played = run([(0, 25), (32, 55)], full, hotwords="Ada Lovelace")
    asks = [w.ask for w in played.windows if isinstance(w.ask, Decode)]
    assert len(asks) == 2
    assert all("Ada Lovelace" in T.decode(a.prompt[: a.i_sot]) for a in asks)


@pytest.mark.weights
def test_under_load_nobodys_words_are_skipped(model: Whisper, english: np.ndarray) -> None:
    """WhisperLive gives a request of a batch 30 s, and then takes its missing answer for silence."""
    clips = [english[i * 4 * RATE : (i * 4 + 8) * RATE] for i in range(12)]
    alone = [model.transcribe(clip, temperature=0).text for clip in clips]
    with ThreadPoolExecutor(12) as askers:
        together = list(askers.map(lambda clip: model.transcribe(clip, temperature=0).text, clips))
    assert together == alone and all(alone)


# --- whisper.cpp, WhisperS2T: silence ---------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_silent_recording_after_one_with_speech_has_no_text(
    model: Whisper, english: np.ndarray, strategy: Strategy
) -> None:
    """whisper.cpp's server, with its detector of speech, answered silence with the text of the request before."""
    clip = english[: 9 * RATE]
    spoken, silent, again = model.transcribe([clip, np.tile(SILENCE, 9), clip], strategy=strategy)
    assert spoken.text and spoken.text == again.text
    after = model.transcribe(np.tile(SILENCE, 9), strategy=Strategy.PARALLEL)
    assert (after.text, after.segments) == ("", ())
    if strategy is Strategy.PARALLEL:
        assert (silent.text, silent.segments) == ("", ())
    assert not set(words(silent.text)) & set(words(spoken.text)), "nothing of the neighbour's"


@pytest.mark.parametrize("kind", ["silence", "hum", "hiss"])
def test_without_speech_nothing_is_decoded_and_nothing_counts_as_speech(kind: str) -> None:
    """WhisperS2T takes a silent file for speech from 0 to 29 s, "a quick fix": Whisper then writes thanks for watching.

    With the real detector of speech; the model would write words if it was asked.
    """
    t = np.arange(40 * RATE) / RATE
    sounds = {
        "silence": np.zeros(len(t)),
        "hum": 0.1 * np.sin(2 * np.pi * 50 * t),
        "hiss": np.random.default_rng(0).normal(scale=0.01, size=len(t)),
    }
    played = play(parallel.transcribe(sounds[kind].astype(np.float32), Options(language="en"), CHECKPOINT, "f"), full)
    assert played.windows == []
    assert (played.transcript.text, played.transcript.dropped, played.transcript.coverage) == ("", (), 1)


# --- sherpa-onnx for Triton -------------------------------------------------------------------------------------------


@pytest.mark.weights
def test_without_a_language_it_is_heard_and_not_assumed(base: Whisper) -> None:
    """sherpa's default prompt says Korean, whatever is spoken."""
    for name, code in (("english.ogg", "en"), ("german.mp3", "de"), ("chinese.m4a", "zh")):
        clip = decode.load(str(EXAMPLES / name))[: 12 * RATE]
        transcript = base.transcribe(clip, temperature=0)
        assert transcript.language == code and transcript.text
        assert not any("\uac00" <= c <= "\ud7af" for c in transcript.text), "Korean"


@pytest.mark.weights
def test_fast_speech_of_a_window_is_written_to_its_end(model: Whisper, english: np.ndarray) -> None:
    """sherpa and TensorRT-LLM's example end every text after 96 tokens: what is said after them is lost."""
    voiced = [s for s in model.transcribe(english).segments if s.end < 60]
    parts = [english[round(s.start * RATE) : round(s.end * RATE)] for s in voiced]
    faster = np.concatenate(parts)[: 40 * RATE]
    # every 4th of ten milliseconds is left out: a third faster, at the same pitch
    frames = faster[: len(faster) // 160 * 160].reshape(-1, 160)
    faster = frames[np.arange(len(frames)) % 4 != 3].reshape(-1)[: 29 * RATE]
    transcript = model.transcribe(faster)
    n_tokens = sum(t < T.eot for s in transcript.segments for t in s.tokens)
    assert n_tokens > 96, "the sound was meant to have more"
    assert transcript.segments[-1].end > len(faster) / RATE - 2
    assert transcript.coverage is not None and transcript.coverage > 0.9


@pytest.mark.weights
def test_words_stay_in_the_language_that_they_are_spoken_in(base: Whisper, english: np.ndarray) -> None:
    """Batching peers flip the language inside a chunk, or translate the second one of it (#1179)."""
    german = decode.load(str(EXAMPLES / "german.mp3"))
    pause = np.zeros(RATE * 6 // 10, np.float32)
    first, second, third = english[: 7 * RATE], german[: RATE * 124 // 10], english[RATE * 98 // 10 : RATE * 147 // 10]
    samples = np.concatenate([first, pause, second, pause, third])
    transcript = base.transcribe(samples, languages=["en", "de"])
    at_s = np.cumsum([0, len(first) + len(pause), len(second) + len(pause), len(third)]) / RATE
    spoken = list(zip(("en", "de", "en"), at_s, at_s[1:], strict=False))
    for s in transcript.segments:
        assert s.language == next(code for code, a, b in spoken if a <= (s.start + s.end) / 2 < b), s
    heard = {code: " ".join(s.text for s in transcript.segments if s.language == code) for code in ("en", "de")}
    assert "Werkstatt" in heard["de"] and "Holz" in heard["de"] and "story" in heard["en"]


# --- everybody: prompts -----------------------------------------------------------------------------------------------

PROMPT = "The names are Ada Lovelace, Grace Hopper and Alan Turing."


@pytest.mark.weights
@pytest.mark.parametrize("option", ["initial_prompt", "hotwords"])
def test_a_prompt_is_not_written_where_it_is_not_said(model: Whisper, english: np.ndarray, option: str) -> None:
    """faster-whisper's batches write the prompt's own words into windows of little or no speech (#1179)."""
    noise = np.random.default_rng(0).normal(scale=0.01, size=6 * RATE).astype(np.float32)
    for sound in (
        np.tile(SILENCE, 5),
        noise,
        voice(4),
        english[: 2 * RATE],
        np.concatenate([noise, english[: 9 * RATE]]),
    ):
        text = plain(model.transcribe(sound, **{option: PROMPT}).text)
        said = [name for name in ("lovelace", "hopper", "turing") if name in text]
        assert not said, f"{said} of the prompt in {text!r}"


@pytest.mark.weights
def test_segments_follow_one_another(model: Whisper, english: np.ndarray) -> None:
    """Peers that merge overlapping chunks say words twice at the borders, or segments that overlap."""
    segments = model.transcribe(english, word_timestamps=True).segments
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(segments))
    for a, b in itertools.pairwise(segments):
        assert words(a.text)[-3:] != words(b.text)[:3], f"{a.text!r} and {b.text!r} say the same"
