"""Long recordings made of short ones: clips in a drawn order with pauses between them, and their references joined."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.data import Clip

from sottovoce.audio import decode
from sottovoce.types import SAMPLE_RATE

PAUSE_S = (0.3, 2.0)  # the shortest and the longest


@dataclass(frozen=True, slots=True)
class Recording:
    """audio: .npy of (N,) float32 at 16 kHz. reference: None if nobody has written down what is said."""

    name: str
    audio: Path
    duration_s: float
    reference: str | None


def order(durations_s: Sequence[float], length_s: float, seed: int) -> list[tuple[int, float]]:
    """(clip, pause after it in seconds) until they fill length_s: every clip once, then all again in another order.

    The last clip is whole, so that no word is cut; what it says beyond length_s is less than a clip.
    """
    assert durations_s and max(durations_s) > 0, "there is a clip that lasts"
    draw = random.Random(seed)
    found: list[tuple[int, float]] = []
    filled_s = 0.0
    while True:
        turn = list(range(len(durations_s)))
        draw.shuffle(turn)
        for i in turn:
            pause_s = round(draw.uniform(*PAUSE_S), 2)
            found.append((i, pause_s))
            filled_s += durations_s[i] + pause_s
            if filled_s >= length_s:
                return found


def join(clips: Sequence[Clip], length_s: float, seed: int, folder: Path) -> Recording:
    """A recording of at least length_s from clips with references."""
    assert all(c.reference for c in clips), "every clip has a reference"
    sounds = [decode.load(str(c.path)) for c in clips]
    picked = order([len(s) / SAMPLE_RATE for s in sounds], length_s, seed)
    parts: list[np.ndarray] = []
    for i, pause_s in picked:
        parts += [sounds[i], np.zeros(round(pause_s * SAMPLE_RATE), np.float32)]
    samples = np.concatenate(parts)
    reference = " ".join(clips[i].reference or "" for i, _ in picked)
    return saved(f"joined {length_text(length_s)}", samples, reference, folder)


def single(clips: Sequence[Clip], length_s: float, folder: Path) -> Recording:
    """The clip whose length is nearest to length_s."""
    clip = min(clips, key=lambda c: abs(c.duration_s - length_s))
    return whole(clip, folder)


def whole(clip: Clip, folder: Path) -> Recording:
    return saved(clip.name, decode.load(str(clip.path)), clip.reference if clip.trusted else None, folder)


def saved(name: str, samples: np.ndarray, reference: str | None, folder: Path) -> Recording:
    path = folder / (name.replace("/", "_").replace(" ", "_") + ".npy")
    np.save(path, samples)
    return Recording(name, path, len(samples) / SAMPLE_RATE, reference)


def length_text(length_s: float) -> str:
    return f"{length_s / 60:g} min" if length_s >= 60 else f"{length_s:g} s"
