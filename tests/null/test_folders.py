"""Weights that the user has already: by path as a model's name, in model_dir, in openai-whisper's cache."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import DownloadError, ModelError
from sottovoce.model import hub
from sottovoce.model.catalogue import Card, find

PT = b"PK\x03\x04" + b"weights" * 1000
GGML = b"lmgg" + b"weights" * 1000
CT2 = b"\x06\0\0\0\x0c\0WhisperSpec\0" + b"weights" * 1000
SAFETENSORS = (2).to_bytes(8, "little") + b"{}"
SHA256 = hashlib.sha256(PT).hexdigest()


@pytest.fixture
def card() -> Card:
    tiny = find("tiny")
    assert tiny is not None
    return replace(tiny, sha256=SHA256)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Config(sources="folder", model_dir=str(tmp_path / "models here"))


def put(path: Path, content: bytes = b"{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.pt", PT, "pt"),
        ("a.bin", GGML, "ggml"),
        ("finetuned.safetensors", SAFETENSORS, "safetensors"),
        ("model.safetensors", SAFETENSORS, "safetensors"),
        ("pytorch_model.bin", PT, "pytorch"),
        ("model.bin", CT2, "ct2"),
    ],
)
def test_a_file_is_a_name(tmp_path: Path, config: Config, name: str, content: bytes, form: str) -> None:
    """Exactly that file: others of the folder, better known, must not come in its place."""
    for other in ("config.json", "model.safetensors", "model.bin"):
        put(tmp_path / other)
    path = put(tmp_path / name, content)
    files = hub.fetch(str(path), config)
    assert (files.form, files.path, files.card) == (form, path, None)


@pytest.mark.parametrize(
    ("weights", "form"),
    [
        ("model.safetensors", "safetensors"),
        ("pytorch_model.bin", "pytorch"),
        ("model.bin", "ct2"),
        ("model.pt", "pt"),
    ],
)
def test_a_folder_is_a_name(tmp_path: Path, config: Config, weights: str, form: str) -> None:
    put(tmp_path / "mine/config.json")
    put(tmp_path / "mine" / weights, PT)
    files = hub.fetch(str(tmp_path / "mine"), config)
    assert files.form == form
    assert files.path == (tmp_path / "mine/model.pt" if form == "pt" else tmp_path / "mine")


def test_sharded_safetensors_are_recognised(tmp_path: Path, config: Config) -> None:
    put(tmp_path / "mine/config.json")
    put(tmp_path / "mine/model.safetensors.index.json", b'{"weight_map": {"a": "model-1.safetensors"}}')
    put(tmp_path / "mine/model-1.safetensors", PT)
    assert hub.fetch(str(tmp_path / "mine"), config).form == "safetensors"


@pytest.mark.parametrize("content", [b"", b"just text", b"\x00" * 100])
def test_a_file_without_weights_says_what_was_expected(tmp_path: Path, config: Config, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"a\.bin: holds no weights in a known form; an OpenAI \.pt"):
        hub.fetch(str(put(tmp_path / "a.bin", content)), config)


def test_an_empty_folder_says_what_was_expected(tmp_path: Path, config: Config) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty: a folder without weights was given, one of model\.safetensors"):
        hub.fetch(str(tmp_path / "empty"), config)


def test_a_path_that_is_not_there_says_so(tmp_path: Path, config: Config) -> None:
    with pytest.raises(ModelError, match=r"gone\.pt' was given"):
        hub.fetch(str(tmp_path / "gone.pt"), config)


def test_a_damaged_index_of_shards_is_named(tmp_path: Path, config: Config) -> None:
    put(tmp_path / "mine/config.json")
    put(tmp_path / "mine/model.safetensors.index.json", b"{")
    with pytest.raises(ModelError, match=r"index\.json: not an index of shards"):
        hub.fetch(str(tmp_path / "mine"), config)


@pytest.mark.parametrize("place", ["models here/tiny.pt", "models here/tiny/tiny.pt", "cache/whisper/tiny.pt"])
def test_a_file_in_a_known_place_serves_where_it_lies(tmp_path: Path, config: Config, card: Card, place: str) -> None:
    path = put(tmp_path / place, PT)
    files = hub.fetch("tiny", config, card=card)
    assert (files.path, files.source, files.sha256) == (path, "folder", SHA256)
    assert hub.fetch("tiny", config, card=card).path == path
    hub.remove("tiny", config)
    assert path.exists()  # the user's own file stays


def test_another_file_of_the_same_name_is_left_and_not_used(tmp_path: Path, config: Config, card: Card) -> None:
    path = put(tmp_path / "cache/whisper/tiny.pt", PT + b"!")
    with pytest.raises(DownloadError, match=f"OpenAI's is {SHA256}; it was left as it is"):
        hub.fetch("tiny", config, card=card)
    assert path.read_bytes() == PT + b"!"


def test_a_file_that_its_owner_changed_is_looked_at_again(tmp_path: Path, config: Config) -> None:
    path = put(tmp_path / "models here/tiny/ggml-tiny.bin", GGML)
    first = hub.fetch("tiny", config)
    path.write_bytes(GGML + b"more")
    second = hub.fetch("tiny", config)
    assert (first.path, first.form) == (second.path, second.form) == (path, "ggml")
    assert second.sha256 == hashlib.sha256(GGML + b"more").hexdigest() != first.sha256


def test_a_manifest_that_cannot_be_read_is_made_again(tmp_path: Path, config: Config, card: Card) -> None:
    put(tmp_path / "models here/tiny.pt", PT)
    hub.fetch("tiny", config, card=card)
    put(tmp_path / "models here/models/tiny/manifest.json", b"not json")
    assert hub.fetch("tiny", config, card=card).sha256 == SHA256


def test_the_cache_folder_follows_xdg(tmp_path: Path, config: Config, card: Card) -> None:
    put(tmp_path / "cache/whisper/tiny.pt", PT)
    hub.fetch("tiny", Config(sources="folder"), card=card)
    assert (tmp_path / "cache/sottovoce/models/tiny/manifest.json").exists()
    assert os.listdir(tmp_path) == ["cache"]
