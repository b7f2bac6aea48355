"""Words moved to the sound: whatever attention says they are in order, inside and never empty, and pauses part them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.flow import onsets
from sottovoce.types import SAMPLE_RATE


def tones(spans_s: list[tuple[float, float]], length_s: float, noise: float = 1e-4) -> np.ndarray:
    """Sounds with soft edges where the spans are."""
    t = np.arange(round(length_s * SAMPLE_RATE)) / SAMPLE_RATE
    sound = noise * np.random.default_rng(0).standard_normal(len(t))
    for start, end in spans_s:
        edge = np.clip(np.minimum(t - start, end - t) / 0.01, 0, 1)
        sound += 0.2 * edge * np.sin(2 * np.pi * 180 * t) * (1 + 0.3 * np.sin(2 * np.pi * 5 * t))
    return sound.astype(np.float32)


def heard(sound: np.ndarray) -> onsets.Track:
    return onsets.track(sound, [(0, len(sound))])


TIME = st.floats(-2, 12, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(
    words=st.lists(st.tuples(TIME, TIME), max_size=60),
    spans=st.lists(st.tuples(st.floats(0, 9), st.floats(0.05, 2)), max_size=6),
    length_s=st.floats(0.02, 10),
    lag_s=st.none() | st.floats(-0.2, 0.2),
)
def test_words_are_in_order_inside_and_never_empty(
    words: list[tuple[float, float]], spans: list[tuple[float, float]], length_s: float, lag_s: float | None
) -> None:
    """openai-whisper writes words of no length, and words that begin before the one before them has ended."""
    sound = tones([(a, a + n) for a, n in spans], length_s)
    placed = onsets.place(heard(sound), words, lag_s)
    assert len(placed) == len(words)
    assert all(a < b for a, b in placed)
    assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(placed))
    assert all(a >= -1e-9 and b <= len(sound) / SAMPLE_RATE + 0.01 for a, b in placed)


@pytest.mark.parametrize("off_s", [-0.15, -0.06, 0.0, 0.1])
@pytest.mark.parametrize("noise", [1e-4, 3e-3])
def test_words_are_moved_to_where_sound_begins_and_ends(off_s: float, noise: float) -> None:
    """Attention smears: 36 words at known times were 168 ms off on average, and lay in pauses."""
    spans = [(0.5, 0.9), (1.1, 1.5), (2.4, 2.8), (2.95, 3.5), (4.5, 5.1)]
    attended = [(a + off_s, b + off_s) for (a, _), (b, _) in itertools.pairwise([*spans, (5.5, 6.0)])]
    placed = onsets.place(heard(tones(spans, 6.0, noise)), attended, 0.0)
    assert np.abs(np.array(placed) - np.array(spans)).max() <= 0.03


def test_a_word_does_not_reach_over_a_pause() -> None:
    spans = [(0.3, 0.8), (2.8, 3.2)]
    placed = onsets.place(heard(tones(spans, 4.0)), [(0.3, 1.6), (1.6, 3.2)], 0.0)
    assert placed[0][1] < 0.85 and placed[1][0] > 2.75


def test_a_stop_inside_a_word_is_no_gap() -> None:
    """ "eight" closes for 80 ms before its t: the word goes on."""
    spans = [(0.3, 0.55), (0.63, 0.7), (1.2, 1.6)]
    placed = onsets.place(heard(tones(spans, 2.0)), [(0.3, 0.72), (1.1, 1.6)], 0.0)
    assert np.abs(np.array(placed) - np.array([(0.3, 0.7), (1.2, 1.6)])).max() <= 0.03


@pytest.mark.parametrize("lag_s", [-0.1, 0.12])
def test_a_lag_that_nobody_measured_is_found(lag_s: float) -> None:
    draw = np.random.default_rng(1)
    starts = np.cumsum(draw.uniform(0.35, 0.8, 25)) + 0.3
    spans = [(float(a), float(a + 0.28)) for a in starts]
    sound = tones(spans, float(starts[-1]) + 1)
    attended = [(a - lag_s, b - lag_s) for (a, _), (b, _) in itertools.pairwise([*spans, (spans[-1][1], 0.0)])]
    placed = onsets.place(heard(sound), attended, None)
    assert np.abs(np.array(placed) - np.array(spans)).mean() < 0.03


def test_where_there_is_noise_the_detector_says_what_is_speech() -> None:
    sound = tones([(1.0, 2.0)], 4.0) + 0.05 * np.random.default_rng(2).standard_normal(64_000).astype(np.float32)
    track = onsets.track(sound, [(SAMPLE_RATE, 2 * SAMPLE_RATE)])
    ((start, end),) = onsets.place(track, [(0.5, 3.5)], 0.0)
    assert abs(start - 1) < 0.05 and abs(end - 2) < 0.05


def test_words_that_are_spread_have_room() -> None:
    found = onsets.spread([(5.0, 5.0), (5.0, 5.0), (9.0, 9.0)], 5.0, 6.0)
    assert found[0][0] >= 5 and found[-1][1] <= 6
    assert all(a < b for a, b in found)
