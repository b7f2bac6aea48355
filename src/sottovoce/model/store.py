"""What lies on this disk, and how it is proved: one manifest beside each model. Knows no source and no network.

    <root>/models/<key>/manifest.json   what was fetched, from where, with the hash of every file
    <root>/models/<key>/<file>          the files, unless they live elsewhere (a folder of the user's, the hub's cache)
    <root>/models/<key>/.partial/       what is still arriving; never a file under its final name
    <root>/models/<key>.lock            held while a model is fetched

A manifest is written last, so a folder without one is a fetch that did not end. Its own mtime is the last use.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from sottovoce.config import Config
from sottovoce.errors import OutputError

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]  # bytes done, bytes in all (0: unknown), source

MANIFEST = "manifest.json"
PARTIAL = ".partial"
BLOCK_BYTES = 1 << 20
SETTING = "model_dir (SOTTOVOCE_MODEL_DIR)"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Held:
    """One file as it was when its hash was taken. path: relative to the manifest, or absolute if it lives elsewhere."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One stored model. files: the weights first. at: what a loader opens, relative to the manifest or absolute."""

    name: str
    form: str
    source: str
    revision: str | None
    at: str
    fetched: str
    files: tuple[Held, ...]


def root(config: Config) -> Path:
    """The folder of all models: model_dir, or sottovoce's place in the user's cache."""
    if config.model_dir:
        return Path(config.model_dir).expanduser()
    return cache_home() / "sottovoce"


def cache_home() -> Path:
    """The user's cache folder. Source: XDG base directory specification (an unset or relative path means ~/.cache)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"


def home(name: str, config: Config) -> Path:
    """The folder that keeps a model's manifest; one per name and pinned revision."""
    key = name.strip("/").replace("/", "--")
    if config.revision:
        key += "@" + config.revision.replace("/", "--")
    return root(config) / "models" / key


def read(folder: Path) -> Manifest | None:
    """The manifest in a folder, or None if there is none that can be read."""
    try:
        raw = json.loads((folder / MANIFEST).read_text("utf-8"))
        files = tuple(Held(**entry) for entry in raw.pop("files"))
        return Manifest(**raw, files=files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        log.warning("%s is not a manifest that this version understands (%s); it is ignored", folder / MANIFEST, e)
        return None


def write(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in its place, whole or not at all."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{MANIFEST}.{os.getpid()}"
        draft.write_text(json.dumps(asdict(manifest), indent=1) + "\n", "utf-8")
        os.replace(draft, folder / MANIFEST)


def touch(folder: Path) -> None:
    """Remember that a model was used now; a store that cannot be written is still read."""
    try:
        os.utime(folder / MANIFEST)
    except OSError as e:
        log.debug("%s: last use is not recorded (%s)", folder, e)


def hold(path: Path, folder: Path, sha256: str | None = None) -> Held:
    """A file's entry in the manifest of a folder; reads all of it unless its hash is known already."""
    stat = path.stat()
    inside = path.is_relative_to(folder)
    place = str(path.relative_to(folder)) if inside else str(path.absolute())
    return Held(place, stat.st_size, stat.st_mtime_ns, sha256 or digest(path))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def unchanged(folder: Path, held: Held) -> bool:
    """The cheap check: is the file still there, with the size and time that it had when its hash was taken?"""
    try:
        stat = (folder / held.path).stat()
    except OSError:
        return False
    return stat.st_size == held.size_bytes and stat.st_mtime_ns == held.mtime_ns


def restamped(folder: Path, held: Held) -> Held:
    """The entry with the size and time that its file has now. Taken before its hash is, so that no change is missed."""
    try:
        stat = (folder / held.path).stat()
    except OSError:  # its hash will say why
        return held
    return replace(held, size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)


def flaw(folder: Path, held: Held) -> str | None:
    """The full check: what is wrong with a file, or None."""
    path = folder / held.path
    try:
        found = digest(path)
    except OSError as e:
        return f"{path}: cannot be read ({e.strerror})"
    if found != held.sha256:
        return f"{path}: SHA-256 is {found}, {held.sha256} was expected"
    return None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time fetches into a folder. The lock goes with its process, also when that one is killed."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: another process is fetching this model; waiting for it", folder.name)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def writing(path: Path, setting: str = SETTING) -> Iterator[None]:
    """Turn a disk's refusal into an error that names the path and the remedy. setting: what moves that folder."""
    try:
        yield
    except OSError as e:
        if e.errno in FULL:
            raise full(path, e, setting) from e
        if e.errno in CLOSED:
            remedy = f"let it be written, or choose another folder with {setting}"
            raise OutputError(f"{path}: the model's folder cannot be written ({e.strerror}); {remedy}") from e
        if e.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            remedy = f"move it away, or choose another folder with {setting}"
            raise OutputError(f"{path}: something else than a folder is in the way ({e.strerror}); {remedy}") from e
        raise


def full(path: Path, why: object, setting: str = SETTING) -> OutputError:
    """The error of a disk without room."""
    remedy = f"free some space, or choose another folder with {setting}"
    return OutputError(f"{path}: no room is left for the model there ({why}); {remedy}")


def need(folder: Path, n_bytes: int, setting: str = SETTING) -> None:
    """Raise OutputError now rather than after an hour's download, if the disk has no room for so much."""
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < n_bytes:
        raise full(folder, f"{free / 1e9:.2f} GB are free, {n_bytes / 1e9:.2f} GB are needed", setting)


def settle(draft: Path, final: Path) -> None:
    """Give a finished file its name, whole or not at all, and only once its bytes are on the disk."""
    with writing(final):
        with draft.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(draft, final)
