"""Writes tests/data/vad.json: what others hear in a sound that is made by rule, and which spans they make of it.

Run it from the repository's root where faster-whisper 1.2.1 is installed, on the graph that the `silero-vad`
distribution 6.0.0 carries:

    PYTHONPATH=. python scripts/freeze_vad.py silero_vad/data/silero_vad_16k_op15.onnx tests/data/vad.json

Probabilities come from the published graph, a frame a call; spans from faster-whisper's get_speech_timestamps over
tracks of probabilities that are drawn with a fixed seed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from faster_whisper import vad
from tests.voice import voice

FRAME, CONTEXT = 512, 64
OPTIONS = [
    {},
    {"max_speech_duration_s": 30, "min_silence_duration_ms": 160},
    {"min_silence_duration_ms": 500, "speech_pad_ms": 200},
    {"max_speech_duration_s": 5, "min_silence_duration_ms": 100, "speech_pad_ms": 30, "min_speech_duration_ms": 250},
    {"threshold": 0.3, "min_silence_duration_ms": 1000, "max_speech_duration_s": 8},
    {"threshold": 0.7, "neg_threshold": 0.6, "min_silence_duration_ms": 0, "max_speech_duration_s": 3},
    {"max_speech_duration_s": 2.5, "min_silence_duration_ms": 3000, "speech_pad_ms": 0},
]


def tracks() -> list[np.ndarray]:
    """Thousandths of probabilities that stay, wander and jump, as those of speech do."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(12):
        levels = rng.choice([0.02, 0.2, 0.4, 0.45, 0.6, 0.95], 120, p=[0.25, 0.1, 0.1, 0.1, 0.1, 0.35])
        track = np.repeat(levels, rng.integers(1, 12, 120))
        track += rng.normal(0, 0.02, track.size)
        found.append(np.round(np.clip(track, 0, 1) * 1000).astype(int))
    return found


def published(path: str, samples: np.ndarray) -> list[float]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    padded = np.pad(samples, (CONTEXT, FRAME - samples.size % FRAME))
    state, found = np.zeros((2, 1, 128), np.float32), []
    for i in range(0, padded.size - CONTEXT, FRAME):
        feed = {"input": padded[None, i : i + CONTEXT + FRAME], "state": state, "sr": np.array(16_000)}
        probability, state = session.run(None, feed)
        found.append(round(float(probability[0, 0]), 5))
    return found


def spans(track: np.ndarray, n_samples: int, options: dict) -> list[list[int]]:
    vad.get_vad_model = lambda: lambda _: (track / 1000).astype(np.float32)
    found = vad.get_speech_timestamps(np.zeros(n_samples, np.float32), vad.VadOptions(**options))
    return [[span["start"], span["end"]] for span in found]


if __name__ == "__main__":
    cases = []
    for i, track in enumerate(tracks()):
        n_samples = track.size * FRAME - 100 - i
        cases += [
            {"track": i, "n_samples": n_samples, "options": o, "spans": spans(track, n_samples, o)} for o in OPTIONS
        ]
    frozen = {
        "probabilities": published(sys.argv[1], voice(6)),
        "tracks": [track.tolist() for track in tracks()],
        "cases": cases,
    }
    Path(sys.argv[2]).write_text(json.dumps(frozen) + "\n", "utf-8")
