"""Promises of audio/mel.py, mel_torch.py and engine/mel_native.py, beside the definition, plainly in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.audio import mel, mel_torch
from sottovoce.engine import kernels, mel_native
from sottovoce.errors import AudioError
from sottovoce.types import Sound

CLOSE = 2e-4  # float32 against float64: a bin 80 dB below the peak keeps about 4 digits; typical is 1e-6

Batch = Callable[[Sequence[Sound], int], np.ndarray]


def torch_batch(sounds: Sequence[Sound], n_mels: int) -> np.ndarray:
    return mel_torch.batch(sounds, n_mels, "cpu").numpy()


def torch_log_mel(samples: np.ndarray, n_mels: int, padding: int = 0) -> np.ndarray:
    return mel_torch.log_mel(samples, n_mels, padding).numpy()


def kernel_batch(sounds: Sequence[Sound], n_mels: int) -> np.ndarray:
    return mel_native.batch(sounds, n_mels, 2)


compiled = pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: nothing to compare")
BATCHES = [mel.batch, torch_batch, pytest.param(kernel_batch, marks=compiled)]
each_batch = pytest.mark.parametrize("batch", BATCHES, ids=["numpy", "torch", "kernel"])
each_log_mel = pytest.mark.parametrize("log_mel", [mel.log_mel, torch_log_mel], ids=["numpy", "torch"])


def twin_filters(n_mels: int) -> np.ndarray:
    """Triangle by triangle, from the mel scale's definition."""

    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(8) / np.log(6.4)
    edges = [hz(i * top / (n_mels + 1)) for i in range(n_mels + 2)]
    out = np.zeros((n_mels, 201))
    for m, (low, mid, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for k in range(201):
            f = k * 40
            height = (f - low) / (mid - low) if f <= mid else (high - f) / (high - mid)
            out[m, k] = max(0.0, height) * 2 / (high - low)
    return out


def twin_power(samples: np.ndarray, n_mels: int, n_frames: int) -> np.ndarray:
    """Mel power of every frame, by a Fourier sum per frame."""
    x = np.concatenate((samples, np.zeros(n_frames * 160 + 400))).astype(np.float64)
    x = np.concatenate((x[200:0:-1], x))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(201)) / 400)
    frames = np.stack([x[i * 160 : i * 160 + 400] * window for i in range(n_frames)])
    return twin_filters(n_mels) @ (np.abs(frames @ fourier) ** 2).T


def twin_log_mel(samples: np.ndarray, n_mels: int) -> np.ndarray:
    """What openai/whisper computes from a recording followed by 30 s of silence."""
    log = np.log10(np.maximum(twin_power(samples, n_mels, samples.size // 160 + 3000), 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


def recording(n: int, seed: int = 0) -> np.ndarray:
    """Something that rises and falls as speech does, with silences of exact zeros."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 16000
    hum = sum(np.sin(2 * np.pi * f * t) / i for i, f in enumerate((130, 260, 900, 2500), 1))
    x = 0.2 * np.sin(3 * t) ** 2 * (hum + 0.2 * rng.standard_normal(n))
    return np.where(np.sin(1.3 * t) > 0.9, 0, x).astype(np.float32)


def sound(samples: np.ndarray, i_frame: int, n_frames: int, n_mels: int) -> Sound:
    return Sound(samples=mel.cut(samples, i_frame, n_frames), peak=mel.peak(samples, n_mels), n_frames=n_frames)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_filterbank_is_slaneys(n_mels: int) -> None:
    bank = mel.filters(n_mels)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(bank, twin_filters(n_mels), rtol=1e-5, atol=1e-8)
    assert np.array_equal(mel_torch.filters(n_mels, torch.device("cpu")).numpy(), bank)


def test_the_filterbank_matches_known_figures() -> None:
    """Of librosa.filters.mel(sr=16000, n_fft=400, n_mels=80), so that twin and code cannot err together."""
    bank = mel.filters(80)
    assert bank[0, 1].item() == pytest.approx(0.02486259490251541, rel=1e-6)
    assert bank[79, 199].item() == pytest.approx(0.0004487590049393475, rel=1e-5)


@each_log_mel
@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("n", [0, 1, 150, 200, 16000, 50123])
def test_log_mel_is_its_definition(n: int, n_mels: int, log_mel: Callable[..., np.ndarray]) -> None:
    x = recording(n)
    got = log_mel(x, n_mels, padding=mel.N_SAMPLES)
    assert got.shape == (n_mels, n // 160 + 3000)
    np.testing.assert_allclose(got, twin_log_mel(x, n_mels), atol=CLOSE)


@each_log_mel
def test_log_mel_without_padding_mirrors_both_ends(log_mel: Callable[..., np.ndarray]) -> None:
    x = recording(1000)
    whole = np.concatenate((x, x[-2:-302:-1])).astype(np.float64)
    log = np.log10(np.maximum(twin_power(whole, 80, 6), 1e-10))
    np.testing.assert_allclose(log_mel(x, 80), (np.maximum(log, log.max() - 8) + 4) / 4, atol=CLOSE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40_000), st.integers(0, 250), st.integers(0, 300))
def test_cut_takes_true_neighbours_mirrored_at_the_start_and_zero_past_the_end(n: int, i: int, n_frames: int) -> None:
    x = recording(n)
    endless = np.concatenate((x, np.zeros(100_000, np.float32)))
    line = np.concatenate((endless[200:0:-1], endless))
    assert np.array_equal(mel.cut(x, i, n_frames), line[i * 160 : i * 160 + n_frames * 160 + 240])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 4), st.sampled_from([80, 128]), st.floats(1e-6, 1))
def test_peak_is_the_largest_of_the_whole_recording(n: int, seed: int, n_mels: int, loudness: float) -> None:
    """Only a few frames are looked at; that the largest is among them is a bound, and this is its proof by trial."""
    x = recording(n, seed) * np.float32(loudness)
    largest = max(-10.0, float(np.log10(max(1e-10, twin_power(x, n_mels, n // 160 + 3).max()))))
    assert mel.peak(x, n_mels) == pytest.approx(largest, abs=1e-5)


@pytest.mark.parametrize("hz", [60, 440, 3000, 7900])
def test_a_pure_tone_does_not_hide_the_peak(hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tone is where energy says least about mel power: high filters weigh a tenth of low ones."""
    monkeypatch.setattr(mel, "PEAK_BLOCK", 1)  # so that the bound alone decides
    t = np.arange(40_000) / 16000
    x = (0.9 * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    x[20_000:21_000] = (0.5 * np.sin(2 * np.pi * 100 * t[:1000])).astype(np.float32)
    assert mel.peak(x, 80) == pytest.approx(float(np.log10(twin_power(x, 80, 253).max())), abs=1e-5)


def test_the_step_at_the_end_counts_for_the_peak() -> None:
    """The frames after the last full one hear the recording break off: 3 frames that content_frames does not count."""
    x = np.zeros(16_079, np.float32)
    x[-1] = 1.0
    assert mel.peak(x, 80) == pytest.approx(float(np.log10(twin_power(x, 80, 103).max())), abs=1e-5)
    assert mel.peak(x, 80) > mel.peak(x[:-1], 80) == -10.0


def test_peak_holds_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = recording(60_000)
    whole = mel.peak(x, 80)
    monkeypatch.setattr(mel, "ENERGY_BLOCK", 7)
    monkeypatch.setattr(mel, "PEAK_BLOCK", 2)
    assert mel.peak(x, 80) == pytest.approx(whole, abs=1e-6)


@each_batch
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50_000), st.lists(st.integers(0, 320), min_size=1, max_size=4), st.sampled_from([80, 128]))
def test_a_batch_is_the_whole_recordings_mel_cut_up(batch: Batch, n: int, starts: list[int], n_mels: int) -> None:
    x = recording(n)
    whole = mel.log_mel(x, n_mels, padding=mel.N_SAMPLES)
    starts = [min(s, n // 160) for s in starts]
    sounds = [sound(x, s, min(200, n // 160 - s), n_mels) for s in starts]
    got = batch(sounds, n_mels)
    for log, s in zip(got, starts, strict=True):
        want = mel.pad_or_trim(whole[:, s : min(s + 200, n // 160)], 3000)
        np.testing.assert_allclose(log, want, atol=5e-5, rtol=0)  # float32, transformed in another order


@each_batch
def test_a_window_does_not_hear_its_neighbours_in_the_batch(batch: Batch) -> None:
    """Two recordings, one 60 dB quieter: each is normalised by its own peak, alone or together, in any order."""
    loud, quiet = recording(480_000), recording(120_000, seed=1) * np.float32(1e-3)
    a, b = sound(loud, 0, 3000, 80), sound(quiet, 100, 650, 80)
    together = batch([a, b], 80)
    turned = batch([b, a], 80)
    for window, i in ((a, 0), (b, 1)):
        alone = batch([window], 80)[0]
        np.testing.assert_allclose(together[i], alone, atol=1e-5, rtol=0)
        np.testing.assert_allclose(turned[1 - i], alone, atol=1e-5, rtol=0)
    assert (together[1, :, 650:] == 0).all()


@each_batch
def test_mel_that_is_given_is_taken_as_it_is(batch: Batch) -> None:
    x = recording(48_000)
    whole = mel.log_mel(x, 80, padding=mel.N_SAMPLES)[:, :300]
    got = batch([Sound(mel=whole, n_frames=300), sound(x, 0, 300, 80)], 80)
    assert np.array_equal(got[0, :, :300], whole)
    np.testing.assert_allclose(got[0], got[1], atol=1e-5, rtol=0)


@each_batch
def test_no_windows_and_empty_windows_are_fine(batch: Batch) -> None:
    assert batch([], 80).shape == (0, 80, 3000)
    assert (batch([sound(recording(100), 0, 0, 80)], 80) == 0).all()


def heard_by_both() -> dict[str, np.ndarray]:
    rng, t = np.random.default_rng(1), np.arange(480_000) / 16000
    clicks = np.zeros(480_000, np.float32)
    clicks[rng.integers(0, 480_000, 90)] = rng.choice([-1, 1], 90)
    full_scale = np.clip(rng.normal(0, 1, 480_000), -1, 1).astype(np.float32)
    sweep = (0.8 * np.sin(2 * np.pi * (50 * t + 120 * t**2)) + rng.normal(0, 1e-3, t.size)).astype(np.float32)
    return {
        "like speech": recording(480_000),
        "quiet": recording(480_000, 2) * np.float32(1e-4),
        "silence": np.zeros(480_000, np.float32),
        "clicks": clicks,
        "noise of full scale": full_scale,
        "a sweep in little noise": sweep,
    }


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("what", heard_by_both())
def test_both_ways_hear_the_same(what: str, n_mels: int) -> None:
    """Numpy and torch, for the proofs of parity stand on one of them; what differs more, torch has further from the
    definition (up to 1.4e-4 where a tone stands 80 dB above noise)."""
    x = heard_by_both()[what]
    windows = [sound(x, 0, 3000, n_mels), sound(x, 1200, 1301, n_mels)]
    ours, theirs = mel.batch(windows, n_mels), torch_batch(windows, n_mels)
    far = np.abs(ours - theirs) > 1e-5
    assert far.mean() < 1e-4 or what.startswith("a sweep")
    np.testing.assert_allclose(ours, theirs, atol=CLOSE, rtol=0)
    log = np.log10(np.maximum(twin_power(x, n_mels, 3000), 1e-10))
    right = (np.maximum(log, windows[0].peak - 8) + 4) / 4
    assert np.abs(ours[0] - right).max() <= max(2e-5, np.abs(theirs[0] - right).max())
    np.testing.assert_allclose(mel.log_mel(x, n_mels)[:, :2998], ours[0, :, :2998], atol=1e-6, rtol=0)


@compiled
@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("what", heard_by_both())
def test_the_kernel_hears_its_definition(what: str, n_mels: int) -> None:
    x = heard_by_both()[what]
    windows = [sound(x, 0, 3000, n_mels), sound(x, 1200, 1301, n_mels)]
    ours = kernel_batch(windows, n_mels)
    log = np.log10(np.maximum(twin_power(x, n_mels, 3000), 1e-10))
    right = (np.maximum(log, windows[0].peak - 8) + 4) / 4
    np.testing.assert_allclose(ours[0], right, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(ours[1, :, :1301], right[:, 1200:2501], atol=CLOSE, rtol=0)
    far = np.abs(ours - mel.batch(windows, n_mels)) > 1e-5
    assert far.mean() < 1e-4 or what.startswith("a sweep")


@compiled
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 70), st.integers(1, 5))
def test_the_kernel_hears_every_frame_once(n_frames: int, n_threads: int) -> None:
    """Sixteen at a time, and what is left; what lies behind stays as it was."""
    window = sound(recording(12_000), 0, n_frames, 80)
    ours = mel_native.batch([window], 80, n_threads)
    np.testing.assert_allclose(ours, mel.batch([window], 80), atol=1e-5, rtol=0)


def test_log_mel_takes_many_recordings_of_one_length() -> None:
    both = np.stack([recording(16_000), recording(16_000, 1)])  # (2, N)
    got = mel.log_mel(both, 80)
    assert got.shape == (2, 80, 100)
    np.testing.assert_allclose(got, torch_log_mel(both, 80), atol=1e-5, rtol=0)


def test_log_mel_takes_tensors() -> None:
    x = recording(16_000)
    assert torch.equal(mel_torch.log_mel(torch.from_numpy(x), 80), mel_torch.log_mel(x, 80))


@each_log_mel
def test_log_mel_refuses_whole_numbers(log_mel: Callable[..., np.ndarray]) -> None:
    with pytest.raises(AudioError, match="32768"):
        log_mel((recording(16_000) * 32768).astype(np.int16), 80)


@each_log_mel
@pytest.mark.parametrize("n", [0, 1, 200])
def test_too_little_to_mirror_is_an_error_that_names_the_way_out(n: int, log_mel: Callable[..., np.ndarray]) -> None:
    with pytest.raises(AudioError, match="padding"):
        log_mel(np.zeros(n, np.float32), 80)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(0, 7), st.data())
def test_pad_or_trim_gives_the_length_that_was_asked_for(shape: list[int], length: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    got = mel.pad_or_trim(x, length, axis=axis)
    want = np.zeros([length if i == axis % len(shape) else n for i, n in enumerate(shape)], np.float32)
    kept = tuple(slice(0, min(a, b)) for a, b in zip(shape, want.shape, strict=True))
    want[kept] = x[kept]
    assert np.array_equal(got, want)
    assert np.array_equal(mel_torch.pad_or_trim(torch.from_numpy(x), length, axis=axis).numpy(), want)
