"""Where somebody speaks: our blocks of frames beside a frame a call, our spans beside faster-whisper's.

What others find is frozen in tests/data/vad.json by scripts/freeze_vad.py.
"""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.audio import vad
from sottovoce.audio.vad import FRAME, Span, VadOptions
from sottovoce.errors import OptionError
from tests.voice import voice

FROZEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "vad.json").read_text("utf-8"))


def test_probabilities_are_those_of_the_published_graph_a_frame_a_call() -> None:
    """Frozen to 5 digits; products and sums in another order differ by 2e-6."""
    np.testing.assert_allclose(vad.probabilities(voice(6)), FROZEN["probabilities"], atol=2e-5)


@pytest.mark.parametrize("n_frames", [1, 3, 7, 256])
def test_the_state_passes_from_block_to_block(n_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = voice(6)
    whole = vad.probabilities(sound)
    monkeypatch.setattr(vad, "BLOCK", n_frames)
    np.testing.assert_allclose(vad.probabilities(sound), whole, atol=2e-6)  # float32, products of other sizes


@pytest.mark.parametrize("n_samples", [0, 1, 63, 64, 65, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME])
def test_zeros_follow_the_end(n_samples: int) -> None:
    sound = voice(1)[:n_samples]
    padded = np.concatenate([sound, np.zeros(4 * FRAME, np.float32)])
    probabilities = vad.probabilities(sound)
    assert probabilities.shape == (n_samples // FRAME + 1,) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, vad.probabilities(padded)[: len(probabilities)], atol=2e-6)


@pytest.mark.parametrize("samples", [np.zeros((2, 1600), np.float32), np.zeros(1600, np.int16)], ids=["stereo", "int"])
def test_what_is_no_channel_of_floats_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(OptionError, match=r"floats at 16 kHz were expected"):
        vad.probabilities(samples)


@pytest.mark.parametrize("i_case", range(len(FROZEN["cases"])))
def test_spans_are_faster_whispers_to_the_sample(i_case: int) -> None:
    case = FROZEN["cases"][i_case]
    track = np.array(FROZEN["tracks"][case["track"]], np.float32) / 1000
    found = vad.spans(track, case["n_samples"], VadOptions(**case["options"]))
    assert [[span.start, span.end] for span in found] == case["spans"]


def test_what_is_frozen_holds_spans_that_were_cut_for_their_length() -> None:
    limited = [c for c in FROZEN["cases"] if c["options"].get("max_speech_duration_s", inf) <= 5]
    lengths = [b - a for case in limited for a, b in case["spans"]]
    assert len(lengths) > 300 and max(lengths) <= 5 * 16_000


def test_a_long_span_is_cut_at_its_longest_pause_if_asked() -> None:
    """One pause of 10 frames, then one of 5: the last is the rule, the longest is the option."""
    track = np.array([0.9] * 30 + [0.1] * 10 + [0.9] * 20 + [0.1] * 5 + [0.9] * 60, np.float32)
    n_samples = len(track) * FRAME
    common: dict[str, Any] = {"max_speech_duration_s": 2.5, "speech_pad_ms": 0}
    last = vad.spans(track, n_samples, VadOptions(**common))
    longest = vad.spans(track, n_samples, VadOptions(**common, use_max_poss_sil_at_max_speech=True))
    assert last[0] == Span(0, 60 * FRAME) and last[1].start == 65 * FRAME
    assert longest[0] == Span(0, 30 * FRAME) and longest[1].start == 40 * FRAME


@settings(max_examples=200, deadline=None)
@given(
    track=st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.9]), min_size=1, max_size=200),
    pad_ms=st.sampled_from([0, 30, 400]),
    longest_s=st.sampled_from([1.0, 3.0, inf]),
    silence_ms=st.sampled_from([0, 100, 2000]),
    at_longest=st.booleans(),
)
def test_spans_are_in_order_apart_and_inside_the_recording(
    track: list[float], pad_ms: int, longest_s: float, silence_ms: int, at_longest: bool
) -> None:
    options = VadOptions(
        max_speech_duration_s=longest_s,
        min_silence_duration_ms=silence_ms,
        speech_pad_ms=pad_ms,
        use_max_poss_sil_at_max_speech=at_longest,
    )
    n_samples = len(track) * FRAME - 7
    found = vad.spans(np.array(track, np.float32), n_samples, options)
    edges = [edge for span in found for edge in (span.start, span.end)]
    assert edges == sorted(edges) and all(0 <= edge <= n_samples for edge in edges)
    covered = {i for span in found for i in range(span.start // FRAME, -(-span.end // FRAME))}
    if longest_s == inf:
        assert {i for i, p in enumerate(track) if p >= 0.5} <= covered, "no frame of speech is lost"
    else:
        assert all(span.end - span.start <= longest_s * 16_000 for span in found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.5},
        {"neg_threshold": -0.1},
        {"min_silence_duration_ms": -1},
        {"speech_pad_ms": float("nan")},
        {"max_speech_duration_s": 0.5},
    ],
)
def test_a_value_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        VadOptions(**wrong)


def test_silence_holds_no_speech() -> None:
    assert vad.speech(np.zeros(32_000, np.float32)) == []
    assert vad.speech(np.zeros(0, np.float32)) == []
