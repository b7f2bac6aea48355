"""Weights in a folder of the user's: model_dir, or openai-whisper's cache. Used in place, never moved."""

from __future__ import annotations

import logging
from pathlib import Path

from sottovoce.config import Config
from sottovoce.errors import DownloadError, ModelError
from sottovoce.model import forms, store
from sottovoce.model.catalogue import Card
from sottovoce.model.networks import Network

log = logging.getLogger(__name__)


def fetch(name: str, card: Card | None, folder: Path, config: Config) -> store.Manifest:
    """The manifest of files that are there already; their hashes are taken now, and compared where one is published.

    Raises DownloadError if no folder holds the model.
    """
    reasons = []
    for path in _candidates(name, config):
        if not path.exists():
            continue
        try:
            form, at = forms.form_of(path)
        except ModelError as e:
            reasons.append(str(e))
            continue
        held = tuple(store.hold(file.resolve(), folder) for file in forms.weights_of(at))
        if form == "pt" and card and card.sha256 and held[0].sha256 != card.sha256:
            why = f"{at}: SHA-256 is {held[0].sha256}, OpenAI's is {card.sha256}; it was left as it is"
            reasons.append(f"{why}; to use it all the same, pass its path as the model")
            continue
        if config.revision not in (None, held[0].sha256):
            reasons.append(f"{at} is not revision {config.revision}")
            continue
        return store.Manifest(name, form, "folder", None, str(at.absolute()), store.now(), held)
    raise DownloadError("; ".join(reasons) or "not in a folder of this machine")


def fetch_network(network: Network, folder: Path, config: Config) -> store.Manifest:
    """The manifest of a network's file in model_dir. Raises DownloadError if it is not there, or has other bytes."""
    path = store.root(config) / network.file
    if not config.model_dir or not path.is_file():
        raise DownloadError("not in a folder of this machine")
    held = store.hold(path.resolve(), folder)
    if held.sha256 != network.sha256:
        raise DownloadError(f"{path}: SHA-256 is {held.sha256}, {network.sha256} was expected; it was left as it is")
    return store.Manifest(network.name, network.form, "folder", None, held.path, store.now(), (held,))


def _candidates(name: str, config: Config) -> tuple[Path, ...]:
    """Where a model of this name may lie, best first. Source: the file names of openai-whisper and whisper.cpp."""
    places = []
    if config.model_dir:
        base = store.root(config)
        places += [base / name, base / f"{name}.pt", base / f"ggml-{name}.bin"]
    return (*places, store.cache_home() / "whisper" / f"{name}.pt")
