"""faster-whisper's `utils` over our hub. Source: faster_whisper/utils.py (1.2.1)."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from sottovoce.compat.faster_whisper import errors
from sottovoce.config import Config
from sottovoce.errors import OptionError
from sottovoce.model import hub
from sottovoce.model.hub import CATALOGUE, Files

__all__ = [
    "_MODELS",
    "available_models",
    "download_model",
    "format_timestamp",
    "get_end",
    "get_logger",
    "hub_config",
    "model_name",
]

# In the reference's order; every one of them is in our catalogue
_NAMES = (
    *("tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium"),
    *("large-v1", "large-v2", "large-v3", "large"),
    *("distil-large-v2", "distil-medium.en", "distil-small.en", "distil-large-v3", "distil-large-v3.5"),
    *("large-v3-turbo", "turbo"),
)
_MODELS = {name: card.hub_ct2 for name in _NAMES if (card := hub.find(name)) is not None}  # their repositories
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "model.bin", "*.pt", "ggml*.bin")
_COMPANIONS = ("*.json", "*.txt")


def available_models() -> list[str]:
    """Names that `WhisperModel` knows; hub repository ids, folders and files are models too."""
    return list(_NAMES)


def download_model(
    size_or_id: str,
    output_dir: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | None = None,
    revision: str | None = None,
    use_auth_token: str | bool | None = None,
) -> str:
    """The path of a model's files, fetched if need be; `WhisperModel` takes it.

    Weights come in whichever form the first source serves: a folder, or one file. output_dir: a folder that gets a
    copy, and is returned.
    Raises OptionError (a ValueError) for an unknown name or a token, ModelNotFound (a FileNotFoundError) if no source
    serves it.
    """
    config = hub_config(size_or_id, cache_dir, local_files_only, revision, use_auth_token)
    with errors.of_models():
        files = hub.fetch(model_name(size_or_id, revision), config)
    if output_dir is None:
        return str(files.path)
    _copy(files, Path(output_dir))
    return output_dir


def hub_config(
    name: str,
    download_root: str | None,
    local_files_only: bool,
    revision: str | None,
    use_auth_token: str | bool | None,
) -> Config:
    """Where models lie and may come from. Raises OptionError for a token: it is not ours to set."""
    if isinstance(use_auth_token, str) and not Path(name).exists():
        raise OptionError(
            "use_auth_token: a token was given, True or None was expected; set HF_TOKEN, or run `hf auth login` once"
        )
    return Config(model=name, model_dir=download_root, offline=local_files_only, revision=revision)


def model_name(name: str, revision: str | None) -> str:
    """The name under which our hub knows a model: a repository of the catalogue has further sources than the hub.

    Raises OptionError, which is a ValueError as in the reference, for a name that is no model.
    """
    if "/" not in name and not Path(name).exists() and hub.find(name) is None:
        raise OptionError(
            f"model: {name!r} was given, one of {', '.join(_NAMES)}, a repository or a folder was expected"
        )
    if revision is None:
        return next((card.name for card in CATALOGUE if name in (card.hub, card.hub_ct2)), name)
    return name


def _copy(files: Files, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    found = [files.path] if files.path.is_file() else []
    if not found:
        patterns = (*_WEIGHTS, *_COMPANIONS)
        found = [path for pattern in patterns for path in files.path.glob(pattern) if path.name != "manifest.json"]
    for path in found:
        shutil.copyfile(path, target / path.name)  # what a link points to, not the link


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """A time as [hh:]mm:ss.mmm. Raises AssertionError for a negative one, as the reference does."""
    assert seconds >= 0, "a time from 0 on was expected"
    ms = round(seconds * 1000)
    hours = f"{ms // 3_600_000:02d}:" if always_include_hours or ms >= 3_600_000 else ""
    return f"{hours}{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{decimal_marker}{ms % 1000:03d}"


def get_logger() -> logging.Logger:
    """The logger whose name programs know."""
    return logging.getLogger("faster_whisper")


def get_end(segments: list[dict[str, Any]]) -> float | None:
    """End of the last word of segments; without any word, of the last segment."""
    ends = [word["end"] for segment in segments for word in segment["words"]]
    return ends[-1] if ends else segments[-1]["end"] if segments else None
