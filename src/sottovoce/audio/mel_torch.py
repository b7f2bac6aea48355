"""Log-mel on a device, by torch. Plain twin: mel.py, which says what it is and owns its constants.

Everything is float32, on the device that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from sottovoce.audio import mel
from sottovoce.audio.mel import FLOOR, HOP, MARGIN, N_FFT, N_FRAMES, N_SAMPLES, RANGE_LOG10
from sottovoce.types import Sound


def pad_or_trim(tensor: torch.Tensor, length: int = N_SAMPLES, *, axis: int = -1) -> torch.Tensor:
    """As mel.pad_or_trim; where it is cut, a view."""
    n = tensor.shape[axis]
    if n >= length:
        return tensor if n == length else tensor.narrow(axis, 0, length)
    widths = [(0, 0)] * tensor.ndim
    widths[axis] = (0, length - n)
    return F.pad(tensor, [n for pair in reversed(widths) for n in pair])  # torch counts axes from the last one


def batch(sounds: Sequence[Sound], n_mels: int, device: torch.device | str) -> torch.Tensor:
    """As mel.batch."""
    out = torch.zeros(len(sounds), n_mels, N_FRAMES, device=device)  # (W, M, F)
    heard = [i for i, sound in enumerate(sounds) if sound.mel is None]
    for i, sound in enumerate(sounds):
        if sound.mel is not None:
            known = torch.from_numpy(np.ascontiguousarray(sound.mel[:, : sound.n_frames], np.float32))
            out[i, :, : known.shape[1]] = _given(known, device)
    longest = max((sounds[i].n_frames for i in heard), default=0)
    if not longest:
        return out
    stack = np.zeros((len(heard), longest * HOP + MARGIN), np.float32)  # (W, N)
    for row, i in zip(stack, heard, strict=True):
        samples = mel.held(sounds[i])
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
    """As mel.log_mel. samples: a tensor stays on its device unless another is named."""
    sound = torch.from_numpy(samples) if isinstance(samples, np.ndarray) else samples
    mel.check_samples(str(sound.dtype), sound.is_floating_point(), sound.shape[-1] + padding)
    sound = F.pad(sound.to(device=device, dtype=torch.float32), (0, padding))
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
    """mel.filters on a device."""
    return torch.from_numpy(mel.filters(n_mels).copy()).to(device)
