"""What a file of weights holds, under the network's own names, whatever the form. Knows no module and no device."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sottovoce.errors import ModelError
from sottovoce.model.dims import Dims

Heads = tuple[tuple[int, int], ...]
MAX_SIDE = 1 << 24  # far above every side of every tensor; what lies beyond comes from a damaged header


@dataclass(frozen=True, slots=True)
class Numbers:
    """A tensor of a checkpoint. values: floating; or, if bfloat16, uint16 that are the upper halves of float32."""

    values: np.ndarray
    bfloat16: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def float32(self) -> np.ndarray:
        if self.bfloat16:
            return (self.values.astype(np.uint32) << 16).view(np.float32)
        return self.values.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint that is open but not yet read.

    form: how a message names it. tensors: per name a reader of one CPU tensor; names that have no counterpart in the
    network keep the file's spelling. heads: alignment heads, if the files name them. forget: a tensor that was read is
    not needed any more; what was mapped of its file leaves memory, which else would hold the file beside the network.
    """

    form: str
    dims: Dims
    tensors: Mapping[str, Callable[[], Tensor]]
    heads: Heads | None = None
    forget: Callable[[Tensor], None] = lambda _: None


def damaged(path: Path, what: str, expected: str) -> ModelError:
    """The error for a file that cannot be read to its end."""
    return ModelError(
        f"{path}: {what}; expected {expected}. The file is damaged or incomplete: "
        "run `sottovoce models verify NAME`, or fetch it again"
    )


class Mapped:
    """A binary file, mapped into memory and read from front to back; every step is checked against its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        if path.stat().st_size == 0:  # no operating system maps nothing
            raise damaged(path, "it is empty", "a file of weights")
        with path.open("rb") as f:
            # ACCESS_COPY: torch asks for a writable buffer; nothing is ever written
            self._map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
        self.size = len(self._map)

    def skip(self, n_bytes: int, what: str) -> int:
        """Step over n_bytes; returns where they begin. Raises ModelError if the file ends before."""
        start, end = self.offset, self.offset + n_bytes
        if n_bytes < 0 or end > self.size:
            raise damaged(self.path, f"{what} ends at byte {end}", f"at most {self.size}, the size of the file")
        self.offset = end
        return start

    def take(self, code: str, what: str) -> int:
        """One little-endian number of a struct code."""
        start = self.skip(struct.calcsize("<" + code), what)
        return int(struct.unpack_from("<" + code, self._map, start)[0])

    def text(self, n_bytes: int, what: str) -> str:
        start = self.skip(n_bytes, what)
        try:
            return self._map[start : start + n_bytes].decode()
        except UnicodeDecodeError as e:
            raise damaged(self.path, f"{what} is no text", "UTF-8") from e

    def tensor(self, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The bytes from start as a tensor, copied only if they lie at an odd address."""
        n = prod(shape)
        if n == 0:
            return torch.empty(shape, dtype=dtype)
        if start % dtype.itemsize == 0:
            return torch.frombuffer(self._map, dtype=dtype, count=n, offset=start).view(shape)
        flat = torch.frombuffer(self._map, dtype=torch.uint8, count=n * dtype.itemsize, offset=start)
        copied = flat.clone().view(dtype).view(shape)
        self.forget()
        return copied

    def forget(self, _: Tensor | None = None) -> None:
        """Let what was mapped leave memory; what is touched again is read again."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on every system
            self._map.madvise(mmap.MADV_DONTNEED)


def misfit(heads: Heads, dims: Dims) -> str | None:
    """What is wrong with alignment heads: the first that lies outside the decoder, and what would fit; or None."""
    for i_layer, i_head in heads:
        if not (0 <= i_layer < dims.n_text_layer and 0 <= i_head < dims.n_text_head):
            return (
                f"alignment head ({i_layer}, {i_head}) was given, a layer below {dims.n_text_layer} and a head below "
                f"{dims.n_text_head} were expected"
            )
    return None
