"""openai-whisper's `whisper.audio` over ours: sound to samples to log-mel. Knows no model.

Source: openai/whisper audio.py (20250625).
"""

from __future__ import annotations

import os
from typing import TypeVar

import numpy as np
import torch

from sottovoce.audio import decode, mel, mel_torch
from sottovoce.audio.channels import load_channels
from sottovoce.audio.mel import N_FFT, N_FRAMES, N_SAMPLES
from sottovoce.errors import AudioError, OptionError
from sottovoce.types import SAMPLE_RATE

__all__ = [
    "CHUNK_LENGTH",
    "FRAMES_PER_SECOND",
    "HOP_LENGTH",
    "N_FFT",
    "N_FRAMES",
    "N_SAMPLES",
    "N_SAMPLES_PER_TOKEN",
    "SAMPLE_RATE",
    "TOKENS_PER_SECOND",
    "LoadError",
    "load_audio",
    "log_mel_spectrogram",
    "mel_filters",
    "pad_or_trim",
]

HOP_LENGTH = mel.HOP
CHUNK_LENGTH = mel.WINDOW_S
N_SAMPLES_PER_TOKEN = 2 * HOP_LENGTH  # 320: one audio position
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
TOKENS_PER_SECOND = SAMPLE_RATE // N_SAMPLES_PER_TOKEN  # 50
MEL_BINS = (80, 128)

Samples = TypeVar("Samples", np.ndarray, torch.Tensor)


class LoadError(AudioError, RuntimeError):
    """A recording cannot be opened; the reference raises RuntimeError, and programs catch it."""


def load_audio(file: str | os.PathLike[str], sr: int = SAMPLE_RATE) -> np.ndarray:
    """(N,) float32 samples of a recording, mono; anything that `sottovoce.Whisper.transcribe` opens.

    sr: their rate in Hz; models know 16000 only. Raises LoadError (a RuntimeError).
    """
    try:
        if sr == SAMPLE_RATE:
            return decode.load(file)
        mono: np.ndarray = load_channels(file, 1, sr)[0]
        return mono
    except AudioError as e:
        raise LoadError(f"Failed to load audio: {e}") from e


def pad_or_trim(array: Samples, length: int = N_SAMPLES, *, axis: int = -1) -> Samples:
    """The array with exactly `length` entries along an axis: cut, or followed by zeros."""
    if isinstance(array, torch.Tensor):
        return mel_torch.pad_or_trim(array, length, axis=axis)
    return mel.pad_or_trim(array, length, axis=axis)


def mel_filters(device: str | torch.device, n_mels: int) -> torch.Tensor:
    """(n_mels, 201) float32: the mel filterbank."""
    _check_bins(n_mels)
    return mel_torch.filters(n_mels, torch.device(device))


def log_mel_spectrogram(
    audio: str | os.PathLike[str] | np.ndarray | torch.Tensor,
    n_mels: int = 80,
    padding: int = 0,
    device: str | torch.device | None = None,
) -> torch.Tensor:
    """(..., n_mels, frames) float32 of a file or of (..., N) samples at 16 kHz.

    padding: zeros to append, in samples. device: where it is computed, and stays.
    Raises LoadError (a RuntimeError), also for samples that are too few or whole numbers, TypeError for what is none.
    """
    _check_bins(n_mels)
    samples = load_audio(audio) if isinstance(audio, str | os.PathLike) else audio
    check_kind(samples)
    try:
        return mel_torch.log_mel(samples, n_mels, padding, device)
    except AudioError as e:
        raise LoadError(str(e)) from e


def check_kind(samples: object) -> None:
    """Raise TypeError, as the reference does, for what is neither an array nor a tensor."""
    if not isinstance(samples, np.ndarray | torch.Tensor):
        raise TypeError(
            f"{type(samples).__name__} was given, a path or samples as np.ndarray or torch.Tensor were expected; "
            "np.asarray(samples, np.float32) makes them of a list of numbers"
        )


def _check_bins(n_mels: int) -> None:
    if n_mels not in MEL_BINS:
        raise OptionError(
            f"n_mels: {n_mels} was given, 80 or 128 was expected; pass the model's own, model.dims.n_mels"
        )
