"""faster-whisper's Python surface: names, objects and refusals, on a tiny network with random weights."""

from __future__ import annotations

import inspect
import io
import logging
import math
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sottovoce.compat import faster_whisper
from sottovoce.compat.faster_whisper import BatchedInferencePipeline, WhisperModel
from sottovoce.compat.faster_whisper.segments import Segment, TranscriptionInfo, TranscriptionOptions, Word
from sottovoce.compat.faster_whisper.vad import VadOptions
from sottovoce.errors import AudioError, ConfigError, OptionError
from sottovoce.model import export
from sottovoce.model.dims import Dims
from tests.plain_cache import random_model
from tests.voice import voice

MULTILINGUAL = Dims(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 2)
ENGLISH = Dims(80, 1500, 32, 2, 1, 51864, 448, 32, 2, 2)
QUICK: dict[str, Any] = {  # random weights never fall silent, and never pass a gate
    "temperature": 0.0,
    "beam_size": 1,
    "max_new_tokens": 8,
    "log_prob_threshold": None,
    "compression_ratio_threshold": None,
    "no_speech_threshold": None,
}
TWO = [{"start": 0, "end": 1.5}, {"start": 2, "end": 5}]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "random.pt"
    export.export_pt(random_model(MULTILINGUAL), path)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> WhisperModel:
    return WhisperModel(str(path), device="cpu", compute_type="float32", cpu_threads=1)


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    path = tmp_path_factory.mktemp("models") / "random.en.pt"
    export.export_pt(random_model(ENGLISH), path)
    return WhisperModel(str(path), device="cpu", compute_type="float32", cpu_threads=1)


# --- the model ------------------------------------------------------------------------------------------------------


def test_a_loaded_model_says_what_it_is(model: WhisperModel, english: WhisperModel) -> None:
    assert model.model.is_multilingual and not english.model.is_multilingual
    assert (model.model.n_mels, model.model.device, model.model.device_index) == (80, "cpu", [0])
    assert model.model.compute_type == "float32"
    assert len(model.supported_languages) == 99 and "yue" not in model.supported_languages
    assert english.supported_languages == ["en"]
    assert (model.frames_per_second, model.tokens_per_second, model.max_length) == (100, 50, 448)
    assert model.feature_extractor.nb_max_frames == 3000


@pytest.mark.parametrize("compute_type", ["int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"])
def test_whole_number_types_run_in_the_nearest_precision_and_say_so_once(
    path: Path, compute_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "faster_whisper"):
        loaded = WhisperModel(str(path), device="cpu", compute_type=compute_type, cpu_threads=1)
    (message,) = [r.getMessage() for r in caplog.records if r.name == "faster_whisper"]
    assert compute_type in message and loaded.model.compute_type in message
    assert loaded.model.compute_type in ("float32", "bfloat16")


def test_the_default_precision_on_a_cpu_is_what_published_conversions_run_in(path: Path) -> None:
    assert WhisperModel(str(path), device="cpu", cpu_threads=1).model.compute_type == "float32"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"compute_type": "int4"}, "int8_float32"),
        ({"compute_type": "float16"}, "float16"),
        ({"device": "tpu"}, "device"),
        ({"num_workers": 0}, "num_workers"),
        ({"cpu_threads": -1}, "threads"),
        ({"tensor_parallel": True}, "tensor_parallel"),
        ({"files": {"../model.bin": b""}}, "plain file names"),
    ],
)
def test_what_cannot_be_loaded_is_a_value_error(path: Path, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        WhisperModel(str(path), **{"device": "cpu", **wrong})
    assert isinstance(caught.value, OptionError | ConfigError)


def test_an_unknown_name_and_a_token_are_value_errors() -> None:
    with pytest.raises(ValueError, match=r"'larg' was given.*large-v3"):
        WhisperModel("larg", device="cpu")
    with pytest.raises(ValueError, match=r"'larg' was given"):
        faster_whisper.download_model("larg")
    with pytest.raises(ValueError, match="HF_TOKEN"):
        WhisperModel("someone/whisper", device="cpu", use_auth_token="secret")


def test_a_model_can_be_given_as_its_files(tmp_path: Path) -> None:
    export.export_safetensors(random_model(MULTILINGUAL), tmp_path)
    files: dict[str, Any] = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    files["config.json"] = io.BytesIO(files["config.json"])
    names = set(files)
    loaded = WhisperModel("in memory", device="cpu", compute_type="float32", cpu_threads=1, files=files)
    assert loaded.model.is_multilingual and set(files) == names
    assert list(loaded.transcribe(voice(2), language="en", **QUICK)[0])


def test_a_downloaded_model_is_a_copy_that_can_be_loaded(path: Path, tmp_path: Path) -> None:
    assert faster_whisper.download_model(str(path)) == str(path)
    out = tmp_path / "copy"
    assert faster_whisper.download_model(str(path), output_dir=str(out)) == str(out)
    assert WhisperModel(str(out), device="cpu", cpu_threads=1).model.is_multilingual
    path.with_name("folder").mkdir()
    export.export_safetensors(random_model(MULTILINGUAL), path.with_name("folder"))
    faster_whisper.download_model(str(path.with_name("folder")), output_dir=str(tmp_path / "other"))
    assert WhisperModel(str(tmp_path / "other"), device="cpu", cpu_threads=1).model.is_multilingual


# --- transcribe -----------------------------------------------------------------------------------------------------


def test_both_ways_to_transcribe_take_the_same_keywords() -> None:
    one = inspect.getfullargspec(WhisperModel.transcribe).args
    many = inspect.getfullargspec(BatchedInferencePipeline.transcribe).args
    assert set(many) - set(one) == {"batch_size"} and not set(one) - set(many)
    defaults = inspect.signature(WhisperModel.transcribe).parameters
    assert defaults["temperature"].default == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert defaults["suppress_tokens"].default == [-1]
    assert (defaults["beam_size"].default, defaults["clip_timestamps"].default) == (5, "0")


def test_what_comes_back_has_the_references_fields(model: WhisperModel) -> None:
    segments, info = model.transcribe(voice(4), word_timestamps=True, **QUICK)
    assert iter(segments) is segments, "segments come one by one, as they are known"
    first = next(iter(segments))
    assert isinstance(first, Segment) and isinstance(first.tokens, list) and isinstance(first.words, list)
    assert [f.name for f in fields(first)] == (
        [
            "id",
            "seek",
            "start",
            "end",
            "text",
            "tokens",
            "avg_logprob",
            "compression_ratio",
            "no_speech_prob",
            "words",
            "temperature",
        ]
    )
    assert (first.id, first.seek, first.temperature) == (1, 0, 0.0)
    assert isinstance(info, TranscriptionInfo) and info.all_language_probs is not None
    assert info.all_language_probs[0] == (info.language, info.language_probability)
    assert math.isclose(sum(p for _, p in info.all_language_probs), 1, rel_tol=1e-4)
    assert info.duration == info.duration_after_vad == 4
    assert isinstance(info.transcription_options, TranscriptionOptions)
    assert info.transcription_options.temperatures == [0.0]
    assert set(asdict(info.transcription_options)["suppress_tokens"]) >= {50257 + 1}
    with pytest.deprecated_call():
        assert first._asdict() == asdict(first)
    with pytest.deprecated_call():
        assert Word(0, 1, "a", 0.5)._asdict()["word"] == "a"


def test_a_language_that_is_given_is_not_listened_for(model: WhisperModel) -> None:
    _, info = model.transcribe(voice(2), language="de", **QUICK)
    assert (info.language, info.language_probability, info.all_language_probs) == ("de", 1, None)


def test_the_language_is_heard_where_the_first_clip_begins(model: WhisperModel) -> None:
    sound = voice(40)
    _, info = model.transcribe(sound, clip_timestamps="35", **QUICK)
    _, whole = model.transcribe(sound, **QUICK)
    features = model.feature_extractor(sound)[:, 3500:]
    language, probability, probs = model.detect_language(features=features)
    assert info.language == language and info.language_probability == pytest.approx(probability, rel=1e-4)
    assert [code for code, _ in probs] != [code for code, _ in whole.all_language_probs or ()]


def test_most_windows_decide_where_none_is_sure(model: WhisperModel) -> None:
    sound = np.concatenate([voice(30), np.zeros(60 * 16_000, np.float32)])
    language, probability, probs = model.detect_language(
        sound, language_detection_segments=3, language_detection_threshold=1.0
    )
    silent, p, _ = model.detect_language(features=model.feature_extractor(sound)[:, 3000:6000])
    assert (language, probability) == (silent, pytest.approx(p, rel=1e-4))
    assert len(probs) == 99


def test_silences_are_cut_and_times_are_the_recordings(model: WhisperModel) -> None:
    sound = np.concatenate([np.zeros(48_000, np.float32), voice(1), np.zeros(80_000, np.float32), voice(1)])
    parameters = {"threshold": 0.3, "min_silence_duration_ms": 500, "speech_pad_ms": 100}
    spans = faster_whisper.vad.get_speech_timestamps(sound, VadOptions(**parameters))  # type: ignore[attr-defined]
    assert len(spans) >= 2
    segments, info = model.transcribe(sound, language="en", vad_filter=True, vad_parameters=parameters, **QUICK)
    assert info.duration == 10 and info.vad_options == VadOptions(**parameters)
    assert info.duration_after_vad == sum(s["end"] - s["start"] for s in spans) / 16_000
    found = list(segments)
    assert found[0].start >= round(spans[0]["start"] / 16_000, 2) > 2.5


def test_without_speech_there_are_no_segments(model: WhisperModel) -> None:
    for run in (model.transcribe, BatchedInferencePipeline(model).transcribe):
        segments, info = run(np.zeros(64_000, np.float32), vad_filter=True, **QUICK)  # type: ignore[operator]
        assert list(segments) == [] and (info.duration, info.duration_after_vad) == (4, 0)


def test_an_empty_recording_is_answered(model: WhisperModel) -> None:
    empty = np.zeros(0, np.float32)
    assert list(model.transcribe(empty)[0]) == []
    assert list(BatchedInferencePipeline(model).transcribe(empty)[0]) == []
    assert model.detect_language(empty)[0] in model.supported_languages


def test_an_english_only_model_is_told_what_it_is_asked(
    english: WhisperModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "faster_whisper"):
        _, info = english.transcribe(voice(1), language="de", multilingual=True, **QUICK)
    assert info.language == "en" and not info.transcription_options.multilingual
    assert len(caplog.records) == 2
    with pytest.raises(OptionError, match="English only"):
        english.transcribe(voice(1), task="translate")
    with pytest.raises(OptionError, match="English only"):
        english.detect_language(voice(1))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"language": "xx"}, "language"),
        ({"task": "summarize"}, "task"),
        ({"max_new_tokens": 445}, "448"),
        ({"chunk_length": 31}, "chunk_length"),
        ({"beam_size": 0}, "beam_size"),
        ({"suppress_tokens": ["a"]}, "suppress_tokens"),
        ({"clip_timestamps": "a,b"}, "clip_timestamps"),
        ({"vad_filter": True, "vad_parameters": {"treshold": 0.5}}, "treshold"),
        ({"vad_filter": True, "vad_parameters": {"threshold": 5}}, "threshold"),
    ],
)
def test_a_value_that_cannot_be_honoured_is_a_value_error_at_the_call(
    model: WhisperModel, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        model.transcribe(voice(1), **wrong)


def test_what_is_no_recording_is_an_audio_error(model: WhisperModel, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        model.transcribe(str(tmp_path / "missing.wav"))
    with pytest.raises(AudioError, match="holds nan"):
        model.transcribe(np.array([0.0, math.nan], np.float32))


def test_every_keyword_reaches_the_decoder(model: WhisperModel) -> None:
    sound = voice(3)

    def tokens(**given: Any) -> list[list[int]]:
        return [s.tokens for s in model.transcribe(sound, **{"language": "en", **QUICK, **given})[0]]

    plain = tokens()
    for given in (
        {"task": "translate"},
        {"language": "de"},
        {"without_timestamps": True},
        {"initial_prompt": "Names: Ada, Grace"},
        {"initial_prompt": [1, 2, 3]},
        {"hotwords": "Ada"},
        {"prefix": "Dear all"},
        {"suppress_tokens": [plain[0][1], -1]},
        {"max_new_tokens": 5},
        {"clip_timestamps": [1.0, 2.0]},
        {"temperature": 1.0},
        {"beam_size": 3, "length_penalty": 0.2},
    ):
        assert tokens(**given) != plain, given
    assert tokens(suppress_tokens=None) and tokens(suppress_tokens=[])
    repeated = tokens(max_new_tokens=60, without_timestamps=True)[0]
    varied = tokens(max_new_tokens=60, without_timestamps=True, no_repeat_ngram_size=2)[0]
    pairs = list(pairwise(varied))
    assert varied != repeated and len(set(pairs)) == len(pairs)
    stamps = tokens(max_initial_timestamp=0.0)
    assert stamps[0][0] == 50364, "the first timestamp is <|0.00|>"


def test_progress_is_shown_if_asked(model: WhisperModel, capsys: pytest.CaptureFixture[str]) -> None:
    list(model.transcribe(voice(2), language="en", log_progress=True, **QUICK)[0])
    assert "100%" in capsys.readouterr().err
    list(model.transcribe(voice(2), language="en", **QUICK)[0])
    assert capsys.readouterr().err == ""


# --- many chunks at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4])
def test_chunks_are_told_in_order_with_the_recordings_times(model: WhisperModel, batch_size: int) -> None:
    clips = [{"start": i * 3, "end": i * 3 + 2.5} for i in range(6)]
    pipeline = BatchedInferencePipeline(model)
    segments, info = pipeline.transcribe(
        voice(20), language="en", clip_timestamps=clips, batch_size=batch_size, word_timestamps=True, **QUICK
    )
    found = list(segments)
    assert [s.id for s in found] == list(range(1, 7))
    assert [s.seek for s in found] == [clip["start"] * 100 for clip in clips]
    for segment, clip in zip(found, clips, strict=True):
        assert segment.words
        assert clip["start"] <= segment.start <= segment.end <= clip["end"] + 0.01
    assert info.duration_after_vad == 15


def test_a_chunks_words_do_not_depend_on_how_many_are_in_flight(model: WhisperModel) -> None:
    pipeline = BatchedInferencePipeline(model)
    common: dict[str, Any] = {"language": "en", "clip_timestamps": TWO, **QUICK}
    one = [s.tokens for s in pipeline.transcribe(voice(6), batch_size=1, **common)[0]]
    two = [s.tokens for s in pipeline.transcribe(voice(6), batch_size=16, **common)[0]]
    part = voice(6)[32_000:80_000]
    alone = [s.tokens for s in pipeline.transcribe(part, vad_filter=False, language="en", **QUICK)[0]]
    assert one == two and one[1:] == alone


def test_a_long_recording_without_detector_or_clips_is_refused(model: WhisperModel) -> None:
    with pytest.raises(RuntimeError, match="vad_filter"):
        BatchedInferencePipeline(model).transcribe(voice(31), vad_filter=False)


@pytest.mark.parametrize("wrong", [[(0, 1)], [{"start": 2, "end": 1}], [{"start": 0}], [{"start": -1, "end": 1}]])
def test_clips_of_another_form_are_refused(model: WhisperModel, wrong: Any) -> None:
    with pytest.raises(OptionError, match="clip_timestamps"):
        BatchedInferencePipeline(model).transcribe(voice(3), clip_timestamps=wrong)


def test_a_clip_longer_than_a_window_is_decoded_to_its_end(model: WhisperModel) -> None:
    """faster-whisper keeps the first 30 s and drops the rest."""
    clips = [{"start": 1.0, "end": 36.0}]
    segments, _ = BatchedInferencePipeline(model).transcribe(voice(40), language="en", clip_timestamps=clips, **QUICK)
    assert [s.seek for s in segments] == [100, 3100]
