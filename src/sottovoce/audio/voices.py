"""Sound of one speaker -> an embedding of the voice (GE2E). Knows no file, no window, no name.

Three recurrent layers hear 1.6 s of mel powers (40 filters, no logarithm), and the last state of the last of them is
the voice; a longer sound is heard in parts that overlap by half, and is the mean of theirs.

The network: Resemblyzer 0.1.4 (Apache 2.0, Resemble AI), after Wan et al. 2018, arXiv 1710.10467.
Source of the recipe: Resemblyzer voice_encoder.py, audio.py (0.1.4); twin: tests/cpu/test_voices.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sottovoce.audio import mel
from sottovoce.audio.graph import Node, network
from sottovoce.audio.onnx import session
from sottovoce.errors import ModelError
from sottovoce.types import SAMPLE_RATE

N_MELS = 40
N_LAYERS = 3
WIDTH = 256
PART = 160  # mel frames heard at once (1.6 s)
STEP = 80  # from part to part
LEAST_COVER = 0.5  # of a last part; what is less has been heard with the part before
FAINT = 4800  # samples (0.3 s) with which nobody can be told
LOUDNESS_DB = -30.0  # below full scale: what is quieter is lifted to it
BATCH = 96  # parts heard at once


class Voices:
    """The network with its weights; several threads may ask it."""

    def __init__(self, weights: Mapping[str, np.ndarray], n_threads: int = 1) -> None:
        """weights: Resemblyzer's state dictionary, by its names. Raises ModelError if they are others."""
        self._session = session(_network(weights), n_threads)

    def embed(self, sounds: Sequence[np.ndarray]) -> np.ndarray:
        """(n, WIDTH) float32 of length 1: the voices of sounds, (N,) float32 at 16 kHz each, with one speaker each.

        Of a sound that is too short to tell, zeros.
        """
        out = np.zeros((len(sounds), WIDTH), np.float32)
        waiting: list[np.ndarray] = []
        owners: list[int] = []
        for i, sound in enumerate(sounds):
            found = parts(sound) if sound.size >= FAINT else []
            waiting += found
            owners += [i] * len(found)
            if waiting and (len(waiting) >= BATCH or i + 1 == len(sounds)):
                heard = self._session.run(None, {"parts": np.stack(waiting, axis=1)})[0]  # (B, WIDTH)
                np.add.at(out, owners, heard)
                waiting, owners = [], []
        voices: np.ndarray = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
        return voices


def _network(weights: Mapping[str, np.ndarray]) -> bytes:
    """(PART, B, N_MELS) -> (B, WIDTH) of length 1, as ONNX; torch's gates are in, forget, cell, out, ONNX's i o f c."""
    tensors: dict[str, np.ndarray] = {"axis": np.array([1], np.int64), "first": np.array([0], np.int64)}
    nodes = []
    try:
        for i in range(N_LAYERS):
            biases = [_gates(weights[f"lstm.bias_{kind}_l{i}"]) for kind in ("ih", "hh")]
            tensors[f"w{i}"] = _gates(weights[f"lstm.weight_ih_l{i}"])[None]
            tensors[f"r{i}"] = _gates(weights[f"lstm.weight_hh_l{i}"])[None]
            tensors[f"b{i}"] = np.concatenate(biases)[None]
            given = f"x{i}" if i else "parts"
            inputs = (given, f"w{i}", f"r{i}", f"b{i}")
            nodes.append(Node("LSTM", inputs, (f"y{i}", f"h{i}"), (("hidden_size", WIDTH),)))
            nodes.append(Node("Squeeze", (f"y{i}", "axis"), (f"x{i + 1}",)))
        tensors["out"] = np.ascontiguousarray(weights["linear.weight"], np.float32)
        tensors["bias"] = np.ascontiguousarray(weights["linear.bias"], np.float32)
    except (KeyError, ValueError) as e:
        raise ModelError(f"voices: {e} is missing, the tensors of Resemblyzer were expected; fetch them again") from e
    nodes = [*nodes[:-1], Node("Squeeze", (f"h{N_LAYERS - 1}", "first"), ("last",))]
    nodes.append(Node("Gemm", ("last", "out", "bias"), ("raw",), (("transB", 1),)))
    nodes.append(Node("Relu", ("raw",), ("positive",)))
    nodes.append(Node("LpNormalization", ("positive",), ("voices",), (("axis", 1), ("p", 2))))
    return network(nodes, tensors, ("parts", (PART, "B", N_MELS)), ("voices", ("B", WIDTH)))


def _gates(values: np.ndarray) -> np.ndarray:
    i, f, c, o = np.split(np.asarray(values, np.float32), 4)
    return np.concatenate([i, o, f, c])


def parts(sound: np.ndarray) -> list[np.ndarray]:
    """(PART, N_MELS) float32 each: the mel powers of a sound, lifted to LOUDNESS_DB if it is quieter; one at least."""
    power = float(np.mean(np.square(sound))) if sound.size else 0.0
    if 0 < power < 10 ** (LOUDNESS_DB / 10):
        sound = sound * np.float32(np.sqrt(10 ** (LOUDNESS_DB / 10) / power))
    n_frames = sound.size // mel.HOP + 1
    n_parts = 1 + max(0, int((n_frames - PART) / STEP + 1 - LEAST_COVER))
    padded = mel.cut(sound, 0, (n_parts - 1) * STEP + PART)
    powers = mel.power(padded, N_MELS).T  # (F, N_MELS)
    return [powers[i * STEP : i * STEP + PART] for i in range(n_parts)]


def seconds_of(n_parts: int) -> float:
    """How much sound so many parts hear."""
    return ((n_parts - 1) * STEP + PART) * mel.HOP / SAMPLE_RATE
