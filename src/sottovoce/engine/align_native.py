"""Cross-attention -> when each token is spoken, by a compiled kernel (cpp/align.cpp). Plain twin: align.py."""

from __future__ import annotations

import ctypes

import numpy as np

from sottovoce.engine import kernels


def jumps(
    scores: np.ndarray, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int, n_threads: int
) -> np.ndarray:
    """As align.Jumps, (T - n_sot - 1,) int64. scores: contiguous, and written over."""
    library = kernels.needed()
    assert scores.dtype == np.float32 and scores.flags.c_contiguous, "scores are float32, line after line"
    n_heads, n_tokens, n_audio = scores.shape
    asked = kernels.Spoken(n_heads, n_tokens, n_sot, n_audio, n_positions, medfilt_width, qk_scale)
    starts = np.empty(n_tokens - n_sot - 1, np.int64)
    scratch = np.empty(library.sv_jumps_scratch(ctypes.byref(asked), n_threads), np.uint8)
    given, found, room = (ctypes.c_void_p(a.ctypes.data) for a in (scores, starts, scratch))
    library.sv_jumps(ctypes.byref(asked), given, found, n_threads, room)
    return starts
