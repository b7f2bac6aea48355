"""openai-whisper's modules beside the model: audio, tokenizer, timing, utils, normalizers."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sottovoce.compat.openai_whisper as whisper
from sottovoce.compat.openai_whisper.timing import dtw, dtw_cpu, dtw_cuda, median_filter
from sottovoce.compat.openai_whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE, get_encoding, get_tokenizer
from sottovoce.compat.openai_whisper.utils import (
    ResultWriter,
    WriteSRT,
    WriteVTT,
    exact_div,
    get_end,
    get_start,
    get_writer,
    make_safe,
    optional_float,
    optional_int,
    str2bool,
)
from sottovoce.errors import OptionError

FROZEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "writer_bytes.json").read_text("utf-8"))
PARTIAL = {
    "segments": [{"start": 0.0, "end": 1.5, "text": " Hi --> you\t!"}, {"start": 3661.0, "end": 3662.0, "text": " Bye"}]
}
WORDS = [{"word": " Hi", "start": 0.5, "end": 1.0}, {"word": " you", "start": 1.0, "end": 1.25}]


@pytest.mark.parametrize("name", ["audio", "decoding", "model", "timing", "tokenizer", "utils", "version"])
def test_every_module_is_an_attribute_and_can_be_imported(name: str) -> None:
    module = importlib.import_module(f"sottovoce.compat.openai_whisper.{name}")
    assert getattr(whisper, name) is module
    assert [n for n in getattr(module, "__all__", []) if not hasattr(module, n)] == []


def test_the_function_hides_the_module_as_in_the_reference() -> None:
    module = importlib.import_module("sottovoce.compat.openai_whisper.transcribe")
    assert whisper.transcribe is module.transcribe
    assert whisper.__version__ == "20250625"


def test_the_constants_are_the_references() -> None:
    a = whisper.audio
    assert (a.SAMPLE_RATE, a.N_FFT, a.HOP_LENGTH, a.CHUNK_LENGTH, a.N_SAMPLES) == (16000, 400, 160, 30, 480_000)
    assert (a.N_FRAMES, a.N_SAMPLES_PER_TOKEN, a.FRAMES_PER_SECOND, a.TOKENS_PER_SECOND) == (3000, 320, 100, 50)
    assert a.mel_filters("cpu", 80).shape == (80, 201)


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)


# --- writers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FROZEN["cases"][::6])
def test_files_hold_the_bytes_of_the_references(case: dict[str, Any], tmp_path: Path) -> None:
    for output in case["outputs"]:
        get_writer(output["format"], str(tmp_path))(case["transcript"], "/elsewhere/a talk.part1.mp3", output["layout"])
        written = (tmp_path / f"a talk.part1.{output['format']}").read_bytes()
        assert hashlib.sha256(written).hexdigest() == output["sha256"], output["layout"]


def test_all_formats_are_written_at_once(tmp_path: Path) -> None:
    get_writer("all", tmp_path)(PARTIAL, "talk.wav")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"talk.{f}" for f in ("json", "srt", "tsv", "txt", "vtt")]
    assert (tmp_path / "talk.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:01,500\nHi -> you\t!\n\n2\n01:01:01,000 --> 01:01:02,000\nBye\n\n"
    )
    assert (tmp_path / "talk.tsv").read_text() == "start\tend\ttext\n0\t1500\tHi --> you !\n3661000\t3662000\tBye\n"
    assert json.loads((tmp_path / "talk.json").read_text()) == PARTIAL


def test_subtitles_can_be_walked() -> None:
    assert list(WriteVTT("").iterate_result(PARTIAL)) == [
        ("00:00.000", "00:01.500", "Hi -> you\t!"),
        ("01:01:01.000", "01:01:02.000", "Bye"),
    ]
    result = {"segments": [{"start": 0.5, "end": 1.25, "text": " Hi you", "words": WORDS}]}
    assert list(WriteSRT("").iterate_result(result, {"max_words_per_line": 1})) == [
        ("00:00:00,500", "00:00:01,000", "Hi"),
        ("00:00:01,000", "00:00:01,250", "you"),
    ]


def test_a_programs_own_writer_is_called(tmp_path: Path) -> None:
    class WriteLoud(ResultWriter):
        extension = "loud"

        def write_result(self, result: Any, file: Any, options: Any = None, **kwargs: Any) -> None:
            file.write("".join(s["text"].upper() for s in result["segments"]))

    WriteLoud(str(tmp_path))(PARTIAL, "talk.wav")
    assert (tmp_path / "talk.loud").read_text() == " HI --> YOU\t! BYE"


def test_an_unknown_format_or_layout_is_refused() -> None:
    with pytest.raises(OptionError, match="txt, vtt, srt, tsv, json, all"):
        get_writer("docx", ".")
    with pytest.raises(TypeError, match="max_line_widht"):
        WriteSRT(".").write_result(PARTIAL, io.StringIO(), max_line_widht=3)


def test_small_helpers_behave_as_in_the_reference() -> None:
    assert (str2bool("True"), str2bool("False")) == (True, False)
    with pytest.raises(ValueError, match="yes"):
        str2bool("yes")
    assert (optional_int("None"), optional_int("3"), optional_float("None"), optional_float("0.5")) == (
        None,
        3,
        None,
        0.5,
    )
    assert exact_div(6, 3) == 2
    with pytest.raises(AssertionError):
        exact_div(7, 3)
    assert make_safe("ünï") == "ünï"
    segments: list[dict[str, Any]] = [
        {"start": 0.0, "end": 9.0, "words": []},
        {"start": 1.0, "end": 8.0, "words": WORDS},
    ]
    assert (get_start(segments), get_end(segments)) == (0.5, 1.25)
    assert (get_start(segments[:1]), get_end(segments[:1])) == (0.0, 9.0)
    assert (get_start([]), get_end([])) == (None, None)


# --- audio, tokenizer, timing, normalizers --------------------------------------------------------------------------


def test_the_tokenizer_has_the_references_names() -> None:
    t = get_tokenizer(True, language="Mandarin", task="translate")
    assert t is get_tokenizer(True, language="Mandarin", task="translate")
    assert (t.language, t.task, t.num_languages) == ("zh", "translate", 99)
    assert t.sot_sequence == (t.sot, t.language_token, t.translate)
    assert t.all_language_codes == tuple(LANGUAGES)[:99] and len(t.all_language_tokens) == 99
    assert get_tokenizer(True, num_languages=100).all_language_codes[-1] == "yue"
    assert t.encoding is get_encoding("multilingual") and t.encoding.eot_token == t.eot
    assert t.special_tokens["<|transcribe|>"] == t.transcribe
    assert TO_LANGUAGE_CODE["mandarin"] == "zh"
    assert t.split_tokens_on_unicode(t.encode("héllo you"))[0] == ["h", "é", "llo", " you"]
    assert t.split_tokens_on_spaces(t.encode("héllo you."))[0] == ["héllo", " you", "."]
    english = get_tokenizer(False)
    assert english.language is None and english.sot_sequence == (english.sot,)
    with pytest.raises(KeyError):
        t.to_language_token("yue")
    with pytest.raises(ValueError, match="English-only"):
        _ = english.language_token
    with pytest.raises(ValueError, match="special"):
        t.encode("<|endoftext|>")
    assert t.encode("<|endoftext|>", allowed_special="all") == [t.eot]
    with pytest.raises(ValueError, match="klingonish"):
        get_tokenizer(True, language="klingonish")


def test_the_pure_parts_of_alignment_are_there() -> None:
    x = torch.tensor([[0.0, 1, 1], [1, 0, 0]])
    assert dtw_cpu(x.numpy()).tolist() == dtw(x).tolist() == dtw_cuda(x).tolist() == [[0, 1, 1], [0, 1, 2]]
    assert median_filter(torch.tensor([1.0, 9, 2, 3]), 3).tolist() == [9, 2, 3, 2]
    with pytest.raises(OptionError, match="odd"):
        median_filter(x, 4)


def test_log_mel_has_the_checkpoints_bins_and_any_batch() -> None:
    with pytest.raises(OptionError, match="80 or 128"):
        whisper.log_mel_spectrogram(sound(1), n_mels=40)
    batch = torch.from_numpy(np.stack([sound(1), sound(1)]))
    assert whisper.log_mel_spectrogram(batch, n_mels=128, padding=1600).shape == (2, 128, 110)


def test_normalisers_compare_as_openais_do() -> None:
    normalizers = pytest.importorskip("sottovoce.compat.openai_whisper.normalizers", exc_type=ImportError)
    english = normalizers.EnglishTextNormalizer()
    assert english("Mr. Park's twenty-one colours, uh, [noise] won't") == "mister park is 21 colors will not"
    assert english("I dunno, kinda 'cause") == "i dunno kinda cause"  # what OpenAI's leaves alone
    assert normalizers.BasicTextNormalizer()("Grüße, (leise) WELT!") == "grüße welt "
