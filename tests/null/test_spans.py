"""Windows hold all speech, are disjoint, in order and at most as long as allowed, however the sound arrives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.audio.vad import FRAME
from sottovoce.flow.spans import LONGEST_PAUSE, MARGIN, OFFSET, ONSET, POSITION, SHORTEST, Stretch, stretches

LONGEST = 30 * 16_000
FRAMES_PER_S = 16_000 / FRAME


def track(*parts: tuple[float, float]) -> np.ndarray:
    """Probabilities of (seconds, probability) one after another."""
    return np.concatenate([np.full(round(s * FRAMES_PER_S), p, np.float32) for s, p in parts])


def sound(heard: np.ndarray) -> np.ndarray:
    """Noise, louder where speech is more probable."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=len(heard) * FRAME).astype(np.float32)
    return noise * np.repeat(0.01 + heard, FRAME).astype(np.float32)


def cut(heard: np.ndarray, block: int = 256, longest: int = LONGEST) -> list[Stretch]:
    blocks = [heard[i : i + block] for i in range(0, len(heard), block)]
    return list(stretches(blocks, sound(heard), longest))


def check(found: Sequence[Stretch], heard: np.ndarray, longest: int = LONGEST) -> None:
    for s in found:
        assert 0 < s.end - s.start <= longest
        assert s.start % POSITION == 0
        assert s.speech and all(s.start <= p.start < p.end <= s.end for p in s.speech)
        assert all(a.end <= b.start for a, b in itertools.pairwise(s.speech))
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    covered = np.zeros(len(heard) * FRAME, bool)
    for s in found:
        covered[s.start : s.end] = True
    for start, end in voiced_runs(heard):
        if end - start >= SHORTEST:
            assert covered[start * FRAME : end * FRAME].all(), f"speech in frames [{start}, {end}) is in no window"


def voiced_runs(heard: np.ndarray) -> Iterator[tuple[int, int]]:
    """The slow twin of the thresholds: a plain loop."""
    start = None
    for i, p in enumerate([*heard.tolist(), 0.0]):
        if p >= ONSET and start is None:
            start = i
        if p < OFFSET and start is not None:
            yield start, i
            start = None


RUNS = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 5, 9, 12, 20, 40, 100, 300, 1200]), st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0])),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(RUNS, st.sampled_from([1, 7, 256, 100_000]), st.sampled_from([LONGEST, 5 * 16_000]))
def test_all_speech_is_in_windows_however_it_arrives(runs: list[tuple[int, float]], block: int, longest: int) -> None:
    heard = np.concatenate([np.full(n, p, np.float32) for n, p in runs] or [np.zeros(1, np.float32)])
    found = cut(heard, block, longest)
    check(found, heard, longest)
    assert found == cut(heard, 100_000, longest), "the windows depend on the blocks"


def test_silence_is_no_window() -> None:
    assert cut(track((100, 0.1))) == []
    assert list(stretches([], np.zeros(0, np.float32), LONGEST)) == []


def test_what_fits_is_one_window_with_margins() -> None:
    (one,) = cut(track((10, 0), (5, 1), (2, 0), (5, 1), (20, 0)))
    margin_s = MARGIN * FRAME / 16_000
    assert one.start / 16_000 == pytest.approx(10 - margin_s, abs=0.05)
    assert one.end / 16_000 == pytest.approx(22 + margin_s, abs=0.05)
    assert len(one.speech) == 2


def test_a_short_recording_with_speech_is_one_window() -> None:
    """A clip of 0.4 s lost its digit: the network hears speech late, and more to hear costs nothing."""
    (one,) = cut(track((1.5, 0), (1, 1), (1, 0), (20, 1), (2, 0)))
    assert (one.start, one.end) == (0, sum(len(track((s, 0))) for s in (1.5, 1, 1, 20, 2)) * FRAME)
    (one,) = cut(track((6, 0), (1, 1), (2, 0)))
    assert one.start > 0, "but long silence is left out"


def test_a_long_pause_ends_a_window() -> None:
    pause_s = LONGEST_PAUSE * FRAME / 16_000
    assert len(cut(track((5, 1), (pause_s + 1, 0), (5, 1)))) == 2
    assert len(cut(track((5, 1), (pause_s - 1, 0), (5, 1)))) == 1


def test_a_long_pause_is_preferred_to_a_late_one() -> None:
    first, _ = cut(track((20, 1), (1.0, 0), (6, 1), (0.1, 0), (20, 1)))
    assert 20 < first.end / 16_000 < 21
    first, _ = cut(track((4, 1), (1.0, 0), (22, 1), (0.5, 0), (20, 1)))
    assert 27 < first.end / 16_000 < 27.5, "but not at any price"


def test_speech_without_a_pause_is_cut_where_it_is_least_voiced() -> None:
    heard = track((25, 1), (0.2, 0.6), (20, 1))
    first, second = cut(heard)
    assert first.in_speech and not second.in_speech
    assert 25 <= first.end / 16_000 <= 25.2 and first.end == second.start


def test_a_pause_is_never_passed_over_for_a_cut_inside_a_word() -> None:
    first, *_ = cut(track((10, 1), (0.1, 0), (40, 1)))
    assert 10 <= first.end / 16_000 <= 10.1 and not first.in_speech


def test_a_short_pause_is_cut_where_it_is_quietest() -> None:
    heard = track((20, 1), (0.5, 0), (20, 1))
    samples = sound(heard)
    samples[:] = 0.1
    quiet = round(20.3 * 16_000)
    samples[quiet - 500 : quiet + 500] = 0
    first, second = stretches([heard], samples, LONGEST)
    assert abs(first.end - quiet) < 2 * POSITION and second.start == first.end


def test_the_first_windows_are_known_before_all_is_heard() -> None:
    """The engine idles while nothing is known: hours of listening before the first window would be seconds."""
    heard = track(*[(3, 1), (0.5, 0)] * 200)
    n_heard = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal n_heard
        for i in range(0, len(heard), 256):
            n_heard += 1
            yield heard[i : i + 256]

    next(stretches(blocks(), sound(heard), LONGEST))
    assert n_heard * 256 * FRAME / 16_000 < 45
