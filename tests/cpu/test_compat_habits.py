"""What programs rely on beside the keywords: errors they catch, tables they read, ways to free and to fetch."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sottovoce.compat.openai_whisper as whisper
from sottovoce.compat import faster_whisper
from sottovoce.compat.faster_whisper.utils import _MODELS
from sottovoce.compat.openai_whisper.tokenizer import get_tokenizer
from sottovoce.errors import AudioError, ConfigError, DownloadError, EngineError, OptionError
from sottovoce.model import export
from sottovoce.model.dims import Dims
from tests.plain_cache import random_model

SMALL = Dims(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 2)
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
QUICK = {"fp16": False, "temperature": 0.0, "sample_len": 4, "language": "en"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "random.pt"
    export.export_pt(random_model(SMALL), path)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> whisper.Whisper:
    return whisper.load_model(str(path), device="cpu")


def faster(path: Path | str, **given: Any) -> faster_whisper.WhisperModel:
    return faster_whisper.WhisperModel(str(path), **{"device": "cpu", "cpu_threads": 1, **given})


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)


# --- try the GPU, else the CPU --------------------------------------------------------------------------------------


@NO_GPU
@pytest.mark.parametrize("load", [whisper.load_model, faster])
def test_a_missing_gpu_is_a_runtime_error_on_which_programs_go_on_with_the_cpu(
    load: Callable[..., Any], path: Path
) -> None:
    with pytest.raises(RuntimeError, match="cuda") as caught:
        load(str(path), device="cuda")
    assert isinstance(caught.value, ConfigError)


@NO_GPU
def test_a_model_is_not_moved_to_a_gpu_that_is_missing(model: whisper.Whisper) -> None:
    for device in ("cuda", "gpu"):
        with pytest.raises(RuntimeError, match=device):
            model.to(device)
    assert model.device.type == "cpu"


# --- models ---------------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_on_this_disk_is_a_missing_file(tmp_path: Path) -> None:
    for load in (faster_whisper.WhisperModel, faster_whisper.download_model):
        where = {"download_root" if load is faster_whisper.WhisperModel else "cache_dir": str(tmp_path)}
        with pytest.raises(FileNotFoundError, match="small") as caught:
            load("small", local_files_only=True, **where)  # type: ignore[operator]
        assert isinstance(caught.value, DownloadError)


def test_a_folder_without_weights_is_a_runtime_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="without weights"):
        faster(tmp_path)


def test_the_tables_of_published_models_can_be_read() -> None:
    assert whisper._MODELS["tiny"].endswith("/tiny.pt") and whisper._MODELS["turbo"].endswith("large-v3-turbo.pt")
    assert len(whisper._MODELS["base"].split("/")[-2]) == 64, "the SHA-256 stands in the address"
    assert set(_MODELS) == set(faster_whisper.available_models())
    assert _MODELS["large-v3"] == _MODELS["large"] == "Systran/faster-whisper-large-v3"


def test_only_published_models_are_fetched_by_address(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="_MODELS"):
        whisper._download("https://example.org/tiny.pt", str(tmp_path), False)


def test_a_model_is_unloaded_as_ctranslate2s_is(path: Path) -> None:
    loaded = faster(path)
    loaded.model.load_model()
    with pytest.raises(OptionError, match="to_cpu"):
        loaded.model.unload_model(to_cpu=True)
    assert loaded.model.model_is_loaded
    loaded.model.unload_model()
    loaded.model.unload_model()
    assert not loaded.model.model_is_loaded
    with pytest.raises(OptionError, match="new WhisperModel"):
        loaded.model.load_model()
    with pytest.raises(EngineError):
        list(loaded.transcribe(sound(1), language="en")[0])


def test_parts_that_are_not_rebuilt_are_refused_with_a_way_out(path: Path, model: whisper.Whisper) -> None:
    loaded = faster(path)
    for thing, name, hint in (
        (loaded, "generate_segments", "use transcribe"),
        (loaded.model, "generate", "use transcribe"),
        (model.decoder, "blocks", "cannot be hooked"),
        (model.encoder, "conv1", "cannot be hooked"),
        (model, "alignment_heads", "cannot be hooked"),
    ):
        assert not hasattr(thing, name)
        with pytest.raises(AttributeError, match=f"{name}.*{hint}"):
            getattr(thing, name)
    assert loaded.feat_kwargs == {"feature_size": 80}


# --- recordings -----------------------------------------------------------------------------------------------------


def test_openais_callers_catch_runtime_errors_of_recordings(model: whisper.Whisper) -> None:
    for bad in (sound(1)[None], np.full(16_000, np.nan, np.float32), b"no sound"):
        with pytest.raises(RuntimeError, match="Failed to load audio") as caught:
            model.transcribe(bad, **QUICK)
        assert isinstance(caught.value, AudioError)
    for short in (np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(1600, np.int16)):
        with pytest.raises(RuntimeError):
            whisper.log_mel_spectrogram(short)


def test_what_is_no_recording_at_all_is_a_type_error(model: whisper.Whisper) -> None:
    with pytest.raises(TypeError, match="NoneType"):
        model.transcribe(None, **QUICK)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"np\.asarray"):
        model.transcribe([0.0, 0.1], **QUICK)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="list"):
        whisper.log_mel_spectrogram([0.0] * 1600)  # type: ignore[arg-type]


def test_fasters_callers_catch_missing_files_and_value_errors(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    loaded = faster(path)
    for read in (faster_whisper.decode_audio, loaded.transcribe):
        with pytest.raises(FileNotFoundError, match="missing") as caught:
            read(str(tmp_path / "missing.wav"))  # type: ignore[operator]
        assert isinstance(caught.value, AudioError)
        for bad in (str(text), io.BytesIO(b""), sound(1)[None]):
            with pytest.raises(ValueError, match=r"expected|decoded|opened") as caught:
                read(bad)  # type: ignore[operator]
            assert isinstance(caught.value, AudioError)


def test_sound_is_loaded_at_any_rate(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16_000)
        f.writeframes((sound(2) * 20_000).astype("<i2").tobytes())
    assert whisper.load_audio(str(path), sr=8000).shape == (16_000,)
    assert whisper.load_audio(str(path), 16_000).shape == (32_000,)
    with pytest.raises(RuntimeError, match="missing"):
        whisper.load_audio(str(tmp_path / "missing.wav"), sr=8000)


# --- names ----------------------------------------------------------------------------------------------------------


def test_an_error_names_the_keyword_that_was_given(model: whisper.Whisper, path: Path) -> None:
    with pytest.raises(ValueError, match=r"^clip_timestamps: 'a' was given"):
        model.transcribe(sound(1), clip_timestamps="a", fp16=False)
    with pytest.raises(ValueError, match=r"^sample_len: -1 was given"):
        model.decode(torch.zeros(80, 3000), fp16=False, sample_len=-1)
    loaded = faster(path)
    for name, value in (("clip_timestamps", "a"), ("max_new_tokens", -1), ("log_prob_threshold", "x")):
        with pytest.raises(ValueError, match=f"^{name}: {value!r} was given"):
            loaded.transcribe(sound(1), language="en", **{name: value})


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_a_batch_of_no_chunks_is_refused_at_the_call(model: whisper.Whisper, path: Path, batch_size: Any) -> None:
    for run in (faster_whisper.BatchedInferencePipeline(faster(path)).transcribe, model.transcribe):
        with pytest.raises(OptionError, match="batch_size"):
            run([sound(1)] if run == model.transcribe else sound(1), batch_size=batch_size)  # type: ignore[operator]


def test_ids_are_decoded_by_name_and_with_tiktokens_own_options() -> None:
    t = get_tokenizer(True)
    ids = [t.timestamp_begin, *t.encode(" Hello")]
    assert t.decode(token_ids=ids) == t.decode(ids, errors="strict") == " Hello"
    assert t.decode_with_timestamps(token_ids=ids) == "<|0.00|> Hello"
    half = next(i for i in range(256) if t.decode([i]) == "\ufffd")
    with pytest.raises(UnicodeDecodeError):
        t.decode([half], errors="strict")
