"""openai-whisper's `whisper.audio` over ours: sound to samples to log-mel. Knows no model.

Source: openai/whisper audio.py (20250625).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from sottovoce.audio import decode, mel
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
    """(N,) float32 samples of a recording, 16 kHz mono; anything that `sottovoce.Whisper.transcribe` opens.

    sr: 16000 only. Raises LoadError.
    """
    if sr != SAMPLE_RATE:
        raise OptionError(
            f"sr: {sr} was given, {SAMPLE_RATE} was expected, the only rate the models know; leave it out and resample "
            "the result if something else needs another rate"
        )
    try:
        return decode.load(file)
    except AudioError as e:
        raise LoadError(f"Failed to load audio: {e}") from e


def pad_or_trim(array: Samples, length: int = N_SAMPLES, *, axis: int = -1) -> Samples:
    """The array with exactly `length` entries along an axis: cut, or followed by zeros."""
    return mel.pad_or_trim(array, length, axis=axis)


def mel_filters(device: str | torch.device, n_mels: int) -> torch.Tensor:
    """(n_mels, 201) float32: the mel filterbank."""
    _check_bins(n_mels)
    return mel.filters(n_mels, torch.device(device))


def log_mel_spectrogram(
    audio: str | os.PathLike[str] | np.ndarray | torch.Tensor,
    n_mels: int = 80,
    padding: int = 0,
    device: str | torch.device | None = None,
) -> torch.Tensor:
    """(..., n_mels, frames) float32 of a file or of (..., N) samples at 16 kHz.

    padding: zeros to append, in samples. device: where it is computed, and stays.
    """
    _check_bins(n_mels)
    samples = load_audio(audio) if isinstance(audio, str | Path | os.PathLike) else audio
    return mel.log_mel(samples, n_mels, padding, device)


def _check_bins(n_mels: int) -> None:
    if n_mels not in MEL_BINS:
        raise OptionError(
            f"n_mels: {n_mels} was given, 80 or 128 was expected; pass the model's own, model.dims.n_mels"
        )
