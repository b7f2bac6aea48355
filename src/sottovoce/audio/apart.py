"""A recording's channels, each by itself: for conversations with a speaker a channel. Knows no model, no name.

What one speaker's microphone hears of another is taken out, or his words would be written twice: where a channel is
much quieter than another and sounds like it, it is silenced. A speaker who talks at the same time sounds like himself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.audio import decode
from sottovoce.audio.source import Source, name_of
from sottovoce.errors import OptionError

log = logging.getLogger(__name__)

BLOCK = 3200  # samples that are compared (0.2 s), every half of it
LAG = 800  # samples by which sound may arrive later in the other channel (50 ms)
QUIETER_DB = 10.0  # than the other channel, at least
# correlation with the other channel, at least; of two readers below 0.26, of a leak at -20 dB with echoes and noise
# above 0.46 (LibriSpeech, 99 blocks, 2026-11)
LIKE = 0.35
SAME_DB = -50.0  # of the difference of two channels, below which they hold the same sound


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """sounds: (N,) float32 at 16 kHz of each channel. are_same: they all hold one sound."""

    sounds: tuple[np.ndarray, ...]
    are_same: bool


def load(
    source: Source,
    *,
    stream: int = 0,
    end_s: float | None = None,
    on_progress: decode.Progress | None = None,
    n_most: int | None = None,
) -> Channels:
    """The channels of a recording, crosstalk silenced. n_most: how many it may have.

    Raises AudioError as `decode.load`, OptionError if the recording has one channel only, or more than n_most.
    """
    if hasattr(source, "__array__"):
        given = np.asarray(source)
        if given.ndim != 2 or given.shape[0] > given.shape[1] or given.shape[0] < 2:
            what = f"an array of shape {given.shape}"
            raise OptionError(f"channels: {what} was given, (channels, N) samples were expected; transpose it")
        sounds = [decode.load(line, end_s=end_s) for line in given]
    else:
        again = _rereadable(source)
        tracks = decode.probe(again())
        if not 0 <= stream < len(tracks):
            decode.load(again(), stream=stream, end_s=0.1)  # which says what there is
        n = tracks[stream].channels
        if n < 2:
            remedy = "leave channels out; to tell speakers by their voices, pass diarize=True (--diarize)"
            raise OptionError(f"channels: {name_of(source)} has one channel, two or more were expected; {remedy}")
        if n_most is not None and n > n_most:
            raise OptionError(
                f"channels: {name_of(source)} has {n}, at most {n_most} were expected; leave channels out"
            )
        part: dict[str, Any] = {"stream": stream, "end_s": end_s, "on_progress": on_progress}
        sounds = [decode.load(again(), channel=i, **part) for i in range(n)]
    length = min(sound.size for sound in sounds)
    sounds = [sound[:length] for sound in sounds]
    if all(_is_same(sounds[0], sound) for sound in sounds[1:]):
        log.warning("all channels hold the same sound, so that they tell no speakers apart; it is heard once")
        return Channels((sounds[0],), True)
    return Channels(tuple(without_crosstalk(sounds)), False)


def _rereadable(source: Source) -> Callable[[], Source]:
    """What gives a source from its beginning, as often as it is asked: channels are read one after another."""
    if not hasattr(source, "read"):
        return lambda: source
    file: Any = source
    if not getattr(file, "seekable", lambda: False)():
        whole = file.read()
        return lambda: whole
    start = file.tell()

    def again() -> Source:
        file.seek(start)
        return source

    return again


def without_crosstalk(sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Channels of equal length, each silent where it only repeats a louder one."""
    out = [sound.copy() for sound in sounds]
    for i, mine in enumerate(sounds):
        for j, other in enumerate(sounds):
            if i == j:
                continue
            quiet = _echoes(mine, other)
            n = mine.size // BLOCK * BLOCK
            view = out[i][:n].reshape(-1, BLOCK)
            view[quiet[: len(view)]] = 0
            if quiet[len(view) :].any():
                out[i][n:] = 0
    return out


def _echoes(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(blocks,) bool: is this block of a channel, and what is around it, the other's, and much quieter?"""
    n_blocks = -(-mine.size // BLOCK)
    found = np.zeros(n_blocks, bool)
    ratio = 10 ** (QUIETER_DB / 10)
    for i in range(n_blocks):
        start, end = max(0, i * BLOCK - BLOCK), min(mine.size, (i + 2) * BLOCK)  # 0.6 s
        a, b = mine[start:end].astype(np.float64), other[start:end].astype(np.float64)
        here, there = float(a @ a), float(b @ b)
        if here > 0 and there > ratio * here:
            found[i] = _likeness(a, b) >= LIKE
    return found


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The largest correlation of two pieces of sound, either of them up to LAG later."""
    size = 1 << (2 * a.size - 1).bit_length()
    crossed = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    near = np.concatenate([crossed[: LAG + 1], crossed[-LAG:]])
    return float(np.abs(near).max() / np.sqrt((a @ a) * (b @ b)))


def _is_same(a: np.ndarray, b: np.ndarray) -> bool:
    loud = max(float(np.mean(np.square(a))), float(np.mean(np.square(b))))
    return loud == 0 or float(np.mean(np.square(a - b))) <= loud * 10 ** (SAME_DB / 10)
