"""Waveform -> who is active in windows of 10 s, by pyannote's segmentation network. Knows no file, no voice, no name.

The network tells up to three speakers of one window apart, two at a time at most; who they are in another window it
does not know. Windows overlap, so that each moment is heard with different surroundings, and edges count little.

    frame i of a window   heard from samples [i * FRAME, i * FRAME + FIELD)   its middle is what it speaks of

The network: pyannote/segmentation-3.0 (MIT, Copyright CNRS), as ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.types import SAMPLE_RATE

WINDOW = 10 * SAMPLE_RATE  # samples that the network was trained with
FRAME = 270  # samples from frame to frame (16.9 ms): the product of the strides of its first layers
FIELD = 991  # samples that a frame hears before the recurrent layers
N_FRAMES = (WINDOW - FIELD) // FRAME + 1  # 589
N_LOCAL = 3  # speakers that it tells apart in one window
POWERSET = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))  # what its classes stand for
MEMBERS = np.array([[i in members for i in range(N_LOCAL)] for members in POWERSET], np.float32)  # (7, 3)
BATCH = 16  # windows heard at once: 25 ms each on 2 threads, 76 alone, 22 by 32 (2026-11)


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One window. start: its first sample. active: (N_FRAMES, N_LOCAL) float32, how probably each speaks there."""

    start: int
    active: np.ndarray

    @property
    def is_active(self) -> np.ndarray:
        """(N_FRAMES, N_LOCAL) bool: the most probable set of speakers of each frame."""
        return self.active > 0.5


def n_windows(n_samples: int, step: int) -> int:
    """Windows that cover a recording, the last of which may reach beyond its end."""
    return max(0, -(-(n_samples - WINDOW) // step)) + 1


def windows(samples: np.ndarray, network: Any, step: int) -> Iterator[Heard]:
    """Every window of a recording, step samples apart, in order; zeros follow its end.

    samples: (N,) float32, 16 kHz.
    """
    starts = [i * step for i in range(n_windows(samples.size, step))]
    for i in range(0, len(starts), BATCH):
        batch = np.zeros((len(starts[i : i + BATCH]), 1, WINDOW), np.float32)
        for line, start in zip(batch, starts[i : i + BATCH], strict=True):
            sound = samples[start : start + WINDOW]
            line[0, : sound.size] = sound
        logs = network.run(None, {network.get_inputs()[0].name: batch})[0]  # (W, F, 7) log-probabilities
        for start, found in zip(starts[i : i + BATCH], speakers(logs), strict=True):
            yield Heard(start, found)


def speakers(logs: np.ndarray) -> np.ndarray:
    """(..., 7) log-probabilities of sets of speakers -> (..., N_LOCAL) float32: of each speaker, in any set."""
    found: np.ndarray = np.exp(logs) @ MEMBERS
    return found


def middle_s(i_frame: float) -> float:
    """Seconds from a window's start to what a frame speaks of."""
    return (i_frame * FRAME + FIELD / 2) / SAMPLE_RATE
