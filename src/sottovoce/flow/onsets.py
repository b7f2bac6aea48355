"""Where words begin and end in the sound, near where attention says. Pure: numbers only, no token, no window.

Attention knows which words come one after another and roughly when; the sound knows when somebody pauses, and where
its loudness falls and rises. Each gap between two words is put where both agree, all gaps of a window at once:

    loudness    ____.o0o.__.oo0oo.______.oo.___
    pauses      [--]              [----]    [-]      quieter than speech nearby, or no speech to the detector
    attention      |     |        |        |         too early or too late by about the same in all of a checkpoint
    gaps        [--]     |        [----]    [-]      a pause, or one frame

The cheapest way through all gaps is taken. A gap costs what it is away from attention, and what sounds unlike one; a
word costs the pauses inside it. Tuned on even recordings of bench/timed.py, base, base.en, tiny and tiny.en.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sottovoce.types import SAMPLE_RATE

FRAME = 160  # samples of a frame (10 ms); a gap lies between two
FRAMES_PER_S = SAMPLE_RATE // FRAME
CLEAR_DB = 32.0  # from noise to speech: loudness tells pauses,
AROUND_SPEECH = 10  # and so many frames on either side of what the detector finds may be speech too
SHORTEST_PAUSE = 6  # frames
NEARBY = 75  # frames on either side, of which the loudest says how loud speech is
FAINTEST_DB = 25.0  # below the window's speech: so faint it may be nearby
ABOVE_NOISE_DB = 4.0  # what is no louder is noise
OVER_NOISE = 0.35  # of the way from noise to speech (dB): what is below is a pause,
MOST_BELOW_DB, LEAST_BELOW_DB = 35.0, 22.0  # but so far below speech at most, and at least
SWAY = 6.0  # frames that attention strays
RADIUS = 15  # frames around attention where a gap without a pause may be,
REACH = 80  # and where a pause
FAR, FARTHER = 3.0, 0.2  # a pause costs no more than FAR, but for so much of the rest of its distance
PAUSE = -1.0  # cost of a gap that is a pause
DIP, RISE = 0.5, 0.3  # weight of being quieter than all around (per 6 dB), of growing louder (likewise)
IN_WORD, FREE_S = 30.0, 0.08  # cost of a second of pause inside a word; of as much as a stop closes, none
SHORTEST_WORD = 8  # frames
TOO_SHORT, PER_FRAME = 50.0, 1.0  # cost of a shorter word, and of each frame that it lacks
LAGS_S = (-0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.12, 0.16, 0.2)  # that are tried where nobody has measured it,
USUAL_LAG_S, UNSURE = 0.04, 1.0  # and the cost of a second away from the usual one, for each gap
SHIFTS_S, SURE = (0.0, -0.03, 0.03, -0.06, 0.06), 3.0  # that are tried where it is known, and their cost
FLOOR = 1e-9  # of power: -90 dB


@dataclass(frozen=True, slots=True)
class Track:
    """The sound of a window, at the edges of its frames (F + 1). level: dB. still: seconds of pauses before an edge.

    pauses: (first edge, last edge) of each, in order. in_pause: is the edge inside of one?
    """

    level: np.ndarray
    unlike: np.ndarray
    still: np.ndarray
    in_pause: np.ndarray
    pauses: tuple[tuple[int, int], ...]

    @property
    def n_frames(self) -> int:
        return len(self.level) - 1


def track(samples: np.ndarray, speech: Sequence[tuple[int, int]]) -> Track:
    """What is heard in (N,) samples. speech: samples [start, end) in which the detector finds it; the rest is pause."""
    n = max(1, len(samples) // FRAME)
    sound = np.zeros(n * FRAME, np.float32)
    sound[: min(len(samples), n * FRAME)] = samples[: n * FRAME]
    power = np.square(sound.reshape(n, FRAME)).mean(axis=1)
    edges = np.concatenate([power[:1], (power[1:] + power[:-1]) / 2, power[-1:]])
    level = 10 * np.log10(edges + FLOOR)
    noise, speech_db = np.percentile(level, 10), np.percentile(level, 95)
    nearby = sliding_window_view(np.pad(level, NEARBY, mode="edge"), 2 * NEARBY + 1).max(axis=1)
    loud = np.minimum(np.maximum(nearby - 2, max(noise + 10, speech_db - FAINTEST_DB)), speech_db + 6)
    quiet = level < np.clip(noise + OVER_NOISE * (loud - noise), loud - MOST_BELOW_DB, loud - LEAST_BELOW_DB)
    quiet |= level < min(noise + ABOVE_NOISE_DB, speech_db - LEAST_BELOW_DB)
    spoken = np.zeros(n + 1, bool)
    around = AROUND_SPEECH if speech_db - noise > CLEAR_DB else 0
    for start, end in speech:
        spoken[max(0, start // FRAME - around) : end // FRAME + around + 2] = True
    quiet |= ~spoken
    turns = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
    # an edge is quiet between two quiet frames only: the pause reaches to the next edge that is not
    pauses = tuple(
        (max(0, int(a) - 1), min(n, int(b)))
        for a, b in zip(turns[::2], turns[1::2], strict=True)
        if b - a >= SHORTEST_PAUSE or a == 0 or b == n + 1
    )
    in_pause, silent = np.zeros(n + 1, bool), np.zeros(n + 1)
    for a, b in pauses:
        in_pause[a + 1 : b] = True
        silent[a + 1 : b + 1] = 1 / FRAMES_PER_S
    nearly = np.convolve(np.pad(level, 10, mode="edge"), np.full(21, 1 / 21), "valid")
    rise = np.zeros(n + 1)
    if n > 6:
        rise[3:-3] = (level[6:] + level[5:-1] - level[:-6] - level[1:-5]) / 2
    unlike = DIP * np.clip((level - nearly) / 6, -2, 1.5) - RISE * np.clip(rise / 6, -1, 2)
    return Track(level, unlike, np.cumsum(silent), in_pause, pauses)


def place(heard: Track, attended: Sequence[tuple[float, float]], lag_s: float | None) -> list[tuple[float, float]]:
    """Start and end of each word in seconds from the window's beginning: in order, none empty, none over another.

    attended: start and end of each word by attention. lag_s: how much later words are than attention says, a property
    of the checkpoint; None: nobody knows, and what fits the sound best is taken.
    """
    if not attended:
        return []
    times = np.array(attended) * FRAMES_PER_S  # (n, 2)
    # between two words attention may be at marks, which are not spoken: anywhere there is as good
    gaps = np.stack([np.append(times[:1, 0], times[:, 1]), np.append(times[:, 0], times[-1:, 1])], axis=1)
    known = lag_s is not None
    usual, price = (lag_s, SURE) if lag_s is not None else (USUAL_LAG_S, UNSURE)
    tried = []
    for lag in (usual + shift for shift in SHIFTS_S) if known else LAGS_S:
        cost, edges = _cheapest(heard, gaps + lag * FRAMES_PER_S)
        tried.append((cost + price * abs(lag - usual) * len(gaps), edges))
    return _spread(min(tried, key=lambda x: x[0])[1], heard.n_frames)


def _cheapest(heard: Track, gaps: np.ndarray) -> tuple[float, list[tuple[int, int]]]:
    """The way through all gaps: its cost, and (start, end) of each word in frames. gaps: (n + 1, 2) by attention."""
    last = len(gaps) - 1
    before: list[tuple[np.ndarray, np.ndarray]] = []  # starts of the word after each gap, and the way to them
    ends, starts, cost = _choices(heard, *gaps[0], of_end=False, of_start=True)
    found_ends = []
    for g in range(1, last + 1):
        ends, after, price = _choices(heard, *gaps[g], of_end=True, of_start=g < last)
        best, way = _cheapest_word(heard, starts, cost, ends)
        before.append((starts, best))
        found_ends.append(ends)
        starts, cost = after, way + price
    i = int(cost.argmin())
    total, edges = float(cost[i]), []
    for ends, (starts, best) in zip(found_ends[::-1], before[::-1], strict=True):
        edges.append((int(starts[best[i]]), int(ends[i])))
        i = int(best[i])
    return total, edges[::-1]


def _cheapest_word(
    heard: Track, starts: np.ndarray, cost: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each end of a word: which start is best, and what the way to it costs. cost: of the way to each start."""
    still_before, still_after = heard.still[starts], heard.still[ends]
    pauses = float(still_after.max() - still_before.min()) > FREE_S  # else none is in any word
    short = int(ends.min() - starts.max()) < SHORTEST_WORD  # else none is too short
    if not pauses and not short:
        best = int(cost.argmin())
        return np.full(len(ends), best), np.full(len(ends), cost[best])
    way = np.repeat(cost[:, None], len(ends), axis=1)
    if pauses:
        way += IN_WORD * np.maximum(0, still_after[None, :] - still_before[:, None] - FREE_S)
    if short:
        lacking = SHORTEST_WORD - (ends[None, :] - starts[:, None])
        way += np.where(lacking > 0, TOO_SHORT + PER_FRAME * lacking, 0)
    best = way.argmin(axis=0)
    return best, way[best, np.arange(len(ends))]


def _choices(
    heard: Track, first: float, last: float, *, of_end: bool, of_start: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a gap may be that attention puts in [first, last]: ends of the word before, starts of the next, costs."""
    n = heard.n_frames
    low, high = max(0, round(first - RADIUS)), min(n, round(last + RADIUS))
    at = np.arange(low, high + 1)
    at = at[~heard.in_pause[at]] if high >= low else at[:0]
    away = np.maximum(0, np.maximum(first - at, at - last)) / SWAY
    costs = np.minimum(away, FAR + FARTHER * away) + heard.unlike[at]
    near = [(a, b) for a, b in heard.pauses if a - last < REACH and first - b < REACH]
    if near:
        a, b = np.array(near).T
        away = np.maximum(0, np.maximum(a - last, first - b)) / SWAY
        costs = np.concatenate([costs, np.minimum(away, FAR + FARTHER * away) + PAUSE])
        return np.concatenate([at, a if of_end else b]), np.concatenate([at, b if of_start else a]), costs
    if not len(at):
        at = np.array([min(max(round((first + last) / 2), 0), n)])
        costs = np.zeros(1)
    return at, at, costs


def spread(times: Sequence[tuple[float, float]], start_s: float, end_s: float) -> list[tuple[float, float]]:
    """Words moved as little as is needed to be inside, in order and with a length."""
    n_frames = round((end_s - start_s) * FRAMES_PER_S)
    edges = [(round((a - start_s) * FRAMES_PER_S), round((b - start_s) * FRAMES_PER_S)) for a, b in times]
    # the last frame may be cut: what is rounded to its end is outside
    return [(min(round(start_s + a, 4), end_s), min(round(start_s + b, 4), end_s)) for a, b in _spread(edges, n_frames)]


def _spread(edges: list[tuple[int, int]], n_frames: int) -> list[tuple[float, float]]:
    """As spread, of frames from the beginning; in seconds."""
    count = len(edges)
    if count > n_frames:
        step = n_frames / count / FRAMES_PER_S
        return [(i * step, (i + 1) * step) for i in range(count)]
    found: list[tuple[int, int]] = []
    at = 0
    for i, (start, end) in enumerate(edges):
        start = min(max(start, at), n_frames - count + i)
        at = min(max(end, start + 1), n_frames - count + i + 1)
        found.append((start, at))
    return [(start / FRAMES_PER_S, end / FRAMES_PER_S) for start, end in found]
