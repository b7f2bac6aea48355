"""Voices -> whose they are: those that are alike become one speaker. Knows no sound, no window's length, no name.

Pairs are merged from the most alike on (average linkage of cosines). Two voices that were told apart in one window are
never merged while anything else can be. How far it goes: to a likeness, or to a number of speakers. A speaker counts
if he is heard for long enough; what is left over goes to the speaker it is most like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Number:
    """How many speakers there may be."""

    least: int = 1
    most: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Merge:
    """One step: group b is taken into group a; likeness: their mean cosine."""

    a: int
    b: int
    likeness: float


def speakers(
    voices: np.ndarray, weights: np.ndarray, apart: np.ndarray, likeness: float, least: float, number: Number
) -> np.ndarray:
    """(k, C) float32 of length 1: the voices of the speakers, the one who is heard most first.

    voices: (n, C) of length 1, n > 0. weights: (n,) seconds of each. apart: (n, n) bool, surely not the same.
    likeness: groups less alike than this are two speakers. least: seconds that make a speaker.
    """
    merges = tree(voices, weights, apart)
    labels = cut(merges, weights, likeness, least, number)
    means = np.stack([weights[labels == k] @ voices[labels == k] for k in range(labels.max() + 1)])
    found: np.ndarray = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return found


def tree(voices: np.ndarray, weights: np.ndarray, apart: np.ndarray) -> list[Merge]:
    """Every merge down to one group, the most alike first; what is apart is merged last. Memory: 4 n**2 bytes."""
    n = len(voices)
    like = (voices @ voices.T).astype(np.float32)
    like[apart] -= 4  # below every cosine, so that averages stay below too
    np.fill_diagonal(like, -np.inf)
    mass = weights.astype(np.float64).copy()
    best = like.argmax(axis=1)
    best_like = like[np.arange(n), best]
    merges = []
    for _ in range(n - 1):
        a = int(best_like.argmax())
        b = int(best[a])
        a, b = min(a, b), max(a, b)
        merges.append(Merge(a, b, float(like[a, b])))
        together = (mass[a] * like[a] + mass[b] * like[b]) / (mass[a] + mass[b])
        crossed = (like[a] < -1) | (like[b] < -1)  # who was apart from one of them is apart from both
        together[crossed] = np.minimum(together[crossed], -2)
        together[[a, b]] = -np.inf
        mass[a] += mass[b]
        like[a] = like[:, a] = together
        like[b] = like[:, b] = -np.inf
        best_like[b] = -np.inf
        stale = np.flatnonzero((best == a) | (best == b))
        for i in {int(i) for i in stale if i != b} | {a}:
            best[i] = like[i].argmax()
            best_like[i] = like[i, best[i]]
        closer = like[a] > best_like
        closer[[a, b]] = False
        best[closer], best_like[closer] = a, like[a, closer]
    return merges


def cut(merges: list[Merge], weights: np.ndarray, likeness: float, least: float, number: Number) -> np.ndarray:
    """(n,) speaker of each voice, counted from 0 by how long they are heard; -1: of none that counts."""
    mass = weights.astype(np.float64).copy()
    n_speakers = int((mass >= least).sum())
    counts = [n_speakers]  # after so many merges
    for merge in merges:
        n_speakers -= int(mass[merge.a] >= least) + int(mass[merge.b] >= least)
        mass[merge.a] += mass[merge.b]
        mass[merge.b] = 0
        n_speakers += int(mass[merge.a] >= least)
        counts.append(n_speakers)
    wanted = next((i for i, merge in enumerate(merges) if merge.likeness < likeness), len(merges))
    good = [i for i, count in enumerate(counts) if number.least <= count <= number.most]
    if not good:  # nobody, or not so many, are heard for so long: as near as can be
        near = [min(max(c, number.least), number.most) - c for c in counts]
        good = [i for i, d in enumerate(near) if abs(d) == min(map(abs, near))]
    n_merges = min(good, key=lambda i: (abs(i - wanted), -i))
    owner = np.arange(len(weights))
    for merge in merges[:n_merges]:
        owner[owner == merge.b] = merge.a
    groups, members = np.unique(owner, return_inverse=True)
    heard = np.bincount(members, weights, len(groups))
    by_mass = np.argsort(-heard, kind="stable")
    n_kept = max(1, int((heard >= least).sum()))
    rank = np.full(len(groups), -1)
    rank[by_mass[:n_kept]] = np.arange(n_kept)
    return rank[members]


def alike(speakers: np.ndarray, weights: np.ndarray, likeness: float, least: int) -> np.ndarray:
    """(k, C) voices of speakers, those that are alike made one, down to least of them. weights: (k,) seconds of each.

    What is the mean of much is told apart more surely than what it is made of, so that likeness is higher here.
    """
    found, mass = speakers.astype(np.float32).copy(), weights.astype(np.float64).copy()
    while len(found) > max(1, least):
        like = found @ found.T
        np.fill_diagonal(like, -np.inf)
        a, b = np.unravel_index(int(like.argmax()), like.shape)
        if like[a, b] < likeness:
            break
        mean = mass[a] * found[a] + mass[b] * found[b]
        found[a] = mean / max(float(np.linalg.norm(mean)), 1e-9)
        mass[a] += mass[b]
        found, mass = np.delete(found, b, axis=0), np.delete(mass, b)
    return found
