"""Make audio/assets/silero_vad.onnx from what the `silero-vad` distribution carries. Run by hand; needs `onnx`.

    pip download --no-deps silero-vad==6.0.0 && unzip silero_vad-6.0.0-*.whl
    python scripts/make_vad.py silero_vad/data/silero_vad_16k_op15.onnx OUT.onnx

The published graph hears one frame of 32 ms a call. This one has the same weights and hears as many as are given: its
convolutions over a frame's four columns are written out as matrix products over all frames, which CPUs are good at,
and one LSTM node runs over the frames. Twin: tests/null/test_vad.py, against figures of the published graph.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FRAME = 576  # 64 samples of context, 512 new ones
BLOCK = 128  # hop of the short-time spectrum, whose window is two blocks
N_BINS = 129
WIDTH = 128  # of the LSTM


def weights_of(path: str) -> dict[str, np.ndarray]:
    found = {i.name.removeprefix("model."): numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    return {name: array.astype(np.float32) for name, array in found.items()}


def taps(weight: np.ndarray) -> np.ndarray:
    """(out, in, taps) of a convolution -> (taps * in, out) of the product with neighbouring columns, side by side."""
    return np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]))


class Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def __call__(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def cut(self, x: str, start: int, end: int, axis: int = 1) -> str:
        return self("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def dense(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        return self("Relu", self("Add", self("MatMul", x, self.constant(weight)), self.constant(bias)))


def build(w: dict[str, np.ndarray]) -> onnx.ModelProto:
    g = Graph()
    mirrored = g("Pad", "input", g.ints(0, 0, 0, BLOCK // 2), mode="reflect")  # (T, 640)
    blocks = g("Reshape", mirrored, g.ints(-1, 5, BLOCK))
    seen = g("Concat", g.cut(blocks, 0, 4), g.cut(blocks, 1, 5), axis=2)  # (T, 4, 256)
    basis = np.ascontiguousarray(w["stft.forward_basis_buffer"][:, 0].T)
    spectrum = g("MatMul", seen, g.constant(basis))
    real, imaginary = g.cut(spectrum, 0, N_BINS, 2), g.cut(spectrum, N_BINS, 2 * N_BINS, 2)
    power = g("Add", g("Mul", real, real), g("Mul", imaginary, imaginary))
    columns = g("Pad", g("Sqrt", power), g.ints(0, 1, 0, 0, 1, 0))  # (T, 6, 129)
    near = g("Concat", g.cut(columns, 0, 4), g.cut(columns, 1, 5), g.cut(columns, 2, 6), axis=2)
    x = g.dense(near, taps(w["encoder.0.reparam_conv.weight"]), w["encoder.0.reparam_conv.bias"])  # (T, 4, 128)
    x = g("Pad", x, g.ints(0, 1, 0, 0, 0, 0))  # (T, 5, 128); every second column is wanted
    first = g("Reshape", g.cut(x, 0, 3), g.ints(-1, 1, 3 * WIDTH))
    second = g("Reshape", g.cut(x, 2, 5), g.ints(-1, 1, 3 * WIDTH))
    x = g("Concat", first, second, axis=1)
    x = g.dense(x, taps(w["encoder.1.reparam_conv.weight"]), w["encoder.1.reparam_conv.bias"])  # (T, 2, 64)
    x = g("Reshape", x, g.ints(-1, 2 * 64))
    # of three taps the first falls on the zeros before the two columns; then one column is left, and its middle tap
    x = g.dense(x, taps(w["encoder.2.reparam_conv.weight"][:, :, 1:]), w["encoder.2.reparam_conv.bias"])
    x = g.dense(x, taps(w["encoder.3.reparam_conv.weight"][:, :, 1:2]), w["encoder.3.reparam_conv.bias"])
    x = g("Unsqueeze", x, g.ints(1))  # (T, 1, 128)
    bias = np.concatenate([gates(w["decoder.rnn.bias_ih"]), gates(w["decoder.rnn.bias_hh"])])[None]
    recurrent = [gates(w[f"decoder.rnn.weight_{kind}"])[None] for kind in ("ih", "hh")]
    inputs = [x, *(g.constant(array) for array in recurrent), g.constant(bias), "", "h", "c"]
    g.nodes.append(helper.make_node("LSTM", inputs, ["heard", "hn", "cn"], hidden_size=WIDTH))
    x = g("Relu", g("Reshape", "heard", g.ints(-1, WIDTH)))
    x = g("MatMul", x, g.constant(taps(w["decoder.decoder.2.weight"])))
    x = g("Add", x, g.constant(w["decoder.decoder.2.bias"]))
    g.nodes.append(helper.make_node("Sigmoid", [g("Reshape", x, g.ints(-1))], ["probability"]))

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    state = [value(name, 1, 1, WIDTH) for name in ("h", "c", "hn", "cn")]
    graph = helper.make_graph(
        g.nodes,
        "silero-vad",
        [value("input", "frames", FRAME), *state[:2]],
        [value("probability", "frames"), *state[2:]],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def gates(array: np.ndarray) -> np.ndarray:
    """The rows of torch's gates (input, forget, cell, output) in ONNX's order (input, output, forget, cell)."""
    i, f, c, o = np.split(array, 4)
    return np.concatenate([i, o, f, c])


if __name__ == "__main__":
    onnx.save(build(weights_of(sys.argv[1])), sys.argv[2])
