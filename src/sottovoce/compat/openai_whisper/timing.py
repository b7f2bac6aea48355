"""openai-whisper's `whisper.timing` over ours: the pure parts of word alignment.

Words themselves come from `transcribe(word_timestamps=True)`. Source: openai/whisper timing.py (20250625).
"""

from __future__ import annotations

import numpy as np
import torch

from sottovoce.engine import align
from sottovoce.errors import OptionError

__all__ = ["dtw", "dtw_cpu", "dtw_cuda", "median_filter"]


def median_filter(x: torch.Tensor, filter_width: int) -> torch.Tensor:
    """Median over `filter_width` (odd) neighbours along the last axis, edges reflected; x itself if it is too short."""
    if filter_width < 1 or filter_width % 2 == 0:
        raise OptionError(f"filter_width: {filter_width} was given, an odd number above 0 was expected; try 7")
    return align.median_filter(x, filter_width)


def dtw_cpu(x: np.ndarray) -> np.ndarray:
    """(2, L) the cheapest monotonic path through (N, M) costs: text indices, time indices."""
    return np.stack(align.dtw(np.asarray(x)))


def dtw_cuda(x: torch.Tensor, BLOCK_SIZE: int = 1024) -> np.ndarray:
    """As `dtw_cpu`, of a tensor on a device: the costs are brought to the host, where the path is walked anyway.

    BLOCK_SIZE: threads of the reference's kernel; there is no kernel here, and no limit on N.
    """
    return dtw_cpu(x.float().cpu().numpy())


def dtw(x: torch.Tensor) -> np.ndarray:
    """(2, L) the cheapest monotonic path through (N, M) costs."""
    return dtw_cuda(x) if x.is_cuda else dtw_cpu(x.double().cpu().numpy())
