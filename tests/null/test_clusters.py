"""Voices become speakers: on points in space, no network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.audio import clusters
from sottovoce.audio.clusters import Number


def voices(n_speakers: int, n_each: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(voices, speaker of each): directions in space, shuffled."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(64, n_speakers)))[0].T
    owners = rng.permutation(np.repeat(np.arange(n_speakers), n_each))
    found = centres[owners] + spread * rng.normal(size=(len(owners), 64)) / 8
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32), owners


def nobody_apart(n: int) -> np.ndarray:
    return np.zeros((n, n), bool)


def plain_tree(found: np.ndarray, weights: np.ndarray) -> list[float]:
    """The slow twin: every mean cosine of every pair of groups, anew for each merge."""
    groups = [[i] for i in range(len(found))]
    like = found @ found.T
    heights = []
    while len(groups) > 1:
        best = max(
            (np.average(like[np.ix_(a, b)], weights=np.outer(weights[a], weights[b])), i, j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups)
            if i < j
        )
        heights.append(float(best[0]))
        groups[best[1]] += groups.pop(best[2])
    return heights


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 24), st.integers(0, 99))
def test_merges_are_those_of_the_plain_loop(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(n, 5)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    weights = rng.uniform(0.5, 3, n)
    fast = [merge.likeness for merge in clusters.tree(found, weights, nobody_apart(n))]
    assert fast == pytest.approx(plain_tree(found, weights), abs=1e-5)


@pytest.mark.parametrize("n_speakers", [1, 2, 5])
def test_the_number_of_speakers_is_found(n_speakers: int) -> None:
    found, owners = voices(n_speakers, 12, 0.4)
    labels = clusters.cut(
        clusters.tree(found, np.ones(len(found)), nobody_apart(len(found))), np.ones(len(found)), 0.6, 3, Number()
    )
    assert len(set(zip(owners.tolist(), labels.tolist(), strict=True))) == n_speakers == labels.max() + 1


@pytest.mark.parametrize(
    ("number", "expected"), [(Number(2, 2), 2), (Number(6, 6), 6), (Number(5), 5), (Number(1, 3), 3)]
)
def test_a_number_that_is_given_is_kept_to(number: Number, expected: int) -> None:
    found, _ = voices(4, 12, 0.4)
    known = clusters.speakers(found, np.ones(48), nobody_apart(48), 0.6, 1, number)
    assert len(known) == expected


def test_who_was_told_apart_is_not_merged_while_anything_else_can_be() -> None:
    found, _ = voices(1, 6, 0.3)
    apart = nobody_apart(6)
    apart[0, 1] = apart[1, 0] = True
    labels = clusters.cut(clusters.tree(found, np.ones(6), apart), np.ones(6), 0.2, 1, Number(1, 2))
    assert labels[0] != labels[1]


def test_somebody_heard_for_a_moment_is_no_speaker() -> None:
    found, owners = voices(3, 8, 0.3)
    weights = np.where(owners == 2, 0.1, 2.0)
    labels = clusters.cut(clusters.tree(found, weights, nobody_apart(24)), weights, 0.6, 2, Number())
    assert labels.max() + 1 == 2
    assert set(labels[owners == 2].tolist()) == {-1}


def test_speakers_whose_means_are_alike_are_one_but_not_below_the_least() -> None:
    one, other = np.eye(2, dtype=np.float32)
    near = np.array([0.95, np.sqrt(1 - 0.95**2)], np.float32)
    many = np.stack([one, near, other])
    assert len(clusters.alike(many, np.ones(3), 0.9, 1)) == 2
    assert len(clusters.alike(many, np.ones(3), 0.9, 3)) == 3
