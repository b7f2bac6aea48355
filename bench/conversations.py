"""Conversations with known turns, made of clips by one speaker each: who speaks when is true by construction.

A turn is one to three stretches of speech of a clip, as they follow one another there. The next turn is another
speaker's; it begins after a pause, or before this one has ended. Every speaker is as loud as the draw has it. The
reference is the speech that the detector finds in the clean clip, because books are read with pauses.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from bench.diarization_score import Turn

from sottovoce.audio import vad
from sottovoce.types import SAMPLE_RATE

PAUSE_S = (0.1, 1.2)
OVERLAP_S = (0.2, 1.0)
P_OVERLAP = 0.2  # of turns that begin before the one before has ended
GAIN_DB = 4.0  # either way
NOISE_DB = -60.0  # below full scale, white
SPEECH = vad.VadOptions(min_silence_duration_ms=300, min_speech_duration_ms=200, speech_pad_ms=60)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What somebody says without a long pause. spans: of speech, in samples."""

    samples: np.ndarray
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """samples: (N,) float32 at 16 kHz. turns: the reference."""

    name: str
    samples: np.ndarray
    turns: tuple[Turn, ...]


def pieces(samples: np.ndarray, draw: random.Random) -> list[Piece]:
    """A clip in turns, in its order."""
    spans = vad.speech(samples, SPEECH)
    found = []
    i = 0
    while i < len(spans):
        some = spans[i : i + draw.choice((1, 1, 2, 3))]
        start, end = some[0].start, some[-1].end
        found.append(Piece(samples[start:end], tuple((s.start - start, s.end - start) for s in some)))
        i += len(some)
    return found


def conversation(
    clips: Mapping[str, Sequence[np.ndarray]], n_speakers: int, length_s: float, seed: int
) -> Conversation:
    """n_speakers of those who have clips, drawn, in turns until length_s is reached or nobody has anything to say."""
    draw = random.Random(seed)
    names = draw.sample(sorted(clips), n_speakers)
    stock = {}
    for name in names:
        gain = np.float32(10 ** (draw.uniform(-GAIN_DB, GAIN_DB) / 20))
        order = list(clips[name])
        draw.shuffle(order)
        stock[name] = [Piece(p.samples * gain, p.spans) for clip in order for p in pieces(clip, draw)]
    out = np.zeros(round((length_s + 60) * SAMPLE_RATE), np.float32)
    turns: list[Turn] = []
    at, last = SAMPLE_RATE // 2, ""
    while at < length_s * SAMPLE_RATE:
        able = [name for name in names if stock[name] and name != last]
        if not able:
            break
        last = draw.choice(able)
        piece = stock[last].pop(0)
        shift_s = -draw.uniform(*OVERLAP_S) if turns and draw.random() < P_OVERLAP else draw.uniform(*PAUSE_S)
        start = max(0, at + round(shift_s * SAMPLE_RATE))
        sound = piece.samples[: out.size - start]
        out[start : start + sound.size] += sound
        turns += [((start + a) / SAMPLE_RATE, (start + b) / SAMPLE_RATE, last) for a, b in piece.spans]
        at = max(at, start + sound.size)
    noise = np.random.default_rng(seed).normal(0, 10 ** (NOISE_DB / 20), at + SAMPLE_RATE)
    samples = out[: at + SAMPLE_RATE] + noise[: out[: at + SAMPLE_RATE].size].astype(np.float32)
    return Conversation(f"{n_speakers} speakers, seed {seed}", samples, tuple(sorted(turns)))
