"""A checkpoint's tensors as the CPU kernels read them (cpp/pack.cpp), packed one by one from where they lie."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from ctypes import c_int64
from typing import TypeAlias

import numpy as np

from sottovoce.engine import kernels
from sottovoce.engine.kernels import GROUP, padded, pointer, room
from sottovoce.model.stored import Numbers

KINDS = {"float32": 0, "float16": 1, "bfloat16": 2}  # cpp/pack.cpp:Kind

Read: TypeAlias = Callable[[str], Numbers]  # a tensor of a checkpoint, by its name
Parts: TypeAlias = dict[str, np.ndarray]  # fields of a structure of the kernels
Linear: TypeAlias = Callable[[str, Seq[Numbers], int], Parts]  # packs weights, under one another, as a field


def in_16_bits(field: str, weights: Seq[Numbers], n_threads: int) -> Parts:
    """bfloat16, which has neither scale nor sums."""
    return {field: packed(weights, n_threads), f"{field}_scale": np.empty(0), f"{field}_sums": np.empty(0)}


def in_8_bits(field: str, weights: Seq[Numbers], n_threads: int) -> Parts:
    """Bytes, that lines which become bytes are multiplied with."""
    whole, scale, sums = packed_bytes(weights, n_threads)
    return {field: whole, f"{field}_scale": scale, f"{field}_sums": sums}


def linear(read: Read, field: str, names: Seq[str], pack: Linear, n_threads: int) -> Parts:
    """Linear layers of the same input, under one another; a key has no bias."""
    weights = [read(f"{name}.weight") for name in names]
    biases = [
        np.zeros(w.shape[0], np.float32) if name.endswith(".key") else read(f"{name}.bias").float32()
        for name, w in zip(names, weights, strict=True)
    ]
    return {**pack(field, weights, n_threads), f"{field}_bias": np.concatenate(biases)}


def norm(read: Read, name: str, field: str) -> Parts:
    return {field: numbers(read, f"{name}.weight"), f"{field}_bias": numbers(read, f"{name}.bias")}


def numbers(read: Read, name: str) -> np.ndarray:
    """A tensor as float32 of our own: what stays mapped would change, or be gone, with the file."""
    return np.array(read(name).float32())


def blocks(part: str, n: int) -> list[str]:
    return [f"{part}.blocks.{i}" for i in range(n)]


def fill(structure: ctypes.Structure, parts: Parts, kept: list[np.ndarray]) -> None:
    """Where the parts lie, into the fields of their names."""
    fields = {name for name, *_ in structure._fields_}
    for name, at in zip(parts, addresses(parts.values(), kept), strict=True):
        assert name in fields, f"{type(structure).__name__} has no field {name}"
        setattr(structure, name, at)


def addresses(arrays: Iterable[np.ndarray], kept: list[np.ndarray]) -> list[int | None]:
    """Where arrays lie; None: of one without numbers. `kept` keeps them alive."""
    found: list[int | None] = []
    for array in arrays:
        lying = np.ascontiguousarray(array)
        kept.append(lying)
        found.append(lying.ctypes.data if lying.size else None)
    return found


# --- matrices ------------------------------------------------------------------------------------------------------


def packed(weights: Seq[Numbers], n_threads: int = 1) -> np.ndarray:
    """Weights of linear layers (N, K), under one another, as cpp/simd.h packs a matrix: bfloat16.

    N is padded to whole groups of columns; of several each is whole groups. K is a multiple of 32.
    """
    out = room(_size(weights), np.uint16)
    _pack("sv_pack", weights, n_threads, out)
    return out


def packed_bytes(weights: Seq[Numbers], n_threads: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As cpp/bytes.h packs a matrix: whole numbers, each line's scale (float32) and sum (int32), (N padded,).

    K is a multiple of 64.
    """
    n, k = _size(weights)
    out, scale, sums = room((n, k), np.int8), np.zeros(n, np.float32), np.zeros(n, np.int32)
    _pack("sv_pack_bytes", weights, n_threads, out, scale, sums)
    return out, scale, sums


def _size(weights: Seq[Numbers]) -> tuple[int, int]:
    return padded(sum(w.shape[0] for w in weights), GROUP), weights[0].shape[1]


def _pack(call: str, weights: Seq[Numbers], n_threads: int, *outs: np.ndarray) -> None:
    """By a call of cpp/pack.cpp, each under the other. outs: what it writes, line by line."""
    found, line = kernels.needed(), 0
    for weight in weights:
        n, k = weight.shape
        kind = "bfloat16" if weight.bfloat16 else "float16" if weight.values.dtype == np.float16 else "float32"
        given = np.ascontiguousarray(weight.values, np.float32 if kind == "float32" else None)
        to = (pointer(out[line:]) for out in outs)
        getattr(found, call)(KINDS[kind], pointer(given), c_int64(n), c_int64(k), *to, n_threads)
        line += n
