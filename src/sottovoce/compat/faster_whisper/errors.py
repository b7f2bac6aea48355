"""Our errors under the built-in names by which faster-whisper's callers catch them: each is ours, and theirs too.

Programs try a GPU and catch RuntimeError, or the disk and catch FileNotFoundError. What the reference raises was
seen of 1.2.1 with CTranslate2 4.8 and PyAV 18.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sottovoce.errors import AudioError, ConfigError, DownloadError, ModelError

__all__ = ["DeviceNotThere", "MissingRecording", "ModelNotFound", "UnreadableModel", "UnreadableRecording"]


class DeviceNotThere(ConfigError, RuntimeError):
    """The device, or the computation type on it, cannot be had."""


class ModelNotFound(DownloadError, FileNotFoundError):
    """No source serves the model, or it is not on this disk."""


class UnreadableModel(ModelError, RuntimeError):
    """What was given as a model is none."""


class MissingRecording(AudioError, FileNotFoundError):
    """There is no such file."""


class UnreadableRecording(AudioError, ValueError):
    """What was given holds no sound that can be read."""


@contextmanager
def of_models() -> Iterator[None]:
    """Errors of loading a model, as callers catch them."""
    try:
        yield
    except ConfigError as e:
        raise DeviceNotThere(str(e)) from e
    except DownloadError as e:
        raise ModelNotFound(str(e)) from e
    except ModelError as e:
        raise UnreadableModel(str(e)) from e


@contextmanager
def of_recordings(source: Any) -> Iterator[None]:
    """Errors of reading a recording, as callers catch them."""
    try:
        yield
    except AudioError as e:
        is_path = isinstance(source, str | os.PathLike) and "://" not in os.fspath(source)
        kind = MissingRecording if is_path and not os.path.exists(source) else UnreadableRecording
        raise kind(str(e)) from e
