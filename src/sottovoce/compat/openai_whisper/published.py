"""openai-whisper's table of published files and its downloader, which programs call to fetch a model ahead of time.

Source: openai/whisper __init__.py (20250625).
"""

from __future__ import annotations

import os
from typing import Any

from tqdm import tqdm

from sottovoce.config import Config
from sottovoce.errors import OptionError
from sottovoce.model import hub
from sottovoce.model.hub import CATALOGUE

__all__ = ["_MODELS", "Bar", "_download", "available_models"]

_MODELS = {name: card.url for card in CATALOGUE if card.url is not None for name in (card.name, *card.aliases)}


def available_models() -> list[str]:
    """Names that `load_model` knows; hub repository ids, folders and files are models too."""
    return [name for card in CATALOGUE for name in (card.name, *card.aliases)]


def _download(url: str, root: str | os.PathLike[str], in_memory: bool) -> bytes | str:
    """The path of a published model's weights, fetched if need be; `load_model` takes it, or its name and this root.

    url: a value of _MODELS; it names the model, which any of our sources may serve, in any form. in_memory: the bytes
    themselves. Raises OptionError (a ValueError) for another address, or bytes of a model that is a folder, ModelError.
    """
    name = next((card.name for card in CATALOGUE if card.url == url), None)
    if name is None:
        raise OptionError(f"url: {url!r} was given, a value of whisper._MODELS was expected; pass one of those")
    with Bar() as bar:
        path = hub.fetch(name, Config(model=name, model_dir=os.fspath(root)), bar).path
    if not in_memory:
        return str(path)
    if path.is_dir():
        raise OptionError(f"in_memory: True was given, but {name} is the folder {path} here; pass in_memory=False")
    return path.read_bytes()


class Bar:
    """Progress of a download, shown once there is one."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, n_done_bytes: int, n_all_bytes: int | None, source: str) -> None:
        if self._bar is None:
            self._bar = tqdm(total=n_all_bytes or None, ncols=80, unit="iB", unit_scale=True, unit_divisor=1024)
        self._bar.update(n_done_bytes - self._bar.n)
