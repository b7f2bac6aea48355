"""A network as the bytes of an ONNX file, for weights that were published in another form. Runs nothing.

Only what such networks need of the format: float32 tensors, nodes, whole numbers as attributes.
Source of field numbers: onnx/onnx onnx.proto (1.17). A message is a run of (field, kind, payload).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IR_VERSION, OPSET = 8, 14  # understood by every onnxruntime since 1.10
VARINT, BYTES = 0, 2  # kinds of payload
INT, INTS = 2, 7  # AttributeProto.AttributeType
KINDS = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}  # TensorProto.DataType


@dataclass(frozen=True, slots=True)
class Node:
    """One operation, by its name in ONNX."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, int], ...] = ()


def network(
    nodes: Sequence[Node],
    tensors: Mapping[str, np.ndarray],
    given: tuple[str, tuple[int | str, ...]],
    result: tuple[str, tuple[int | str, ...]],
) -> bytes:
    """The file of a network with one input and one output, float32. Sides that are names may be of any length."""
    graph = b"".join(_field(1, _node(node)) for node in nodes)
    graph += _field(2, b"network")
    graph += b"".join(_field(5, _tensor(name, values)) for name, values in tensors.items())
    graph += _field(11, _value(*given)) + _field(12, _value(*result))
    return _number(1, IR_VERSION) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, OPSET))


def _node(node: Node) -> bytes:
    out = b"".join(_field(1, name.encode()) for name in node.inputs)
    out += b"".join(_field(2, name.encode()) for name in node.outputs)
    out += _field(4, node.operation.encode())
    for name, value in node.attributes:
        out += _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, INT))
    return out


def _tensor(name: str, values: np.ndarray) -> bytes:
    sides = b"".join(_number(1, side) for side in values.shape)
    kind = _number(2, KINDS[values.dtype])
    return sides + kind + _field(8, name.encode()) + _field(9, np.ascontiguousarray(values).tobytes())


def _value(name: str, sides: tuple[int | str, ...]) -> bytes:
    dims = (_field(2, side.encode()) if isinstance(side, str) else _number(1, side) for side in sides)
    shape = b"".join(_field(1, dim) for dim in dims)
    kind = _number(1, KINDS[np.dtype(np.float32)]) + _field(2, shape)
    return _field(1, name.encode()) + _field(2, _field(1, kind))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _field(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
