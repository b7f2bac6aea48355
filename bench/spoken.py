"""Sentences read by a Piper voice, with the time of every word, as its network made it. Knows no file of ours.

The voice is a VITS: it decides how many frames each phoneme lasts before it speaks. `durations` makes those frames an
output of the network. Needs the packages piper-tts and onnx, which nothing else of the project does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FRAME = 256  # samples of the voice's own rate
PAD, BEGIN, END, SPACE = "_", "^", "$", " "
RATE = 16_000
Timed = tuple[str, float | None, float | None]


def durations(voice: Path) -> bytes:
    """The voice's network with the frames of every phoneme as its second output."""
    import onnx  # type: ignore[import-not-found]

    network = onnx.load(str(voice))
    (made,) = [n for n in network.graph.node if n.op_type == "Ceil"]
    network.graph.output.append(onnx.helper.make_tensor_value_info(made.output[0], onnx.TensorProto.FLOAT, None))
    return bytes(network.SerializeToString())


def sentences(voice: Path, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, tuple[Timed, ...]]]:
    """(samples at 16 kHz, words) of each text that the voice speaks word for word."""
    import onnxruntime  # type: ignore[import-untyped]
    from piper.phonemize_espeak import EspeakPhonemizer  # type: ignore[import-not-found]

    about = json.loads(voice.with_suffix(".onnx.json").read_text("utf-8"))
    session, phonemizer = onnxruntime.InferenceSession(durations(voice)), EspeakPhonemizer()
    for text in texts:
        words = text.split()
        # a sentence at a time loses the spaces between words that espeak runs together: those texts are left out
        phonemes = [p for part in phonemizer.phonemize(about["espeak"]["voice"], text) for p in part]
        if "".join(phonemes).count(SPACE) + 1 != len(words):
            continue
        yield _spoken(session, about, phonemes, words)


def _spoken(
    session: Any, about: dict[str, Any], phonemes: Sequence[str], words: Sequence[str]
) -> tuple[np.ndarray, tuple[Timed, ...]]:
    ids_of = about["phoneme_id_map"]
    line: list[tuple[str, int]] = [(BEGIN, i) for i in (*ids_of[BEGIN], *ids_of[PAD])]
    for phoneme in phonemes:
        line += [(phoneme, i) for i in (*ids_of.get(phoneme, ()), *ids_of[PAD])]
    line += [(END, i) for i in ids_of[END]]
    ids = np.array([[i for _, i in line]], np.int64)
    scales = np.array([about["inference"][k] for k in ("noise_scale", "length_scale", "noise_w")], np.float32)
    given = {"input": ids, "input_lengths": np.array([ids.shape[1]], np.int64), "scales": scales}
    sound, frames = session.run(None, given)
    ends = np.cumsum(frames.reshape(-1)) * FRAME / about["audio"]["sample_rate"]
    begins = np.concatenate([[0.0], ends[:-1]])
    found: list[Timed] = []
    at: list[int] = []
    for i, (phoneme, _) in enumerate([*line, (SPACE, 0)]):
        if phoneme in (SPACE, END) and at:
            found.append((words[len(found)], float(begins[at[0]]), float(ends[at[-1]])))
            at = []
        elif phoneme not in (SPACE, BEGIN, END) and phoneme not in ".,;:!?":
            at.append(i)
    rate = about["audio"]["sample_rate"]
    samples = sound.reshape(-1)
    n = len(samples) * RATE // rate
    return _resampled(samples, rate, n), tuple(found)


def _resampled(samples: np.ndarray, rate: int, n: int) -> np.ndarray:
    """Without what lies above the new half rate: the spectrum is cut."""
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(n // 2 + 1, np.complex128)
    m = min(len(kept), len(spectrum))
    kept[:m] = spectrum[:m]
    return np.asarray(np.fft.irfft(kept, n) * (n / len(samples)), np.float32)


if __name__ == "__main__":
    raise SystemExit("this file is a part of bench.timed")
