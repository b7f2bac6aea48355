"""whisper.cpp's ggml files as the network's tensors: header, filters and vocabulary, then tensors until the end.

Layout (little-endian), from whisper.cpp models/convert-pt-to-ggml.py:
    u32 magic, i32 x 11 sizes and ftype; i32 n_mel, i32 n_fft, f32 filters; i32 n_tokens, (u32 length, bytes)...
    tensor    i32 rank, i32 name length, i32 type, i32 side per dimension (innermost first), name, data without padding
A quantised tensor is a row of blocks of 32 weights (ggml ggml-common.h, quantisation version 2):
    q4_0  f16 d, 16 bytes: weight i in the low nibble of byte i, weight i + 16 in the high one     d * (q - 8)
    q4_1  f16 d, f16 m, 16 bytes                                                                   d * q + m
    q5_0  f16 d, u32 fifth bits (bit i: weight i), 16 bytes                                        d * (q - 16)
    q5_1  f16 d, f16 m, u32 fifth bits, 16 bytes                                                   d * q + m
    q8_0  f16 d, 32 signed bytes                                                                   d * q
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from sottovoce.errors import ModelError
from sottovoce.model.dims import Dims
from sottovoce.model.stored import (
    BFLOAT16,
    BYTES,
    FLOAT16,
    FLOAT32,
    MAX_SIDE,
    Mapped,
    Numbers,
    Stored,
    damaged,
)

MAGIC = b"lmgg"  # 0x67676d6c
BLOCK = 32  # weights that share a scale
QUANTISATION = 2  # GGML_QNT_VERSION; earlier versions lay blocks out in another way
PLAIN = {0: FLOAT32, 1: FLOAT16, 30: BFLOAT16}  # enum ggml_type


@dataclass(frozen=True, slots=True)
class Blocks:
    """A quantised type. bits: of one weight; has_min: blocks carry an offset, else weights are signed."""

    name: str
    bits: int
    has_min: bool

    @property
    def n_bytes(self) -> int:
        return 2 + 2 * self.has_min + BLOCK * self.bits // 8


QUANTISED = {
    2: Blocks("q4_0", 4, False),
    3: Blocks("q4_1", 4, True),
    6: Blocks("q5_0", 5, False),
    7: Blocks("q5_1", 5, True),
    8: Blocks("q8_0", 8, False),
}
REFUSED = {9: "q8_1", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k"}


def open_ggml(path: Path) -> Stored:
    """The ggml file at path. It names no alignment heads.

    Raises ModelError for a damaged file or a type of tensor that is not understood.
    """
    file = Mapped(path)
    dims = _header(file)
    tensors: dict[str, Callable[[], Numbers]] = {}
    while file.offset < file.size:
        name, read = _tensor(file)
        tensors[name] = read
    return Stored("ggml", dims, tensors, forget=file.forget)


def _header(file: Mapped) -> Dims:
    file.skip(len(MAGIC), "the magic")
    (n_vocab, n_audio_ctx, n_audio_state, n_audio_head, n_audio_layer, n_text_ctx, n_text_state) = (
        _size(file, "a size") for _ in range(7)
    )
    n_text_head, n_text_layer, n_mels = (_size(file, "a size") for _ in range(3))
    ftype = file.take("i", "the file's type")
    # 1000 * quantisation version + type; unquantised files carry no version
    if ftype > 1 and ftype // 1000 != QUANTISATION:
        raise ModelError(
            f"{file.path}: ggml quantisation version {ftype // 1000} was given, {QUANTISATION} was expected; "
            "quantise the model again with a current whisper.cpp"
        )
    n_rows, n_columns = _size(file, "the filterbank"), _size(file, "the filterbank")
    file.skip(4 * n_rows * n_columns, "the filterbank")
    file.skip_texts(_size(file, "the vocabulary"), "the vocabulary")
    return Dims(
        n_mels=n_mels,
        n_audio_ctx=n_audio_ctx,
        n_audio_state=n_audio_state,
        n_audio_head=n_audio_head,
        n_audio_layer=n_audio_layer,
        n_vocab=n_vocab,
        n_text_ctx=n_text_ctx,
        n_text_state=n_text_state,
        n_text_head=n_text_head,
        n_text_layer=n_text_layer,
    )


def _size(file: Mapped, what: str) -> int:
    size = file.take("i", what)
    if not 0 <= size <= MAX_SIDE:
        raise damaged(file.path, f"{what} is {size}", f"0 to {MAX_SIDE}")
    return size


def _tensor(file: Mapped) -> tuple[str, Callable[[], Numbers]]:
    rank, n_name, i_type = (file.take("i", "a tensor's header") for _ in range(3))
    if not 1 <= rank <= 4:
        raise damaged(file.path, f"a tensor has rank {rank}", "1 to 4")
    shape = tuple(_size(file, "a tensor's side") for _ in range(rank))[::-1]
    name = file.text(n_name, "a tensor's name")
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        shape = (prod(shape),)  # stored as a column
    if i_type in PLAIN:
        kind = PLAIN[i_type]
        return name, partial(file.numbers, file.skip(prod(shape) * kind.dtype.itemsize, name), shape, kind)
    if i_type not in QUANTISED:
        given = REFUSED.get(i_type, f"number {i_type}")
        known = ", ".join(["f32", "f16", "bf16", *(b.name for b in QUANTISED.values())])
        raise ModelError(
            f"{file.path}: {name} is of ggml type {given}, one of {known} was expected; "
            "quantise the model to q5_0 or q8_0 instead"
        )
    if shape[-1] % BLOCK:
        raise damaged(file.path, f"{name} is quantised with rows of {shape[-1]}", f"a multiple of {BLOCK}")
    blocks = QUANTISED[i_type]
    n_bytes = prod(shape) // BLOCK * blocks.n_bytes
    return name, partial(_dequantise, file, file.skip(n_bytes, name), shape, blocks)


def _dequantise(file: Mapped, start: int, shape: tuple[int, ...], blocks: Blocks) -> Numbers:
    raw = file.tensor(start, (prod(shape) // BLOCK, blocks.n_bytes), BYTES)
    at = 2 + 2 * blocks.has_min
    scales = raw[:, :at].copy().view(np.float16).astype(np.float32)  # (n, 1 or 2)
    if blocks.bits == 8:
        weights = raw[:, at:].view(np.int8).astype(np.float32)
    else:
        nibbles = raw[:, -BLOCK // 2 :]
        q = np.concatenate([nibbles & 15, nibbles >> 4], axis=1)  # (n, BLOCK)
        if blocks.bits == 5:
            q |= np.unpackbits(raw[:, at : at + 4], axis=1, bitorder="little") << 4
        weights = q.astype(np.float32)
        if not blocks.has_min:
            weights -= 1 << blocks.bits - 1
    with np.errstate(all="ignore"):  # a scale of a damaged file; whoever reads looks at the result
        weights *= scales[:, :1]
        if blocks.has_min:
            weights += scales[:, 1:]
    return Numbers(weights.reshape(shape))
