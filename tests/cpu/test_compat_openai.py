"""openai-whisper's Python surface: names, shapes and refusals, on a tiny network with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch

import sottovoce
import sottovoce.compat.openai_whisper as whisper
from sottovoce.compat.openai_whisper.audio import LoadError
from sottovoce.compat.openai_whisper.tokenizer import LANGUAGES, get_tokenizer
from sottovoce.compat.openai_whisper.transcribe import transcribe
from sottovoce.compat.openai_whisper.utils import format_timestamp
from sottovoce.errors import ConfigError, ModelError, OptionError
from sottovoce.model import export, modules
from sottovoce.model.whisper import Dims
from tests.plain_cache import logits_of, random_model

MULTILINGUAL = Dims(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 2)
ENGLISH = Dims(80, 1500, 32, 2, 1, 51864, 448, 32, 2, 2)
QUICK = {"fp16": False, "temperature": 0.0, "sample_len": 8}  # random weights never fall silent


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "random.pt"
    export.export_pt(random_model(MULTILINGUAL), path)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> whisper.Whisper:
    return whisper.load_model(str(path), device="cpu")


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> whisper.Whisper:
    path = tmp_path_factory.mktemp("models") / "random.en.pt"
    export.export_pt(random_model(ENGLISH), path)
    return whisper.load_model(path, device="cpu", in_memory=True)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)


def tokens_of(result: object) -> list[list[int]]:
    """What must not depend on neighbours; probabilities may, by rounding."""
    assert isinstance(result, dict)
    return [s["tokens"] for s in result["segments"]]


def mels(n: int) -> torch.Tensor:
    """(n, 80, 3000): windows of different recordings."""
    return torch.stack([whisper.log_mel_spectrogram(whisper.pad_or_trim(sound(5, i))) for i in range(n)])


# --- the model ------------------------------------------------------------------------------------------------------


def test_a_loaded_model_says_what_it_is(model: whisper.Whisper, english: whisper.Whisper) -> None:
    assert isinstance(model, whisper.Whisper)
    assert asdict(model.dims) == asdict(MULTILINGUAL)
    assert [f.name for f in fields(whisper.ModelDimensions)] == [f.name for f in fields(Dims)]
    assert model.is_multilingual and model.num_languages == 99
    assert not english.is_multilingual and english.num_languages == 99
    assert model.device == torch.device("cpu")
    assert sum(p.numel() for p in model.parameters()) == MULTILINGUAL.n_parameters
    assert set(model.state_dict()) == set(random_model(MULTILINGUAL).state_dict())


def test_the_names_of_the_reference_are_available() -> None:
    theirs = "tiny.en tiny base.en base small.en small medium.en medium large-v1 large-v2 large-v3 large turbo"
    assert {*theirs.split(), "large-v3-turbo"} <= set(whisper.available_models())


def test_an_unknown_model_is_a_runtime_error_that_names_its_neighbours() -> None:
    with pytest.raises(RuntimeError, match=r"Model larg not found.*large") as caught:
        whisper.load_model("larg", device="cpu")
    assert isinstance(caught.value, ModelError)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(model: whisper.Whisper) -> None:
    for ask in (lambda: whisper.load_model("large-v3", device="cuda"), model.cuda, lambda: model.to("cuda:1")):
        with pytest.raises(ConfigError, match="cuda"):
            ask()
    assert model.device == torch.device("cpu")


def test_moving_to_where_it_is_changes_nothing(model: whisper.Whisper) -> None:
    engine = model.engine(fp16=False)
    assert model.to("cpu").cpu().eval().float().to(torch.device("cpu"), torch.float32) is model
    assert model.engine(fp16=False) is engine


def test_half_precision_on_the_cpu_warns_and_computes_float32(model: whisper.Whisper) -> None:
    with pytest.warns(UserWarning, match="FP16 is not supported on CPU; using FP32 instead"):
        assert model.half() is model
    with pytest.warns(UserWarning, match="FP16 is not supported on CPU; using FP32 instead") as seen:
        model.transcribe(sound(1), language="en", temperature=0, sample_len=2)
    assert seen[0].filename == __file__
    assert model.embed_audio(mels(1)).dtype == model.dtype == torch.float32


def test_what_cannot_be_honoured_is_refused(model: whisper.Whisper) -> None:
    with pytest.raises(OptionError, match="bfloat16"):
        model.to(torch.bfloat16)
    with pytest.raises(OptionError, match="only decodes"):
        model.train()
    with pytest.raises(OptionError, match="load_model"):
        whisper.Whisper(model.dims)  # type: ignore[arg-type, call-arg]
    with pytest.raises(OptionError, match="kv_cache"):
        model.decoder(torch.zeros(1, 1, dtype=torch.int64), model.embed_audio(mels(1)), kv_cache={"k": 1})
    with pytest.raises(OptionError, match="pad_or_trim"):
        model.embed_audio(mels(1)[:, :, :100])
    with pytest.raises(AttributeError, match="install_kv_cache_hooks"):
        model.install_kv_cache_hooks()


def test_the_network_can_be_called_as_in_the_reference(model: whisper.Whisper, path: Path) -> None:
    mel, tokens = mels(2), torch.tensor([[50258, 50259, 50359, 11], [50258, 50260, 50359, 13]])
    plain = modules.load(path)
    features = plain.encoder(mel)
    torch.testing.assert_close(model.embed_audio(mel), features)
    torch.testing.assert_close(model.logits(tokens, features), logits_of(plain, features, tokens), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(model(mel, tokens), model.logits(tokens, features))


# --- one window -----------------------------------------------------------------------------------------------------


def test_windows_of_a_batch_are_decoded_as_each_alone(model: whisper.Whisper) -> None:
    mel = mels(3)
    options = whisper.DecodingOptions(language="de", fp16=False, sample_len=12)
    together = whisper.decode(model, mel, options)
    assert isinstance(together, list)
    for window, found in zip(mel, together, strict=True):
        alone = model.decode(window, options)
        assert isinstance(alone, whisper.DecodingResult)
        assert (alone.tokens, alone.text) == (found.tokens, found.text)
        assert alone.avg_logprob == pytest.approx(found.avg_logprob, abs=1e-4)
        assert len(alone.tokens) <= 12 and alone.language == "de" and alone.language_probs is None


def test_encoded_sound_is_decoded_as_its_mel(model: whisper.Whisper) -> None:
    mel = mels(1)[0]
    options = whisper.DecodingOptions(language="en", fp16=False, sample_len=8)
    heard = model.decode(mel, options)
    assert isinstance(heard, whisper.DecodingResult)
    assert heard.audio_features.shape == (1500, 32)
    again = model.decode(heard.audio_features, options)
    assert isinstance(again, whisper.DecodingResult)
    assert again.tokens == heard.tokens


def test_a_decoded_window_is_what_the_engine_says(model: whisper.Whisper) -> None:
    """Beams, prompt, prefix, rules and limits arrive there; the whole recording's flow asks the same question."""
    samples = sound(29)
    given = {"beam_size": 3, "patience": 2.0, "length_penalty": 0.6, "prefix": "So", "suppress_tokens": "11,13"}
    result = model.transcribe(samples, language="en", initial_prompt="Before that", **QUICK, **given)
    assert isinstance(result, dict)
    window = model.decode(
        # the recording's mel as `transcribe` cuts it
        whisper.pad_or_trim(whisper.log_mel_spectrogram(samples, padding=480_000)[:, :2900], 3000),
        language="en",
        prompt="Before that",
        **QUICK,
        **given,
    )
    assert isinstance(window, whisper.DecodingResult)
    assert window.tokens[: len(result["segments"][0]["tokens"])] == result["segments"][0]["tokens"]
    assert window.avg_logprob == pytest.approx(result["segments"][0]["avg_logprob"], abs=1e-3)


def test_languages_are_detected_by_window(model: whisper.Whisper) -> None:
    tokens, probs = model.detect_language(mels(2))
    assert isinstance(probs, list)
    assert tokens.shape == (2,) and set(probs[0]) == set(LANGUAGES) - {"yue"}
    assert sum(probs[0].values()) == pytest.approx(1, abs=1e-5)
    token, first = whisper.detect_language(model, mels(2)[0])
    assert isinstance(first, dict) and token == tokens[0]
    code = max(first, key=first.__getitem__)
    found = model.decode(mels(2)[0], task="lang_id", fp16=False)
    assert isinstance(found, whisper.DecodingResult)
    assert (found.language, found.tokens) == (code, []) and found.language_probs == pytest.approx(first)
    assert get_tokenizer(True).to_language_token(code) == int(token)
    written = model.decode(mels(2)[0], fp16=False, sample_len=4)
    assert isinstance(written, whisper.DecodingResult) and written.language == code


def test_an_english_model_knows_no_other_language(english: whisper.Whisper) -> None:
    with pytest.raises(ValueError, match="language tokens"):
        english.detect_language(mels(1)[0])
    for given in ({"language": "de"}, {"language": "en", "task": "translate"}):
        with pytest.raises(OptionError, match="English only"):
            english.decode(mels(1)[0], fp16=False, **given)
        with pytest.raises(OptionError, match="English only"):
            english.transcribe(sound(1), fp16=False, **given)
    assert english.transcribe(sound(1), **QUICK)["language"] == "en"  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"beam_size": 2, "best_of": 2}, "can't be given together"),
        ({"best_of": 2}, "best_of with greedy sampling"),
        ({"patience": 1.0}, "patience requires beam_size"),
        ({"length_penalty": 1.5}, "between 0 and 1"),
        ({"language": "xx"}, "xx"),
    ],
)
def test_options_that_contradict_one_another_are_value_errors(
    model: whisper.Whisper, given: dict[str, object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        model.decode(mels(1)[0], fp16=False, **given)


def test_sampling_is_governed_by_torchs_own_seed(model: whisper.Whisper) -> None:
    def sampled(seed: int) -> list[int]:
        torch.manual_seed(seed)
        result = model.decode(mels(1)[0], language="en", fp16=False, temperature=1.0, best_of=2, sample_len=12)
        assert isinstance(result, whisper.DecodingResult) and result.temperature == 1.0
        return result.tokens

    assert sampled(1) == sampled(1) != sampled(2)


# --- recordings -----------------------------------------------------------------------------------------------------


def test_a_recording_gives_the_dictionary_of_our_own_transcript(model: whisper.Whisper, path: Path) -> None:
    samples = sound(4)
    result = model.transcribe(samples, language="en", word_timestamps=True, **QUICK)
    ours = sottovoce.Whisper(path, device="cpu", compute="float32").transcribe(
        samples, language="en", word_timestamps=True, temperature=0, max_tokens=8, strategy="sequential"
    )
    assert result == ours.to_dict()
    assert list(result) == ["text", "segments", "language"]
    assert transcribe(model, torch.from_numpy(samples), language="en", word_timestamps=True, **QUICK) == result


def test_a_list_of_recordings_is_decoded_together_in_its_order(model: whisper.Whisper) -> None:
    sounds = [sound(3 + i, i) for i in range(5)]
    together = model.transcribe(sounds, batch_size=2, language="fr", **QUICK)
    alone = [model.transcribe(s, language="fr", **QUICK) for s in sounds]
    assert [tokens_of(r) for r in together] == [tokens_of(r) for r in alone]
    assert len({str(tokens_of(r)) for r in alone}) > 1, "the recordings must differ"


def test_the_language_is_returned_as_it_was_given(model: whisper.Whisper) -> None:
    result = model.transcribe(sound(1), language="German", **QUICK)
    assert isinstance(result, dict) and result["language"] == "German"
    for detected in ("auto", None):
        result = model.transcribe(sound(1), language=detected, **QUICK)
        assert isinstance(result, dict) and result["language"] in LANGUAGES


def test_no_sound_gives_no_text(model: whisper.Whisper) -> None:
    assert model.transcribe(np.zeros(0, np.float32), language="en", **QUICK) == {
        "text": "",
        "segments": [],
        "language": "en",
    }


def test_verbose_prints_what_the_reference_prints(
    model: whisper.Whisper, capsys: pytest.CaptureFixture[str], english: whisper.Whisper
) -> None:
    result = model.transcribe(sound(2), verbose=True, **QUICK)
    assert isinstance(result, dict)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Detecting language using up to the first 30 seconds.")
    assert lines[1] == f"Detected language: {LANGUAGES[result['language']].title()}"
    first = result["segments"][0]
    times = f"[{format_timestamp(first['start'])} --> {format_timestamp(first['end'])}]"
    assert lines[2] == f"{times} {first['text']}"
    model.transcribe(sound(2), **QUICK)
    assert capsys.readouterr() == ("", "")
    english.transcribe(sound(2), verbose=False, **QUICK)
    out, err = capsys.readouterr()
    assert out == "" and "frames/s" in err


def test_a_programs_own_progress_bar_is_used(model: whisper.Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs replace tqdm.tqdm of the module to follow a transcription."""
    import sys

    from tqdm import tqdm

    seen: list[tuple[float, float]] = []

    class Bar(tqdm):  # type: ignore[misc]
        def update(self, n: float = 1) -> None:
            seen.append((n, self.total))

    module = sys.modules["sottovoce.compat.openai_whisper.transcribe"]
    monkeypatch.setattr(module.tqdm, "tqdm", Bar)
    model.transcribe(sound(2), language="en", verbose=None, **QUICK)
    assert sum(n for n, _ in seen) == 200 and {total for _, total in seen} == {200}


def test_an_unknown_keyword_is_a_type_error_with_the_nearest(model: whisper.Whisper) -> None:
    with pytest.raises(TypeError, match="did you mean beam_size"):
        model.transcribe(sound(1), beamsize=5)
    with pytest.raises(TypeError, match="beamsize"):
        model.decode(mels(1)[0], beamsize=5)
    with pytest.raises(OptionError, match="use initial_prompt"):
        model.transcribe(sound(1), prompt="x")
    with pytest.raises(OptionError, match="lang_id"):
        model.transcribe(sound(1), task="lang_id")


def test_the_ladder_takes_beams_below_and_candidates_above(model: whisper.Whisper) -> None:
    """As in the reference: patience and beam_size act at temperature 0 only, best_of above it only."""
    result = model.transcribe(
        sound(1), language="en", fp16=False, beam_size=2, best_of=2, patience=1.0, temperature=(0.0, 0.4), sample_len=4
    )
    assert isinstance(result, dict) and result["segments"]
    with pytest.raises(ValueError, match="patience"):
        model.transcribe(sound(1), patience=1.0, fp16=False)
    model.transcribe(sound(1), language="en", fp16=False, patience=1.0, temperature=0.5, sample_len=2)


def test_what_has_no_effect_says_so(model: whisper.Whisper) -> None:
    with pytest.warns(UserWarning, match="stride_length has no effect") as seen:
        model.transcribe(sound(1), language="en", chunk_length=30, stride_length=5, **QUICK)
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="batch_size has no effect"):
        model.transcribe(sound(1), language="en", batch_size=4, **QUICK)
    with pytest.warns(UserWarning, match="Word-level timestamps on translations"):
        model.transcribe(sound(1), language="de", task="translate", word_timestamps=True, **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transcribe([sound(1)], language="en", batch_size=4, chunk_length=30, **QUICK)


def test_clips_are_given_as_text_or_seconds(model: whisper.Whisper) -> None:
    samples = sound(10)
    flat = model.transcribe(samples, language="en", clip_timestamps=[1, 2.5, 6], **QUICK)
    assert isinstance(flat, dict)
    assert {s["seek"] for s in flat["segments"]} == {100, 600}
    assert flat == model.transcribe(samples, language="en", clip_timestamps="1,2.5,6", **QUICK)


def test_a_file_that_cannot_be_read_is_a_runtime_error(model: whisper.Whisper, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Failed to load audio"):
        model.transcribe(str(tmp_path / "missing.wav"), fp16=False)
    with pytest.raises(LoadError, match=r"missing\.wav"):
        model.transcribe([sound(1), tmp_path / "missing.wav"], language="en", **QUICK)


@pytest.fixture
def clip(tmp_path: Path) -> Iterator[Path]:
    """A recording as a file."""
    import wave

    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16_000)
        f.writeframes((sound(2) * 20_000).astype("<i2").tobytes())
    yield path


def test_a_file_is_heard_as_its_samples(model: whisper.Whisper, clip: Path) -> None:
    samples = whisper.load_audio(str(clip))
    assert samples.dtype == np.float32 and samples.shape == (32_000,)
    assert model.transcribe(str(clip), language="en", **QUICK) == model.transcribe(samples, language="en", **QUICK)
    torch.testing.assert_close(whisper.log_mel_spectrogram(str(clip)), whisper.log_mel_spectrogram(samples))
