"""OpenAI's .pt checkpoints as the network's tensors. Knows no other form."""

from __future__ import annotations

import ctypes
import mmap
import pickle
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sottovoce.errors import ModelError
from sottovoce.model.dims import Dims
from sottovoce.model.stored import Stored, damaged

# what torch's reader of archives and its restricted unpickler raise on bytes that are not theirs
BROKEN = (
    RuntimeError,
    OSError,
    EOFError,
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
)


def read_torch(path: Path) -> Any:
    """What torch.save wrote, memory-mapped where its format allows; tensors and plain values only.

    Raises ModelError if the file cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except BROKEN as e:
        reason = str(e).split("\n", 1)[0] or type(e).__name__
        raise damaged(path, f"torch cannot read it ({reason})", "a checkpoint written by torch.save") from e


def open_pt(path: Path) -> Stored:
    """The .pt at path; it names no alignment heads. Raises ModelError if it is none of OpenAI's."""
    content = read_torch(path)
    if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= set(content):
        raise ModelError(
            f"{path}: a torch file without dims and model_state_dict was given, a checkpoint of openai-whisper was "
            "expected; give the folder with its config.json if it comes from transformers"
        )
    given, state = content["dims"], content["model_state_dict"]
    known = [f.name for f in fields(Dims)]
    if not isinstance(given, dict) or not all(isinstance(given.get(name), int) for name in known):
        raise damaged(path, f"dims are {given!r}", f"whole numbers for {', '.join(known)}")
    return Stored(
        "OpenAI .pt", Dims(**{name: given[name] for name in known}), lazily(path, state), forget=forgetter(path)
    )


def lazily(path: Path, state: Any) -> dict[str, Callable[[], Tensor]]:
    """Readers of a state dictionary that is in memory or mapped already. Raises ModelError if it is none."""
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) and isinstance(n, str) for n, t in state.items()):
        raise damaged(path, "its state dictionary holds other things than tensors", "tensors by name")
    return {name: partial(_same, tensor) for name, tensor in state.items()}


def forgetter(path: Path) -> Callable[[Tensor], None]:
    """Lets the pages of a tensor that torch has mapped from this file leave memory; they are read again if touched.

    Does nothing where that cannot be known: pages of any other memory would be lost.
    """
    ranges = _mappings(path)
    if not ranges:
        return lambda _: None
    libc = ctypes.CDLL(None)

    def forget(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        first = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
        if first < end and any(a <= first and end <= b for a, b in ranges):
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)

    return forget


def _mappings(path: Path) -> list[tuple[int, int]]:
    """Where a file is mapped into this process, as Linux tells."""
    if sys.platform != "linux":
        return []
    found = []
    try:
        for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
            # first-end permissions offset device inode path
            fields_ = line.split(maxsplit=5)
            if len(fields_) == 6 and fields_[5] == str(path.resolve()):
                first, end = (int(address, 16) for address in fields_[0].split("-"))
                found.append((first, end))
    except OSError:
        return []
    return found


def _same(tensor: Tensor) -> Tensor:
    return tensor
