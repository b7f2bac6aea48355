"""What the arguments of faster-whisper's WhisperModel load. Knows no recording.

A computation type chooses speed, not meaning. Types that our engine does not compute in are run in the nearest one that
loses no accuracy, and a warning says so. Source: faster_whisper/transcribe.py:WhisperModel.__init__ (1.2.1).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from sottovoce.api import Whisper
from sottovoce.compat.faster_whisper import errors
from sottovoce.compat.faster_whisper.utils import hub_config, model_name
from sottovoce.config import Config
from sottovoce.engine import kernels
from sottovoce.engine.device import choose, kind_of
from sottovoce.errors import ConfigError, OptionError

# compute_type -> ours on CPU, ours on a GPU. default: as the published conversions (float16) are run there; auto: the
# fastest of ours that loses no words
_COMPUTES = {
    "default": ("float32", "float16"),
    "auto": ("auto", "auto"),
    "float32": ("float32", "float32"),
    "float16": ("float16", "float16"),
    "bfloat16": ("bfloat16", "bfloat16"),
    "int8": ("int8", "auto"),
    "int8_float32": ("int8", "auto"),
    "int8_float16": ("int8", "float16"),
    "int8_bfloat16": ("int8", "bfloat16"),
    "int16": ("bfloat16", "auto"),
}
_HONOURED = {"flash_attention", "max_queued_batches"}  # of ctranslate2; speed only, and ours to choose


@dataclass(slots=True)
class Loaded:
    """What programs use of `WhisperModel.model`."""

    is_multilingual: bool
    n_mels: int
    num_languages: int
    device: str
    device_index: list[int]
    compute_type: str
    whisper: Whisper = field(repr=False)
    model_is_loaded: bool = True

    def unload_model(self, to_cpu: bool = False) -> None:
        """Give the memory back. The WhisperModel is of no use afterwards; make a new one."""
        if to_cpu:
            raise OptionError(
                "to_cpu: True was given, but this engine keeps no second copy of the weights; leave it out, and make a "
                "new WhisperModel when it is needed again"
            )
        self.whisper.close()
        self.model_is_loaded = False

    def load_model(self, keep_cache: bool = False) -> None:
        """Nothing, if it is loaded. Raises OptionError if it is not."""
        if not self.model_is_loaded:
            raise OptionError("load_model was called after unload_model; make a new WhisperModel")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"'model' has no attribute {name!r} here: CTranslate2's own methods are not rebuilt; use transcribe and "
            "detect_language of WhisperModel, or sottovoce.compat.openai_whisper for one window at a time"
        )


def load(
    model: str | os.PathLike[str],
    *,
    device: str,
    device_index: int | Sequence[int],
    compute_type: str,
    cpu_threads: int,
    download_root: str | None,
    local_files_only: bool,
    files: Mapping[str, bytes | IO[bytes]] | None,
    revision: str | None,
    use_auth_token: str | bool | None,
    more: Mapping[str, Any],
    log: logging.Logger,
) -> Whisper:
    """The model. Raises OptionError (a ValueError), and those of `errors`."""
    unknown = sorted(set(more) - _HONOURED)
    if unknown:
        raise OptionError(
            f"{unknown[0]}: {more[unknown[0]]!r} was given, but this engine has no such option; leave it out"
        )
    with errors.of_models(), ExitStack() as stack:
        where = Config(device=_where(device, device_index, log)).device
        compute = _compute(where, compute_type)
        if files:
            name = _unpacked(files, Path(stack.enter_context(TemporaryDirectory(prefix="sottovoce-"))))
            config = Config(model=name)
        else:
            name = model_name(os.fspath(model), revision)
            config = hub_config(name, download_root, local_files_only, revision, use_auth_token)
        load = partial(Whisper, name, device=where, threads=cpu_threads or None, config=config)
        try:
            whisper = load(compute=compute)
        except ConfigError:
            if compute != "int8":
                raise
            whisper = load(compute="auto")  # there are no kernels for it
    if compute_type.startswith("int") and whisper.compute != "int8":
        log.warning("compute_type: %s is run in %s, which is no less accurate", compute_type, whisper.compute)
    return whisper


def described(whisper: Whisper) -> Loaded:
    """What is loaded, in the reference's words."""
    kind, _, index = whisper.choice.device.partition(":")
    return Loaded(
        is_multilingual=whisper.is_multilingual,
        n_mels=whisper.dims.n_mels,
        num_languages=len(whisper.languages),
        device=kind,
        device_index=[int(index or 0)],
        compute_type=whisper.compute,
        whisper=whisper,
    )


def _where(device: str, device_index: int | Sequence[int], log: logging.Logger) -> str:
    indices = [device_index] if isinstance(device_index, int) else list(device_index)
    if len(indices) > 1:
        log.warning("device_index: %s was given; this engine runs on one device a model, and takes the first", indices)
    if device == "cuda" and indices and indices[0]:
        return f"cuda:{indices[0]}"
    return device


def _compute(device: str, compute_type: str) -> str:
    if compute_type not in _COMPUTES:
        raise OptionError(f"compute_type: {compute_type!r} was given, one of {', '.join(_COMPUTES)} was expected")
    kind = kind_of(choose(device, "auto").device)
    compute = _COMPUTES[compute_type][kind != "cpu"]
    return "auto" if compute_type == "int16" and kernels.library() is None else compute


def _unpacked(files: Mapping[str, bytes | IO[bytes]], folder: Path) -> str:
    for name, content in files.items():
        path = folder / name
        if path.parent != folder:
            raise OptionError(f"files: {name!r} was given, plain file names such as model.bin were expected")
        path.write_bytes(content if isinstance(content, bytes) else content.read())
    return str(folder)
