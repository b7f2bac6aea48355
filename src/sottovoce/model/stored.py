"""What a file of weights holds, under the network's own names, whatever the form. Knows no module and no device."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.errors import ModelError
from sottovoce.model.dims import Dims

Heads = tuple[tuple[int, int], ...]
MAX_SIDE = 1 << 24  # far above every side of every tensor; what lies beyond comes from a damaged header


PIECE = 1 << 17  # numbers that are looked at together, so that they stay in a core's cache
PIECE_BYTES = 1 << 23  # of a file that are copied together
FIRST_NOT_FINITE = {  # bits of the smallest positive value that is not finite in float32
    "bfloat16": 0x7F80,
    "float16": 0x7C00,
    "float32": 0x7F80_0000,
    "float64": 0x47EF_FFFF_F000_0000,  # 2**128 - 2**103, which float32 rounds to infinity
}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a file writes one number. bfloat16: numpy has none, dtype is that of its bits."""

    name: str
    dtype: np.dtype[Any]
    bfloat16: bool = False


BFLOAT16 = Kind("bfloat16", np.dtype(np.uint16), bfloat16=True)
FLOAT64, FLOAT32, FLOAT16, INT32, INT16, INT8, BYTES = (
    Kind(name, np.dtype(name)) for name in ("float64", "float32", "float16", "int32", "int16", "int8", "uint8")
)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A tensor as it is stored; often a view of the file, so that whoever keeps it copies it.

    values: float32, float16 or float64; or uint16, the upper halves of float32, if bfloat16 says so.
    """

    values: np.ndarray
    bfloat16: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def name(self) -> str:
        """Of the type."""
        return "bfloat16" if self.bfloat16 else self.values.dtype.name

    def float32(self) -> np.ndarray:
        """The numbers in float32; the values themselves where they are that already."""
        if self.bfloat16:
            wide = self.values.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        return self.values.astype(np.float32, copy=False)

    def is_finite(self) -> bool:
        """Whether each is a number that float32 can hold. Copies nothing of values that lie in one piece."""
        size = self.values.itemsize
        bits = self.values.reshape(-1).view(f"u{size}")
        first = FIRST_NOT_FINITE[self.name]  # as bits; among positive numbers all from there on are none either
        first_negative = first | 1 << 8 * size - 1
        # signed, bits of negative numbers are below all others; unsigned, above
        return all(
            piece.max() < first_negative and piece.view(f"i{size}").max() < first
            for piece in (bits[i : i + PIECE] for i in range(0, bits.size, PIECE))
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint that is open but not yet read.

    form: how a message names it. tensors: per name a reader of one tensor; names that have no counterpart in the
    network keep the file's spelling. heads: alignment heads, if the files name them. forget: what was read is not
    needed any more; what was mapped of the file leaves memory, which else would hold the file beside the network.
    """

    form: str
    dims: Dims
    tensors: Mapping[str, Callable[[], Numbers]]
    heads: Heads | None = None
    forget: Callable[[], None] = lambda: None


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
            # ACCESS_COPY: torch's door asks for writable views; nothing is ever written
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

    def skip_texts(self, n: int, what: str) -> None:
        """Step over n texts, each behind its length (u32)."""
        length, end = struct.Struct("<I"), self.offset
        try:
            for _ in range(n):
                end += 4 + length.unpack_from(self._map, end)[0]
        except struct.error:
            end += 4  # where the length that is not there would end
        self.skip(end - self.offset, what)

    def tensor(self, start: int, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
        """The bytes from start as an array, copied only if they lie at an odd address."""
        n, dtype = prod(shape), kind.dtype
        if n == 0:
            return np.empty(shape, dtype)
        if start % dtype.itemsize == 0:
            return np.frombuffer(self._map, dtype, n, start).reshape(shape)
        copied = np.empty(n * dtype.itemsize, np.uint8)
        for i in range(0, copied.size, PIECE_BYTES):  # so that memory holds no second tensor meanwhile
            piece = copied[i : i + PIECE_BYTES]
            piece[:] = np.frombuffer(self._map, np.uint8, piece.size, start + i)
            self.forget()
        return copied.view(dtype).reshape(shape)

    def numbers(self, start: int, shape: tuple[int, ...], kind: Kind) -> Numbers:
        """As tensor, of a kind of floats."""
        return Numbers(self.tensor(start, shape, kind), kind.bfloat16)

    def forget(self) -> None:
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
