"""The scorer of speakers agrees with pyannote.metrics; conversations are what they say."""

from __future__ import annotations

import random
from itertools import permutations

import numpy as np
import pytest
from bench.conversations import conversation
from bench.diarization_score import Turn, best_pairs, jaccard, read_rttm, score

# of pyannote.metrics 4.2.0 on `drawn`: no collar, that without overlap, 0.25 s either side, that without overlap; JER
THEIRS = [
    (0.948055, 0.948767, 0.899166, 0.862174, 0.94587),
    (1.131548, 1.131548, 1.182691, 1.182691, 0.66134),
    (10.706494, 10.706494, 12.229436, 12.229436, 0.854752),
    (5.120481, 5.692938, 7.067652, 7.067652, 0.784811),
    (4.461221, 6.180335, 7.659535, 8.834991, 0.891849),
    (0.953552, 1.130628, 1.017397, 1.153403, 0.814315),
]


def drawn(seed: int) -> tuple[list[Turn], list[Turn]]:
    draw = random.Random(seed)

    def some(n: int, names: str) -> list[Turn]:
        out = []
        for name in names:
            at = draw.uniform(0, 5)
            for _ in range(n):
                length = draw.uniform(0.1, 4)
                out.append((at, at + length, name))
                at += length + draw.uniform(0.2, 6)
        return out

    reference = some(draw.randint(1, 6), "abcd"[: draw.randint(1, 4)])
    return reference, some(draw.randint(1, 6), "wxyz"[: draw.randint(1, 4)])


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_pyannotes(seed: int) -> None:
    reference, found = drawn(seed)
    part = (0.0, max(turn[1] for turn in (*reference, *found)) + 1)
    ours = [
        score(reference, found, collar_s=collar_s, skip_overlap=skips, part=part).der
        for collar_s in (0.0, 0.25)
        for skips in (False, True)
    ]
    assert (*ours, jaccard(reference, found)) == pytest.approx(THEIRS[seed], abs=2e-6)


def test_what_is_right_has_no_error_and_names_do_not_matter() -> None:
    reference = [(0.0, 2.0, "a"), (1.5, 4.0, "b")]
    found = [(start, end, {"a": "x", "b": "y"}[name]) for start, end, name in reference]
    assert score(reference, found).der == 0 and jaccard(reference, found) == pytest.approx(0)
    assert score(reference, []).der == 1


def test_pairs_are_the_best_of_all() -> None:
    draw = random.Random(3)
    for n, m in ((1, 1), (2, 4), (4, 2), (5, 5)):
        gains = [[draw.random() for _ in range(m)] for _ in range(n)]
        best = max(
            sum(gains[i][j] for i, j in zip(rows, columns, strict=False))
            for rows in permutations(range(n))
            for columns in permutations(range(m))
        )
        pairs = best_pairs(gains)
        assert len(pairs) == min(n, m) and sum(gains[i][j] for i, j in pairs) == pytest.approx(best)


def test_rttm_is_read() -> None:
    line = "SPEAKER talk 1 1.500 2.000 <NA> <NA> Anna <NA> <NA>\n"
    assert read_rttm([line, "SPKR-INFO talk 1 <NA>", ""]) == {"talk": [(1.5, 3.5, "Anna")]}


def test_a_conversation_is_the_same_each_time_and_its_turns_hold_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import conversations

    from sottovoce.audio.vad import Span

    monkeypatch.setattr(conversations.vad, "speech", lambda samples, _: [Span(0, 16_000), Span(24_000, 40_000)])
    clips = {name: [np.full(48_000, 0.1, np.float32)] * 4 for name in "abc"}
    first, again = conversation(clips, 2, 12.0, 5), conversation(clips, 2, 12.0, 5)
    assert first.turns == again.turns and np.array_equal(first.samples, again.samples)
    assert len({name for *_, name in first.turns}) == 2
    for start, end, _ in first.turns:
        assert np.abs(first.samples[round(start * 16_000) + 200 : round(end * 16_000) - 200]).min() > 0.02
