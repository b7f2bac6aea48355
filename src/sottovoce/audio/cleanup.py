"""A recording is cleaned before it is heard: high-pass, denoise, loudness, by FFmpeg's filters. Knows no file.

As many samples come out as go in, each where it was: times stay what they are. In pieces, whatever the length: the
filters keep no more than some seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import av.error
import av.filter
import numpy as np

from sottovoce.types import SAMPLE_RATE, Clean

PIECE = 10 * SAMPLE_RATE  # samples that go through the filters at a time


# FFmpeg's filters. A voice begins at 80 Hz. afftdn: 12 dB at most, of noise at the level that is in the pauses; its own
# tracking takes 1 dB of noise at -40 dB. dynaudnorm: half a second's peak to 0.95, at most 10 times as loud, smoothed
# over 15 s
FILTERS: dict[Clean, tuple[str, str]] = {
    Clean.HIGHPASS: ("highpass", "f=80"),
    Clean.DENOISE: ("afftdn", "nr=12:nf={floor_db:.1f}"),
    Clean.LOUDNESS: ("dynaudnorm", "f=500:g=31:m=10"),
}
FRAME = 512  # samples over which the level is looked at
PAUSES = 10  # percent of frames that are taken for pauses
LOWEST_DB, HIGHEST_DB = -80.0, -20.0  # levels of noise that afftdn knows
# afftdn joins windows of three steps of 1/80 s, and is two steps late without saying so
LATE: dict[Clean, int] = {Clean.DENOISE: 2 * (SAMPLE_RATE // 80)}


def cleaned(samples: np.ndarray, steps: Iterable[Clean]) -> np.ndarray:
    """(N,) float32 samples at 16 kHz after these steps; the samples themselves if there is no step."""
    steps = tuple(steps)
    if not steps or not samples.size:
        return samples
    found = np.empty_like(samples)
    n = 0
    for piece in pieces(samples, steps):
        found[n : n + piece.size] = piece
        n += piece.size
    return found


def pieces(samples: np.ndarray, steps: Iterable[Clean]) -> Iterator[np.ndarray]:
    """What `cleaned` returns, as it comes out of the filters."""
    chosen = set(steps)
    if not chosen or not samples.size:
        yield samples
        return
    n = 0
    for piece in _through(samples, [step for step in Clean if step in chosen]):
        piece = piece[: samples.size - n]
        n += piece.size
        yield piece
    assert n == samples.size, f"{samples.size} samples went through the filters, {n} came out"


def _through(samples: np.ndarray, steps: list[Clean]) -> Iterator[np.ndarray]:
    """What comes out, without what comes too early, and a little silence behind it."""
    late = sum(LATE.get(step, 0) for step in steps)
    floor_db = noise_db(samples) if Clean.DENOISE in steps else LOWEST_DB
    graph = _graph([(name, options.format(floor_db=floor_db)) for name, options in map(FILTERS.__getitem__, steps)])
    n_early = late
    for start in range(0, samples.size + late, PIECE):
        part = samples[start : start + PIECE]
        n_missing = min(PIECE, samples.size + late - start) - part.size
        part = np.concatenate([part, np.zeros(n_missing, np.float32)]) if n_missing else part
        graph.push(_frame(part, start))
        for piece in _pull(graph):
            yield piece[n_early:]
            n_early = max(0, n_early - piece.size)
    graph.push(None)
    for piece in _pull(graph):
        yield piece[n_early:]
        n_early = max(0, n_early - piece.size)


def noise_db(samples: np.ndarray) -> float:
    """How loud it is where nobody speaks, in dB of full scale; digital silence, which has no noise, does not count."""
    n = samples.size // FRAME
    power = np.concatenate(
        [np.square(part.reshape(-1, FRAME)).mean(axis=1) for part in _whole_frames(samples[: n * FRAME])] or [[]]
    )
    power = power[power > 10 ** (LOWEST_DB / 10)]
    if not power.size:
        return LOWEST_DB
    return float(min(HIGHEST_DB, 10 * np.log10(np.percentile(power, PAUSES))))


def _whole_frames(samples: np.ndarray) -> Iterator[np.ndarray]:
    size = PIECE // FRAME * FRAME or FRAME
    return (samples[i : i + size] for i in range(0, samples.size, size))


def _frame(part: np.ndarray, at: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part)[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    frame.time_base = Fraction(1, SAMPLE_RATE)
    frame.pts = at
    return frame


def _graph(filters: Iterable[tuple[str, str]]) -> Any:
    graph = av.filter.Graph()
    rate = str(SAMPLE_RATE)
    nodes = [
        graph.add("abuffer", sample_rate=rate, sample_fmt="flt", channel_layout="mono", time_base=f"1/{rate}"),
        *(graph.add(name, options) for name, options in filters),
        graph.add("aformat", sample_rates=rate, sample_fmts="flt", channel_layouts="mono"),
        graph.add("abuffersink"),
    ]
    for before, after in pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return graph


def _pull(graph: Any) -> Iterator[np.ndarray]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield np.frombuffer(frame.planes[0], np.float32, frame.samples)
