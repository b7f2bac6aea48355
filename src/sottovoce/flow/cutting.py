"""What a stretch sounds like, and under which name it is asked about. Knows no answer."""

from __future__ import annotations

import numpy as np

from sottovoce.audio import mel
from sottovoce.flow.spans import Stretch
from sottovoce.types import Sound


def named_sound(samples: np.ndarray, stretch: Stretch, peak: float) -> tuple[str, Sound]:
    """A stretch's name and sound. samples: of the recording, with its peak."""
    seek, size = frames(stretch)
    return f"{seek}+{size}", Sound(mel.cut(samples, seek, size), peak=peak, n_frames=size)


def span_of(key: str) -> tuple[float, float] | None:
    """(start, end) in seconds of the sound that a window's key names; None if its name is not of `named_sound`."""
    seek, plus, size = key.rpartition(":")[2].partition("+")
    if not (plus and seek.isdigit() and size.isdigit()):
        return None
    return int(seek) / mel.FRAMES_PER_S, (int(seek) + int(size)) / mel.FRAMES_PER_S


def frames(stretch: Stretch) -> tuple[int, int]:
    """Where a stretch begins and how long it is, in mel frames."""
    seek = stretch.start // mel.HOP
    return seek, stretch.end // mel.HOP - seek
