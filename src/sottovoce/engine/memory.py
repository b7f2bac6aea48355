"""How much memory a model takes, when there is none left, and how freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys

import torch

from sottovoce.engine import kernels
from sottovoce.engine.slots import SPARE_SLOTS
from sottovoce.model import weights
from sottovoce.model.dims import Dims

OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
# how torch's CPU allocator, cuBLAS and cuDNN say it: with a bare RuntimeError
NO_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def n_bytes(dims: Dims, device: torch.device, dtype: torch.dtype, n_rows: int, kv: str = "auto") -> int:
    """What a model takes on a device: weights, and pools as if every slot and row were in use.

    What a step computes with comes on top.
    """
    native = device.type == "cpu" and dtype == torch.bfloat16 and kernels.library() is not None
    width = 2 * dims.n_text_layer * dims.n_text_state  # keys and values of one position
    sounds, texts = width * dims.n_audio_ctx * (n_rows + SPARE_SLOTS), width * dims.n_text_ctx * n_rows
    each = 1 + 4 / kernels.HEAD if native and kv != "bfloat16" else dtype.itemsize  # a number, its share of a scale
    return round(sounds * each) + (weights.n_weights(dims) + texts) * dtype.itemsize


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less at once might do."""
    if isinstance(error, OUT_OF_MEMORY):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY)


def give_back() -> None:
    """Give what was freed back to the system; allocators keep it for a next time that may never come."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
        if trim is not None:
            trim(0)
