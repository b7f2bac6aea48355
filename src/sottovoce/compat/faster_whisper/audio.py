"""faster-whisper's `audio` over ours. Source: faster_whisper/audio.py (1.2.1)."""

from __future__ import annotations

from typing import Literal, overload

import numpy as np

from sottovoce.audio import decode, mel
from sottovoce.audio.channels import load_channels
from sottovoce.audio.source import Source
from sottovoce.compat.faster_whisper import errors
from sottovoce.types import SAMPLE_RATE

__all__ = ["decode_audio", "load_samples", "pad_or_trim"]


@overload
def decode_audio(input_file: Source, sampling_rate: int = ..., split_stereo: Literal[False] = ...) -> np.ndarray: ...
@overload
def decode_audio(
    input_file: Source, sampling_rate: int = ..., *, split_stereo: Literal[True]
) -> tuple[np.ndarray, np.ndarray]: ...
def decode_audio(
    input_file: Source, sampling_rate: int = SAMPLE_RATE, split_stereo: bool = False
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """(N,) float32 samples of a recording; with split_stereo, those of the left and of the right channel.

    input_file: also an http(s) URL or the bytes of a media file.
    Raises MissingRecording (a FileNotFoundError), UnreadableRecording (a ValueError); both are AudioErrors.
    """
    with errors.of_recordings(input_file):
        if split_stereo:
            left, right = load_channels(input_file, 2, sampling_rate)
            return left, right
        if sampling_rate == SAMPLE_RATE:
            return decode.load(input_file)
        mono: np.ndarray = load_channels(input_file, 1, sampling_rate)[0]
        return mono


def pad_or_trim(array: np.ndarray, length: int = mel.N_FRAMES, *, axis: int = -1) -> np.ndarray:
    """Features with exactly `length` frames along an axis: cut at the end, or followed by zeros."""
    return mel.pad_or_trim(array, length, axis=axis)


def load_samples(audio: Source) -> np.ndarray:
    """(N,) float32 samples of what a call was given; an empty array of samples is a recording without sound."""
    if isinstance(audio, np.ndarray) and audio.size == 0:
        return np.zeros(0, np.float32)
    with errors.of_recordings(audio):
        return decode.load(audio)
