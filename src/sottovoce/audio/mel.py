"""Waveform -> log-mel, as the checkpoints expect it: the filterbank and its recipe. Knows no file, no model, no token.

Whisper normalises a recording by its own largest mel power. So a window can be computed apart from its neighbours if it
brings its samples with a true margin (`cut`), that one scalar (`peak`), and where its sound ends (`Sound.n_frames`).

Which samples a frame sees; the recording is reflected at its start and zero for ever after its end:

    frame i                  [i * HOP - N_FFT / 2, i * HOP + N_FFT / 2)
    frames [i, i + n)        [i * HOP - N_FFT / 2, (i + n) * HOP - HOP + N_FFT / 2)     n * HOP + MARGIN samples
    frames that hold sound   [0, N // HOP)          as openai/whisper transcribe.py:content_frames counts them
    frames that are not zero [0, N // HOP + 2]      the last ones see the step from the recording's end to silence

Everything is float32, on the device that is asked for.
Source: openai/whisper audio.py:log_mel_spectrogram (20250625); twin: tests/cpu/test_mel.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import gcd
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from sottovoce.errors import AudioError
from sottovoce.threads import one_thread
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
PEAK_BLOCK = 256  # frames transformed at once in search of the peak
RANGE_LOG10 = 8.0  # what is quieter than the peak by more than 80 dB is lifted to there

Samples = TypeVar("Samples", np.ndarray, torch.Tensor)


def pad_or_trim(array: Samples, length: int = N_SAMPLES, *, axis: int = -1) -> Samples:
    """The array with exactly `length` entries along an axis: cut at the end, or followed by zeros."""
    n = array.shape[axis]
    if n > length:
        return array.narrow(axis, 0, length) if isinstance(array, torch.Tensor) else array.take(range(length), axis)
    if n == length:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - n)
    if isinstance(array, torch.Tensor):
        return F.pad(array, [n for pair in reversed(widths) for n in pair])  # torch counts axes from the last one
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
    device = torch.device("cpu")
    # Parseval: the bins between 0 and Nyquist (where the filters are 0) hold N_FFT / 2 times the energy, or less
    gain = N_FFT / 2 * float(filters(n_mels, device).max()) * 1.001  # rounding
    bounds = _energies(samples) * gain  # (F,)
    order = np.argsort(-bounds)
    loudest = FLOOR
    with one_thread():
        for i in range(0, order.size, PEAK_BLOCK):
            frames = order[i : i + PEAK_BLOCK]
            if bounds[frames[0]] <= loudest:
                break
            sound = np.stack([cut(samples, int(i_frame), 1) for i_frame in frames])  # (F, N_FFT)
            loudest = max(loudest, float(_power(torch.from_numpy(sound), n_mels).max()))
    return float(torch.tensor(loudest).log10())


def _energies(samples: np.ndarray) -> np.ndarray:
    n_frames = samples.size // HOP + 3
    energies = np.empty(n_frames, np.float32)
    for i in range(0, n_frames, ENERGY_BLOCK):
        sound = cut(samples, i, min(ENERGY_BLOCK, n_frames - i)).reshape(-1, PIECE)
        pieces = np.einsum("pn,pn->p", sound, sound)
        frames = np.lib.stride_tricks.sliding_window_view(pieces, N_FFT // PIECE)[:: HOP // PIECE]
        energies[i : i + ENERGY_BLOCK] = frames.sum(axis=1)
    return energies


def batch(sounds: Sequence[Sound], n_mels: int, device: torch.device | str) -> torch.Tensor:
    """Log-mel of windows that may come from different recordings, each normalised by its own peak.

    sounds: as `cut` gave their samples, or with their mel; `features` are past this point and are refused.
    Returns (W, n_mels, N_FRAMES) float32; frames from Sound.n_frames on are 0.
    """
    out = torch.zeros(len(sounds), n_mels, N_FRAMES, device=device)  # (W, M, F)
    heard = [i for i, sound in enumerate(sounds) if sound.mel is None]
    for i, sound in enumerate(sounds):
        if sound.mel is not None:
            mel = torch.from_numpy(np.ascontiguousarray(sound.mel[:, : sound.n_frames], np.float32))
            out[i, :, : mel.shape[1]] = _given(mel, device)
    longest = max((sounds[i].n_frames for i in heard), default=0)
    if not longest:
        return out
    stack = np.zeros((len(heard), longest * HOP + MARGIN), np.float32)  # (W, N)
    for row, i in zip(stack, heard, strict=True):
        samples, n = sounds[i].samples, sounds[i].n_frames
        assert samples is not None and samples.size == n * HOP + MARGIN, f"a Sound of {n} frames holds no such samples"
        row[: samples.size] = samples
    peaks = _given(torch.tensor([sounds[i].peak for i in heard], dtype=torch.float32), device)  # (W,)
    logs = _normalise(_power(_given(torch.from_numpy(stack), device), n_mels), peaks[:, None, None])  # (W, M, F)
    for log, i in zip(logs, heard, strict=True):
        n = sounds[i].n_frames
        out[i, :, :n] = log[:, :n]
    return out


def log_mel(
    samples: np.ndarray | torch.Tensor, n_mels: int, padding: int = 0, device: torch.device | str | None = None
) -> torch.Tensor:
    """Log-mel of a whole recording at once, normalised by its own peak.

    samples: (..., N) floating, 16 kHz; a tensor stays on its device unless another is named. padding: zeros to append.
    Returns (..., n_mels, (N + padding) // HOP) float32.
    Raises AudioError if there are too few samples to mirror the start, or if they are whole numbers.
    """
    sound = torch.from_numpy(samples) if isinstance(samples, np.ndarray) else samples
    if not sound.is_floating_point():
        raise AudioError(f"samples of {sound.dtype} were given, floats in [-1, 1) were expected; divide int16 by 32768")
    sound = F.pad(sound.to(device=device, dtype=torch.float32), (0, padding))
    if sound.shape[-1] <= N_FFT // 2:
        raise AudioError(
            f"{sound.shape[-1]} samples were given, more than {N_FFT // 2} were expected; append zeros with padding"
        )
    mirrored = torch.cat((sound[..., 1 : N_FFT // 2 + 1].flip(-1), sound), dim=-1)
    n_frames = sound.shape[-1] // HOP
    # the last frames may look past the end, where openai/whisper mirrors too
    tail = sound[..., -(N_FFT // 2) - 1 : -1].flip(-1)
    seen = torch.cat((mirrored, tail), dim=-1)[..., : n_frames * HOP + MARGIN]
    power = _power(seen, n_mels)
    return _normalise(power, power.max().clamp(min=FLOOR).log10())


def _given(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """The host's tensor on a device. A copy to CUDA from pageable memory would wait for all that it still has to do."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _power(samples: torch.Tensor, n_mels: int) -> torch.Tensor:
    spectrum = torch.stft(samples, N_FFT, HOP, window=_hann(samples.device), center=False, return_complex=True)
    return filters(n_mels, samples.device) @ spectrum.abs() ** 2  # (..., M, F)


def _normalise(power: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    log = power.clamp(min=FLOOR).log10()
    return (torch.maximum(log, peak - RANGE_LOG10) + 4.0) / 4.0  # speech comes out near [-1, 1]


@cache
def _hann(device: torch.device) -> torch.Tensor:
    return torch.hann_window(N_FFT, device=device)


@cache
def filters(n_mels: int, device: torch.device) -> torch.Tensor:
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
    return torch.from_numpy((triangles * area[:, None]).astype(np.float32)).to(device)
