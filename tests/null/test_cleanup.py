"""Clean-up: nothing is done unasked, every sample stays where it was, and what is asked for is done."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.audio import cleanup
from sottovoce.errors import OptionError
from sottovoce.request import Request
from sottovoce.types import SAMPLE_RATE, Clean
from tests.voice import voice

SUBSETS = [tuple(c for i, c in enumerate(Clean) if n >> i & 1) for n in range(1, 8)]


@cache
def spoken() -> np.ndarray:
    return voice(32)


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """By how many samples the first comes later than the second."""
    n = len(one)
    cross = np.fft.irfft(np.fft.rfft(one, 2 * n) * np.conj(np.fft.rfft(other, 2 * n)))
    at = int(np.argmax(cross))
    return at if at < n else at - 2 * n


def power_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(10 * np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].sum() + 1e-12))


def test_without_steps_the_samples_are_the_same_object() -> None:
    samples = voice(1)
    assert cleanup.cleaned(samples, ()) is samples


@pytest.mark.parametrize("steps", SUBSETS, ids=",".join)
@pytest.mark.parametrize("n", [1, 399, 401, 16_000, 320_017, 500_000])
def test_as_many_samples_come_out_as_go_in_each_where_it_was(steps: tuple[Clean, ...], n: int) -> None:
    """FFmpeg's afftdn is 25 ms late and does not say so: every word time was."""
    samples = spoken()[:n]
    found = cleanup.cleaned(samples, steps)
    assert found.shape == samples.shape and found.dtype == np.float32 and np.isfinite(found).all()
    if n >= SAMPLE_RATE:
        assert abs(lag(found, samples)) <= 8, "half a millisecond: a high-pass turns phases"


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 200_000), st.integers(1, 90_000))
def test_pieces_leave_no_seam(n: int, size: int) -> None:
    samples = spoken()[:n]
    whole = cleanup.cleaned(samples, Clean)
    before = cleanup.PIECE
    try:
        cleanup.PIECE = max(size, 500)  # type: ignore[misc]
        assert np.allclose(cleanup.cleaned(samples, Clean), whole, atol=1e-6)
    finally:
        cleanup.PIECE = before  # type: ignore[misc]


def test_highpass_takes_hum_and_leaves_speech() -> None:
    hum = 0.2 * np.sin(2 * np.pi * 40 * np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    found = cleanup.cleaned(voice(8) + hum, [Clean.HIGHPASS])
    assert power_db(found, 35, 45) < power_db(hum, 35, 45) - 10
    assert power_db(found, 300, 3000) == pytest.approx(power_db(voice(8), 300, 3000), abs=1)


@pytest.mark.parametrize("level_db", [-60, -50, -40, -30])
def test_denoise_takes_steady_noise_from_pauses_and_spares_speech(level_db: float) -> None:
    """However loud it is: FFmpeg's own tracking of the noise took 1 dB of noise at -40 dB."""
    noise = np.random.default_rng(0).normal(scale=10 ** (level_db / 20), size=12 * SAMPLE_RATE).astype(np.float32)
    speech = voice(12)
    speech[SAMPLE_RATE * 4 : SAMPLE_RATE * 7] = 0
    found = cleanup.cleaned(speech + noise, [Clean.DENOISE])
    pause = slice(5 * SAMPLE_RATE, 6 * SAMPLE_RATE)
    assert cleanup.noise_db(speech + noise) == pytest.approx(level_db, abs=2)
    assert power_db(found[pause], 100, 7000) < power_db(noise[pause], 100, 7000) - 6
    left, before = np.square(found - speech)[pause.stop :].sum(), np.square(noise)[pause.stop :].sum()
    assert left < before, "nearer to what was said, where it was said"


def test_loudness_brings_quiet_speech_up_to_loud() -> None:
    """The quiet half is a tenth as loud; the level follows over seconds, so that both ends are looked at."""
    samples = np.concatenate([voice(30), 0.1 * voice(30)])
    found = cleanup.cleaned(samples, [Clean.LOUDNESS])

    def apart_db(sound: np.ndarray) -> float:
        n = 8 * SAMPLE_RATE
        return power_db(sound[:n], 100, 4000) - power_db(sound[-n:], 100, 4000)

    assert apart_db(samples) == pytest.approx(20, abs=2)
    assert apart_db(found) < 14
    assert np.abs(found).max() <= 1


def test_steps_are_done_in_one_order_each_once() -> None:
    given_order = Request.of({"clean": "loudness, highpass,HIGHPASS"}).clean
    assert given_order == (Clean.HIGHPASS, Clean.LOUDNESS)
    assert Request.of({"clean": ["denoise"]}).clean == (Clean.DENOISE,)
    assert Request.of({"clean": None}).clean == Request.of({}).clean == ()


@pytest.mark.parametrize(
    ("wrong", "meant"), [("denoize", "denoise"), (["reverb"], "pass for example"), (5, "highpass")]
)
def test_a_step_that_there_is_not_is_refused_with_what_was_meant(wrong: object, meant: str) -> None:
    with pytest.raises(OptionError, match=meant):
        Request.of({"clean": wrong})
