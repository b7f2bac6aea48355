"""Waveform -> log-mel, as the checkpoints expect it: the filterbank and its recipe. Knows no file, no model, no token.

Whisper normalises a recording by its own largest mel power. So a window can be computed apart from its neighbours if it
brings its samples with a true margin (`cut`), that one scalar (`peak`), and where its sound ends (`Sound.n_frames`).

Which samples a frame sees; the recording is reflected at its start and zero for ever after its end:

    frame i                  [i * HOP - N_FFT / 2, i * HOP + N_FFT / 2)
    frames [i, i + n)        [i * HOP - N_FFT / 2, (i + n) * HOP - HOP + N_FFT / 2)     n * HOP + MARGIN samples
    frames that hold sound   [0, N // HOP)          as openai/whisper transcribe.py:content_frames counts them
    frames that are not zero [0, N // HOP + 2]      the last ones see the step from the recording's end to silence

Everything is float32, on the calling thread alone; mel_torch.py computes the same on a device.
Source: openai/whisper audio.py:log_mel_spectrogram (20250625); twin: tests/cpu/test_mel.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np

from sottovoce.errors import AudioError
from sottovoce.types import SAMPLE_RATE, Sound

WINDOW_S = 30  # what the encoder hears at once; openai/whisper audio.py:CHUNK_LENGTH
N_FFT = 400  # samples per frame (25 ms); openai/whisper audio.py:N_FFT
HOP = 160  # samples from frame to frame (10 ms); openai/whisper audio.py:HOP_LENGTH
N_SAMPLES = WINDOW_S * SAMPLE_RATE  # 480000
N_FRAMES = N_SAMPLES // HOP  # 3000
FRAMES_PER_S = SAMPLE_RATE // HOP  # 100
MARGIN = N_FFT - HOP  # 240: what n frames need beyond n * HOP samples
FLOOR = 1e-10  # least mel power
FLOOR_LOG10 = -10.0  # its logarithm: the peak of a silent recording
PIECE = gcd(N_FFT, HOP)  # 80: frames are made of whole pieces
ENERGY_BLOCK = 10 * N_FRAMES  # frames whose energies are summed at once: 19 MB of samples
RANGE_LOG10 = 8.0  # what is quieter than the peak by more than 80 dB is lifted to there
BLOCK = 250  # frames transformed at once, so that they stay in the cache: 3.1 ms a window, 6.7 if all at once
PEAK_BLOCK = BLOCK  # in search of the peak
BAND = 10  # neighbouring filters applied together, to the bins that any of them hears: an eighth of all products


def pad_or_trim(array: np.ndarray, length: int = N_SAMPLES, *, axis: int = -1) -> np.ndarray:
    """The array with exactly `length` entries along an axis: cut at the end, or followed by zeros."""
    n = array.shape[axis]
    if n >= length:
        return array if n == length else array.take(range(length), axis)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - n)
    return np.pad(array, widths)


def cut(samples: np.ndarray, i_frame: int, n_frames: int) -> np.ndarray:
    """The samples that frames [i_frame, i_frame + n_frames) see, whatever lies there of the recording.

    samples: (N,) float32, the whole recording; N may be 0, and i_frame may lie beyond its end.
    Returns (n_frames * HOP + MARGIN,) float32, a copy.
    """
    assert i_frame >= 0 and n_frames >= 0, f"frames [{i_frame}, {i_frame} + {n_frames}) are no part of a recording"
    start = i_frame * HOP - N_FFT // 2
    out = np.zeros(n_frames * HOP + MARGIN, np.float32)
    lead = max(0, -start)  # samples before the recording: its mirror image, without the first sample
    if lead:
        mirror = samples[1 : lead + 1][::-1]
        out[lead - mirror.size : lead] = mirror
    sound = samples[start + lead : start + out.size]
    out[lead : lead + sound.size] = sound
    return out


def peak(samples: np.ndarray, n_mels: int) -> float:
    """The recording's largest log10 mel power, at least FLOOR_LOG10.

    samples: (N,) float32, the whole recording. Hours cost no memory, and little time: a frame's energy bounds its mel
    powers, so only frames that could hold the largest are transformed, the most promising first (1 in 50 of speech).
    """
    # Parseval: the bins between 0 and Nyquist (where the filters are 0) hold N_FFT / 2 times the energy, or less
    gain = N_FFT / 2 * float(filters(n_mels).max()) * 1.001  # rounding
    bounds = _energies(samples) * gain  # (F,)
    order = np.argsort(-bounds)
    loudest = FLOOR
    for i in range(0, order.size, PEAK_BLOCK):
        frames = order[i : i + PEAK_BLOCK]
        if bounds[frames[0]] <= loudest:
            break
        sound = np.stack([cut(samples, int(i_frame), 1) for i_frame in frames])  # (F, N_FFT)
        loudest = max(loudest, float(_power(sound, n_mels).max()))
    return float(np.log10(loudest)) if loudest > FLOOR else FLOOR_LOG10


def _energies(samples: np.ndarray) -> np.ndarray:
    n_frames = samples.size // HOP + 3
    energies = np.empty(n_frames, np.float32)
    for i in range(0, n_frames, ENERGY_BLOCK):
        sound = cut(samples, i, min(ENERGY_BLOCK, n_frames - i)).reshape(-1, PIECE)
        pieces = np.einsum("pn,pn->p", sound, sound)
        frames = np.lib.stride_tricks.sliding_window_view(pieces, N_FFT // PIECE)[:: HOP // PIECE]
        energies[i : i + ENERGY_BLOCK] = frames.sum(axis=1)
    return energies


def batch(sounds: Sequence[Sound], n_mels: int) -> np.ndarray:
    """Log-mel of windows that may come from different recordings, each normalised by its own peak.

    sounds: as `cut` gave their samples, or with their mel; `features` are past this point and are refused.
    Returns (W, n_mels, N_FRAMES) float32; frames from Sound.n_frames on are 0.
    """
    out = np.zeros((len(sounds), n_mels, N_FRAMES), np.float32)  # (W, M, F)
    for found, sound in zip(out, sounds, strict=True):
        n = sound.n_frames
        if sound.mel is not None:
            given = sound.mel[:, :n]
            found[:, : given.shape[1]] = given
        elif n:
            found[:, :n] = _normalise(_power(_frames(held(sound)), n_mels), sound.peak)
    return out


def held(sound: Sound) -> np.ndarray:
    """The samples of a Sound without mel, which are those that its frames see."""
    samples, n = sound.samples, sound.n_frames
    assert samples is not None and samples.size == n * HOP + MARGIN, f"a Sound of {n} frames holds no such samples"
    return samples


def log_mel(samples: np.ndarray, n_mels: int, padding: int = 0) -> np.ndarray:
    """Log-mel of whole recordings at once, normalised by their peak.

    samples: (..., N) floating, 16 kHz. padding: zeros to append.
    Returns (..., n_mels, (N + padding) // HOP) float32.
    Raises AudioError if there are too few samples to mirror the start, or if they are whole numbers.
    """
    n = samples.shape[-1] + padding
    check_samples(str(samples.dtype), samples.dtype.kind == "f", n)
    sound = pad_or_trim(samples.astype(np.float32, copy=False), n)
    # the last frames may look past the end, where openai/whisper mirrors too
    both = np.pad(sound, [(0, 0)] * (sound.ndim - 1) + [(N_FFT // 2, N_FFT // 2)], mode="reflect")
    seen = both[..., : n // HOP * HOP + MARGIN].reshape(-1, n // HOP * HOP + MARGIN)
    power = np.stack([_power(_frames(line), n_mels) for line in seen])
    logs = _normalise(power, float(np.log10(np.float32(power.max(initial=FLOOR)))))
    return logs.reshape(*samples.shape[:-1], n_mels, -1)


def check_samples(dtype: str, is_floating: bool, n: int) -> None:
    """Raise AudioError for samples of which log_mel can make nothing. n: how many there are, with padding."""
    if not is_floating:
        raise AudioError(f"samples of {dtype} were given, floats in [-1, 1) were expected; divide int16 by 32768")
    if n <= N_FFT // 2:
        raise AudioError(f"{n} samples were given, more than {N_FFT // 2} were expected; append zeros with padding")


def power(samples: np.ndarray, n_mels: int) -> np.ndarray:
    """(n_mels, F) float32: mel powers of the frames of samples that `cut` gave, without logarithm or limit."""
    return _power(_frames(samples), n_mels)


def _frames(samples: np.ndarray) -> np.ndarray:
    """(N,) -> (F, N_FFT), without a copy."""
    return np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP]


def _power(frames: np.ndarray, n_mels: int) -> np.ndarray:
    """(F, N_FFT) -> (M, F)."""
    out = np.empty((n_mels, len(frames)), np.float32)
    for i in range(0, len(frames), BLOCK):
        spectrum = np.fft.rfft(frames[i : i + BLOCK] * window())  # (F, bins) complex64; numpy 1 makes it complex128
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        for band in _bands(n_mels):
            out[band.mels, i : i + BLOCK] = band.weights @ power[:, band.bins].T
    return out


def _normalise(power: np.ndarray, peak: float) -> np.ndarray:
    log = np.log10(np.maximum(power, np.float32(FLOOR)))
    normalised: np.ndarray = (np.maximum(log, np.float32(peak) - np.float32(RANGE_LOG10)) + 4) / 4
    return normalised  # speech comes out near [-1, 1]


@cache
def window() -> np.ndarray:
    """What a frame is multiplied by, (N_FFT,) float32: Hann's window, periodic.

    As torch rounds it, and with it every log-mel that was ever compared with the reference's.
    """
    angles = np.arange(N_FFT, dtype=np.float32) * np.float32(2 * np.pi / N_FFT)
    return np.float32(0.5) - np.float32(0.5) * np.cos(angles.astype(np.float64)).astype(np.float32)


@cache
def filters(n_mels: int) -> np.ndarray:
    """The mel filterbank (n_mels, N_FFT // 2 + 1) float32: triangles, evenly spaced in mel, of equal area.

    Slaney's mel scale: even in Hz up to 1 kHz (3 mel = 200 Hz), then even in log Hz (27 mel = a factor of 6.4).
    Source: librosa.filters.mel(sr=16000, n_fft=400, n_mels=n_mels), from which openai/whisper saved mel_filters.npz.
    """
    step = 200 / 3  # Hz per mel below the corner
    corner = 1000.0  # Hz
    i_corner = corner / step  # 15 mel
    growth = np.log(6.4) / 27  # log Hz per mel above it
    top = i_corner + np.log(SAMPLE_RATE / 2 / corner) / growth  # 45.2 mel
    mels = np.linspace(0.0, top, n_mels + 2)
    edges = np.where(mels < i_corner, mels * step, corner * np.exp(growth * (mels - i_corner)))  # Hz
    bins = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)  # Hz
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    area = 2.0 / (edges[2:] - edges[:-2])
    bank: np.ndarray = (triangles * area[:, None]).astype(np.float32)
    bank.flags.writeable = False  # it is everybody's
    return bank


@dataclass(frozen=True, slots=True)
class _Band:
    """Some filters, and the bins that any of them hears. weights: (mels, bins)."""

    mels: slice
    bins: slice
    weights: np.ndarray


@cache
def _bands(n_mels: int) -> list[_Band]:
    bands = []
    for i in range(0, n_mels, BAND):
        part = filters(n_mels)[i : i + BAND]
        heard = np.flatnonzero(part.any(axis=0))
        bins = slice(int(heard[0]), int(heard[-1]) + 1)
        bands.append(_Band(slice(i, i + BAND), bins, np.ascontiguousarray(part[:, bins])))
    return bands
