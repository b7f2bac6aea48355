"""Log-mel by a compiled kernel (cpp/mel.cpp). Plain twin: audio/mel.py, which says what it is."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from sottovoce.audio import mel
from sottovoce.engine import kernels
from sottovoce.types import Sound


def batch(sounds: Sequence[Sound], n_mels: int, n_threads: int) -> np.ndarray:
    """As mel.batch."""
    library = kernels.needed()
    out = np.zeros((len(sounds), n_mels, mel.N_FRAMES), np.float32)  # (W, M, F)
    for found, sound in zip(out, sounds, strict=True):
        if sound.mel is not None:
            known = sound.mel[:, : sound.n_frames]
            found[:, : known.shape[1]] = known
            continue
        samples = np.ascontiguousarray(mel.held(sound), np.float32)
        asked = ctypes.byref(_tables(n_mels).asked(sound.n_frames))
        given, to = (ctypes.c_void_p(a.ctypes.data) for a in (samples, found))
        library.sv_mel(asked, given, ctypes.c_float(sound.peak), to, ctypes.c_int64(mel.N_FRAMES), n_threads)
    return out


@dataclass(frozen=True, slots=True)
class _Tables:
    """What cpp/mel.cpp:Mels points to, but for how many frames there are."""

    window: np.ndarray
    turns: np.ndarray
    first: np.ndarray
    n_bins: np.ndarray
    weights: np.ndarray

    def asked(self, n_frames: int) -> kernels.Mels:
        tables = (self.window, self.turns, self.first, self.n_bins, self.weights)
        return kernels.Mels(len(self.first), n_frames, *(table.ctypes.data for table in tables))


@cache
def _tables(n_mels: int) -> _Tables:
    angles = -2 * np.pi * np.arange(mel.N_FFT) / mel.N_FFT
    heard = [np.flatnonzero(line) for line in mel.filters(n_mels)]
    return _Tables(
        mel.window(),
        np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
        np.array([bins[0] for bins in heard], np.int32),
        np.array([len(bins) for bins in heard], np.int32),
        np.concatenate([line[bins] for line, bins in zip(mel.filters(n_mels), heard, strict=True)]),
    )
