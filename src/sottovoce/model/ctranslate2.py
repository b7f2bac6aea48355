"""CTranslate2's model.bin as the network's tensors. Knows the file's layout; runs nothing of CTranslate2.

Layout (little-endian), from ctranslate2 4.8 specs/model_spec.py:_serialize:
    u32 version, string spec, u32 revision, u32 n_variables, variables, u32 n_aliases, (string alias, string name)...
    string    u16 length with the closing zero, bytes
    variable  string name, u8 rank, u32 side per dimension, u8 dtype, u32 n_bytes, bytes
"""

from __future__ import annotations

import json
import re
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
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    MAX_SIDE,
    Heads,
    Kind,
    Mapped,
    Numbers,
    Stored,
    damaged,
)

VERSION = 6  # CURRENT_BINARY_VERSION of every release that knows Whisper
REVISION = 3  # WhisperSpec.revision
KINDS = (FLOAT32, INT8, INT16, INT32, FLOAT16, BFLOAT16)  # by the file's number
WHOLE = (INT8, INT16, INT32)
HEAD_WIDTH = 64  # of every published checkpoint; early revisions do not store the number of heads

LINEARS = {  # a fused product, top to bottom, by module and position
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}
NORMS = {"self_attention/layer_norm": "attn_ln", "attention/layer_norm": "cross_attn_ln", "ffn/layer_norm": "mlp_ln"}
OUTER = {
    "encoder/conv1/weight": "encoder.conv1.weight",
    "encoder/conv1/bias": "encoder.conv1.bias",
    "encoder/conv2/weight": "encoder.conv2.weight",
    "encoder/conv2/bias": "encoder.conv2.bias",
    "encoder/position_encodings/encodings": "encoder.positional_embedding",
    "encoder/layer_norm/gamma": "encoder.ln_post.weight",
    "encoder/layer_norm/beta": "encoder.ln_post.bias",
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
    "decoder/layer_norm/gamma": "decoder.ln.weight",
    "decoder/layer_norm/beta": "decoder.ln.bias",
}
PROJECTION, EMBEDDING = "decoder/projection/weight", "decoder/embeddings/weight"
BLOCK = re.compile(r"(encoder|decoder)/layer_(\d+)/(\w+/\w+)/(weight|bias|gamma|beta)")


@dataclass(frozen=True, slots=True)
class Variable:
    shape: tuple[int, ...]
    kind: Kind
    start: int


def open_ctranslate2(path: Path) -> Stored:
    """The model.bin at path. Alignment heads come from config.json beside it.

    Raises ModelError for another version, a damaged file, or an output layer that is not the token embedding.
    """
    file = Mapped(path)
    variables = _variables(file)
    tensors: dict[str, Callable[[], Numbers]] = {}
    for name, variable in variables.items():
        if not variable.shape or name.endswith("_scale") or name == PROJECTION:
            continue  # attributes of the graph, companions of other variables, and the tied output
        tensors.update(_readers(file, variables, name))
    _check_tied(file, variables)
    return Stored("CTranslate2", _dims(file, variables), tensors, _heads(path.parent / "config.json"), file.forget)


def _variables(file: Mapped) -> dict[str, Variable]:
    version = file.take("I", "the version")
    spec = _string(file)
    revision = file.take("I", "the revision")
    if version != VERSION or revision > REVISION or spec != "WhisperSpec":
        raise ModelError(
            f"{file.path}: {spec} revision {revision} in binary version {version} was given, WhisperSpec up to "
            f"revision {REVISION} in version {VERSION} was expected; convert the model again with a current ctranslate2"
        )
    variables: dict[str, Variable] = {}
    for _ in range(file.take("I", "the number of variables")):
        name = _string(file)
        rank = file.take("B", f"the rank of {name}")
        shape = tuple(file.take("I", f"the shape of {name}") for _ in range(rank))
        i_kind = file.take("B", f"the type of {name}")
        n_bytes = file.take("I", f"the size of {name}")
        start = file.skip(n_bytes, name)
        if i_kind >= len(KINDS):
            raise damaged(file.path, f"{name} has type {i_kind}", f"a type below {len(KINDS)}")
        kind = KINDS[i_kind]
        if any(side > MAX_SIDE for side in shape) or prod(shape) * kind.dtype.itemsize != n_bytes:
            raise damaged(
                file.path, f"{name} {list(shape)} of {kind.name} has {n_bytes} bytes", "as many as its shape says"
            )
        variables[name] = Variable(shape, kind, start)
    for _ in range(file.take("I", "the number of aliases")):
        alias, name = _string(file), _string(file)
        if name not in variables:
            raise damaged(file.path, f"{alias} stands for {name}", "a variable of the file")
        variables[alias] = variables[name]
    return variables


def _string(file: Mapped) -> str:
    return file.text(file.take("H", "the length of a name"), "a name").removesuffix("\0")


def _readers(file: Mapped, variables: dict[str, Variable], name: str) -> dict[str, Callable[[], Numbers]]:
    read = partial(_read, file, variables, name)
    if name in OUTER:
        return {OUTER[name]: read}
    match = BLOCK.fullmatch(name)
    if match is None:
        return {name: read}
    side, i_layer, place, kind = match.groups()
    block = f"{side}.blocks.{i_layer}"
    if place in NORMS and kind in ("gamma", "beta"):
        return {f"{block}.{NORMS[place]}.{'weight' if kind == 'gamma' else 'bias'}": read}
    if place not in LINEARS or kind not in ("weight", "bias"):
        return {name: read}
    parts = LINEARS[place]
    n_rows = variables[name].shape[0]
    if n_rows % len(parts):
        raise damaged(file.path, f"{name} has {n_rows} rows", f"a multiple of {len(parts)}")
    n = n_rows // len(parts)
    # Whisper's keys have no bias; the fused vector holds zeros there (and softmax would cancel anything else)
    return {
        f"{block}.{part}.{kind}": partial(read, i * n, n)
        for i, part in enumerate(parts)
        if not (kind == "bias" and part.endswith(".key"))
    }


def _read(
    file: Mapped, variables: dict[str, Variable], name: str, i_row: int = 0, n_rows: int | None = None
) -> Numbers:
    variable = variables[name]
    shape = (variable.shape[0] if n_rows is None else n_rows, *variable.shape[1:])
    start = variable.start + i_row * prod(variable.shape[1:]) * variable.kind.dtype.itemsize
    if variable.kind not in WHOLE:
        return file.numbers(start, shape, variable.kind)
    scale = variables.get(f"{name}_scale")
    if scale is None or scale.shape not in ((), (1,), variable.shape[:1]):
        given = "no scale" if scale is None else f"a scale of shape {list(scale.shape)}"
        raise damaged(file.path, f"{name} holds {variable.kind.name} with {given}", "one scale, or one per row")
    factors = file.numbers(scale.start, scale.shape, scale.kind).float32()
    if scale.shape == variable.shape[:1] and scale.shape != (1,):
        factors = factors[i_row : i_row + shape[0]]
    # a row is stored as round(row * scale), scale = 127 / its largest magnitude (int8)
    weights = file.tensor(start, shape, variable.kind).astype(np.float32)
    with np.errstate(all="ignore"):  # a scale of a damaged file; whoever reads looks at the result
        weights /= factors.reshape(-1, *[1] * (len(shape) - 1))
    return Numbers(weights)


def _check_tied(file: Mapped, variables: dict[str, Variable]) -> None:
    """Whisper scores tokens with their own embedding; a file may repeat that matrix, but not change it."""
    output, embedding = variables.get(PROJECTION), variables.get(EMBEDDING)
    if output is None or embedding is None or output.start == embedding.start:
        return
    same = (output.shape, output.kind) == (embedding.shape, embedding.kind)
    if not same or not np.array_equal(
        _read(file, variables, PROJECTION).values, _read(file, variables, EMBEDDING).values
    ):
        raise ModelError(
            f"{file.path}: {PROJECTION} differs from {EMBEDDING}, the same matrix was expected; "
            "this model has an output layer of its own, which Whisper has not"
        )


def _dims(file: Mapped, variables: dict[str, Variable]) -> Dims:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in variables or len(variables[name].shape) != rank:
            raise damaged(file.path, f"{name} is missing or has another rank", f"a tensor of rank {rank}")
        return variables[name].shape

    def n_heads(side: str, n_state: int) -> int:
        stored = variables.get(f"{side}/num_heads")
        return n_state // HEAD_WIDTH if stored is None else int(file.tensor(stored.start, (), stored.kind))

    def n_layers(side: str) -> int:
        return len({m[2] for m in map(BLOCK.fullmatch, variables) if m is not None and m[1] == side})

    n_audio_ctx, n_audio_state = shape("encoder/position_encodings/encodings", 2)
    n_text_ctx, n_text_state = shape("decoder/position_encodings/encodings", 2)
    return Dims(
        n_mels=shape("encoder/conv1/weight", 3)[1],
        n_audio_ctx=n_audio_ctx,
        n_audio_state=n_audio_state,
        n_audio_head=n_heads("encoder", n_audio_state),
        n_audio_layer=n_layers("encoder"),
        n_vocab=shape(EMBEDDING, 2)[0],
        n_text_ctx=n_text_ctx,
        n_text_state=n_text_state,
        n_text_head=n_heads("decoder", n_text_state),
        n_text_layer=n_layers("decoder"),
    )


def _heads(config: Path) -> Heads | None:
    if not config.is_file():
        return None
    try:
        pairs = json.loads(config.read_text(encoding="utf-8")).get("alignment_heads")
        return tuple((int(i_layer), int(i_head)) for i_layer, i_head in pairs) if pairs else None
    except (ValueError, TypeError, AttributeError) as e:
        raise damaged(config, "no configuration of CTranslate2", "JSON with alignment_heads as pairs") from e
