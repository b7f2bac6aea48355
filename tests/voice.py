"""A voice that is made by rule: enough like speech to be taken for it, now and then. No recording is needed."""

from __future__ import annotations

import numpy as np


def voice(duration_s: float) -> np.ndarray:
    """(N,) float32 at 16 kHz: syllables of a gliding voice with three formants, pauses between, a little noise."""
    t = np.arange(round(duration_s * 16_000)) / 16_000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    sound = np.zeros_like(t)
    for k in range(1, 30):
        formants = sum(np.exp(-(((k * pitch - f) / w) ** 2)) for f, w in ((600, 150), (1300, 200), (2500, 300)))
        sound += (0.05 + formants) / k**0.5 * np.sin(k * phase)
    syllables = np.maximum(0, np.sin(2 * np.pi * 3 * t)) ** 0.5 * (np.sin(2 * np.pi * 0.4 * t) > -0.2)
    return (0.1 * sound * syllables + 0.002 * np.sin(t * 1e5 % 7e3)).astype(np.float32)
