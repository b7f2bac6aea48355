"""Waveform -> who speaks when. Knows no file, no name, no word.

    recording -> windows (activity.py: who is active, told apart in a window) -> a voice for each of them (voices.py)
              -> speakers (clusters.py) -> each window's speakers by voice -> one line of frames -> turns

Two speakers of one window are two speakers. How many speak at a moment is what the windows that hear it say on
average, and who they are is whom those windows, most of all those in whose middle it lies, make most probable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from sottovoce.audio import activity, clusters
from sottovoce.audio.activity import FRAME, N_FRAMES, N_LOCAL
from sottovoce.audio.clusters import Number
from sottovoce.audio.voices import FAINT, WIDTH, Voices
from sottovoce.types import SAMPLE_RATE

STEP = 296 * FRAME  # samples from window to window (5.0 s), whole frames: every moment is heard twice
# Tuned on 36 conversations of telephone prompts, synthetic voices and readers, none of them in bench/diarization.py's
# HELD_OUT (docs/log.md), 2026-11
LIKENESS = 0.75  # of voices, below which they are two speakers'; down to 0.66 the same for people, worse for machines
SAME = 0.86  # of speakers' mean voices, above which they are one; 0.82 to 0.90
CLEAR_S = 1.2  # of a voice alone that is enough to make speakers from
TOLD_S = 0.9  # that is enough to tell that a stretch is another speaker's than the rest of its window's speaker
MARGIN = 0.05  # by which it is more like that one; without this, DER is 2.5 points higher
GAP_S = 0.3  # in a turn
SHORT_S = 0.1  # what is shorter is no turn
ROUNDS = 2  # in which speakers' voices become the means of what is theirs
FAINT_S = FAINT / SAMPLE_RATE
LEAST_S = 4.0  # that make a speaker of a long recording
LEAST_SHARE = 0.05  # of all that is said that makes a speaker of a short one
LEAST_OF_ALL_S = 0.8
LEAST_OF_LONG = 0.005  # of all that is said: in an hour many a laugh adds up
PAUSE_FRAMES = 18  # without the speaker that end a stretch (0.3 s)
N_SOUNDS = 24  # of voices that are heard together
N_FRAMES_RANKED = 1 << 16  # frames whose speakers are ranked at a time
N_AT_ONCE = 1500  # voices that are compared with each other: 9 MB; of longer recordings every so-and-so-many


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the bench tries; users are given these numbers."""

    likeness: float = LIKENESS
    clear_s: float = CLEAR_S
    told_s: float = TOLD_S
    margin: float = MARGIN
    least_s: float = LEAST_S
    least_share: float = LEAST_SHARE
    gap_s: float = GAP_S
    short_s: float = SHORT_S
    rounds: int = ROUNDS
    same: float = SAME


@dataclass(frozen=True, slots=True)
class Spoken:
    """Somebody speaks, in samples [start, end). speaker: a number, 0 is who speaks first."""

    start: int
    end: int
    speaker: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Turns by their start, and (k, C) the voice of each speaker."""

    turns: tuple[Spoken, ...]
    voices: np.ndarray


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a speaker of one window says without a pause, in its frames [start, end). seconds: of a voice alone."""

    i_window: int
    i_local: int
    start: int
    end: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """All windows of a recording: what is left to do is cheap. activity: (F, N_LOCAL) of each, probabilities * 255.

    voices: of the stretches, (n, C); zeros where too little is heard of one.
    """

    n_samples: int
    step: int
    activity: tuple[np.ndarray, ...]
    stretches: tuple[Stretch, ...]
    voices: np.ndarray


Progress = Callable[[float, float], None]


def diarize(
    samples: np.ndarray,
    network: Any,
    voices: Voices,
    number: Number | None = None,
    on_progress: Progress | None = None,
) -> Found:
    """Who speaks when in (N,) float32 samples at 16 kHz.

    on_progress(done_s, all_s) is called as windows have been heard; what it raises ends the work.
    """
    return conclude(hear(samples, network, voices, on_progress=on_progress), number or Number())


def hear(
    samples: np.ndarray, network: Any, voices: Voices, step: int = STEP, on_progress: Progress | None = None
) -> Heard:
    """Who is active in each window, and with which voice. Memory: 2 kB a window, and 1 kB a voice."""
    levels: list[np.ndarray] = []
    stretches: list[Stretch] = []
    found = [np.zeros((0, WIDTH), np.float32)]
    sounds: list[np.ndarray] = []
    n_windows = activity.n_windows(samples.size, step)
    for window in activity.windows(samples, network, step):
        for stretch, sound in _stretches(window, samples, len(levels)):
            stretches.append(stretch)
            sounds.append(sound)
        levels.append(np.round(window.active * 255).astype(np.uint8))
        if len(sounds) >= N_SOUNDS or len(levels) == n_windows:
            found.append(voices.embed(sounds))
            sounds = []
        if on_progress is not None:
            on_progress(min(window.start + activity.WINDOW, samples.size) / SAMPLE_RATE, samples.size / SAMPLE_RATE)
    return Heard(samples.size, step, tuple(levels), tuple(stretches), np.concatenate(found))


def conclude(heard: Heard, number: Number, tuning: Tuning | None = None) -> Found:
    """Who of one window is who of the others, and so when each speaks."""
    t = tuning or Tuning()
    if not heard.stretches:
        return Found((), heard.voices)
    known = _speakers(heard, t, number)
    for _ in range(t.rounds):
        owners = _owners(heard, known, t)
        known = _refined(known, heard, owners)
        theirs = np.bincount(owners, [x.seconds for x in heard.stretches], len(known))
        known = clusters.alike(known, theirs, t.same, number.least)
    line = _line(heard, _owners(heard, known, t), len(known))
    return _in_order(_turns(line, t, heard.n_samples), known)


def _stretches(window: activity.Heard, samples: np.ndarray, i_window: int) -> Iterator[tuple[Stretch, np.ndarray]]:
    """What each speaker of a window says, and the sound of it: where he speaks alone, if he does."""
    active = window.is_active
    alone = active.sum(axis=1) == 1
    for i in range(N_LOCAL):
        for start, end in _joined(active[:, i], PAUSE_FRAMES):
            mine = np.zeros(N_FRAMES, bool)
            mine[start:end] = active[start:end, i]
            clear = mine & alone
            seconds = float(clear.sum() * FRAME / SAMPLE_RATE)
            enough = seconds >= FAINT_S
            yield (
                Stretch(i_window, i, start, end, seconds if enough else 0.0),
                _sound_of(clear if enough else mine, window.start, samples),
            )


def _sound_of(frames: np.ndarray, start: int, samples: np.ndarray) -> np.ndarray:
    """The sound of those frames of a window, put together."""
    middle = start + (activity.FIELD - FRAME) // 2
    pieces = [samples[middle + a * FRAME : middle + b * FRAME] for a, b in _runs(frames)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _runs(frames: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of each stretch of true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], frames.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _joined(frames: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """[start, end) of stretches of true, those with gaps of fewer frames between them as one."""
    found: list[tuple[int, int]] = []
    for start, end in _runs(frames):
        if found and start - found[-1][1] < gap:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def _speakers(heard: Heard, t: Tuning, number: Number) -> np.ndarray:
    """(k, C) the voices of the speakers."""
    seconds = np.array([x.seconds for x in heard.stretches])
    i_windows = np.array([x.i_window for x in heard.stretches])
    i_locals = np.array([x.i_local for x in heard.stretches])
    clear = np.flatnonzero(seconds >= t.clear_s)
    if len(clear) < max(2, number.least):
        clear = np.argsort(-seconds, kind="stable")[: max(2, number.least, len(clear))]
    if len(clear) > N_AT_ONCE:
        clear = clear[np.linspace(0, len(clear) - 1, N_AT_ONCE).astype(int)]
    share = seconds[clear].sum() / max(1e-9, seconds[seconds >= t.clear_s].sum())
    apart = (i_windows[clear][:, None] == i_windows[clear]) & (i_locals[clear][:, None] != i_locals[clear])
    # windows overlap, so that sound is heard more than once
    weights = np.maximum(seconds[clear], 1e-3) * min(1.0, heard.step / activity.WINDOW) / max(share, 1e-3)
    all_s = float(weights.sum())
    least_s = max(min(t.least_s, max(t.least_share * all_s, LEAST_OF_ALL_S)), LEAST_OF_LONG * all_s)
    return clusters.speakers(heard.voices[clear], weights, apart, t.likeness, least_s, number)


def assign(likeness: np.ndarray, i_windows: np.ndarray) -> np.ndarray:
    """(n,) speaker of each voice: in every window those who are most alike in all, no two the same.

    likeness: (n, k). i_windows: (n,) ascending. Where a window has more voices than there are speakers, some share.
    """
    owners: np.ndarray = likeness.argmax(axis=1)
    n_speakers = likeness.shape[1]
    starts = np.flatnonzero(np.diff(i_windows, prepend=-1))
    for a, b in zip(starts, [*starts[1:], len(i_windows)], strict=True):
        taken = owners[a:b]
        if len(set(taken.tolist())) == b - a:
            continue
        rows = likeness[a:b]
        if n_speakers < b - a:
            continue
        near = np.unique(np.argsort(-rows, axis=1)[:, : b - a])
        best = max(permutations(near, int(b - a)), key=lambda p: sum(rows[i, k] for i, k in enumerate(p)))
        owners[a:b] = best
    return owners


def _owners(heard: Heard, known: np.ndarray, t: Tuning) -> np.ndarray:
    """(n,) speaker of each stretch: its window's speaker's, but another's if it is clearly more like his voice."""
    keys = [(x.i_window, x.i_local) for x in heard.stretches]
    locals_ = sorted(set(keys))
    number = {key: i for i, key in enumerate(locals_)}
    of = np.array([number[key] for key in keys])
    seconds = np.array([x.seconds for x in heard.stretches])
    means = np.zeros((len(locals_), known.shape[1]), np.float32)
    np.add.at(means, of, heard.voices * np.maximum(seconds, 0.05)[:, None].astype(np.float32))
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    owners = assign(means @ known.T, np.array([i for i, _ in locals_]))[of]
    likeness = heard.voices @ known.T
    nearest = likeness.argmax(axis=1)
    rows = np.arange(len(of))
    strays = (seconds >= t.told_s) & (likeness[rows, nearest] - likeness[rows, owners] > t.margin)
    found: np.ndarray = np.where(strays, nearest, owners)
    return found


def _refined(known: np.ndarray, heard: Heard, owners: np.ndarray) -> np.ndarray:
    """The speakers' voices as the mean of what was said to be theirs."""
    out = known.copy()
    seconds = np.array([x.seconds for x in heard.stretches], np.float32)
    for k in range(len(known)):
        mean = seconds[owners == k] @ heard.voices[owners == k]
        if np.linalg.norm(mean) > 0:
            out[k] = mean / np.linalg.norm(mean)
    return out


def _line(heard: Heard, owners: np.ndarray, k: int) -> np.ndarray:
    """(frames, k) bool: who speaks in each frame of the recording; frame i of the line is i * FRAME after the first."""
    stride = heard.step // FRAME
    n = (len(heard.activity) - 1) * stride + N_FRAMES
    who, count, seen = np.zeros((n, k), np.float32), np.zeros(n, np.float32), np.zeros(n, np.float32)
    trust = np.minimum(1, (0.5 + np.minimum(np.arange(N_FRAMES), np.arange(N_FRAMES)[::-1])) / (N_FRAMES / 4))
    trust = trust.astype(np.float32)
    for i, active in enumerate(heard.activity):
        part = slice(i * stride, i * stride + N_FRAMES)
        seen[part] += trust
        count[part] += trust * active.sum(axis=1, dtype=np.float32) / 255
    for x, owner in zip(heard.stretches, owners, strict=True):
        start = x.i_window * stride
        level = heard.activity[x.i_window][x.start : x.end, x.i_local].astype(np.float32) / 255
        who[start + x.start : start + x.end, owner] += trust[x.start : x.end] * level
    n_active = np.minimum(np.round(count / seen), k).astype(int)
    n_active = np.minimum(n_active, np.count_nonzero(who > 0, axis=1))
    speaks = np.empty((n, k), bool)
    for i in range(0, n, N_FRAMES_RANKED):  # ranks take eight times as much memory as what they tell
        part = slice(i, i + N_FRAMES_RANKED)
        rank = np.argsort(np.argsort(-who[part], axis=1, kind="stable"), axis=1, kind="stable")
        speaks[part] = rank < n_active[part, None]
    return speaks


def _turns(line: np.ndarray, t: Tuning, n_samples: int) -> list[Spoken]:
    """Stretches of each speaker; gaps in them shorter than gap_s are closed, and what is shorter than short_s falls."""
    turns = []
    offset = (activity.FIELD - FRAME) // 2
    for k in range(line.shape[1]):
        for a, b in _joined(line[:, k], round(t.gap_s * SAMPLE_RATE / FRAME)):
            start, end = a * FRAME + offset, min(b * FRAME + offset, n_samples)
            if end - start >= t.short_s * SAMPLE_RATE:
                turns.append(Spoken(0 if a == 0 else start, end, k))
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def _in_order(turns: list[Spoken], voices: np.ndarray) -> Found:
    """Speakers counted by when they speak first; who never does is left out."""
    order = list(dict.fromkeys(turn.speaker for turn in turns))
    number = {speaker: i for i, speaker in enumerate(order)}
    return Found(tuple(Spoken(x.start, x.end, number[x.speaker]) for x in turns), voices[order])
