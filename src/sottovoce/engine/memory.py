"""How much memory a model takes, when there is none left, and how freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import logging
import math
import sys
from collections.abc import Sequence as Seq

from sottovoce.engine import kernels, native
from sottovoce.engine.device import BYTES, kind_of
from sottovoce.engine.slots import SPARE_SLOTS
from sottovoce.model import weights
from sottovoce.model.dims import Dims

log = logging.getLogger(__name__)

# how torch's CPU allocator, cuBLAS and cuDNN say it: with a bare RuntimeError
NO_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


DEFAULT_WINDOWS = 16  # decoded together on CPUs; each is a row, or as many as it has beams
DEFAULT_ROWS = 32  # on kernels, where a row costs nothing until it is used: 6 windows of 5 beams, not 3 (docs/log.md)
MOST_ROWS = 128  # of those that are found by memory: what more of them would bring was not measured on any device
ENCODER_PARTS = 16  # of a window's features that the encoder holds at once, at most: 4 in each of its wide layers


def rows_that_fit(dims: Dims, dtype: str, kv: str, encode_windows: int, free_bytes: float, device: str) -> int:
    """How many rows a device has room for, at least 1. free_bytes: what weights, pools and passes may take."""
    sounds = encode_windows * dims.n_audio_ctx * dims.n_audio_state * ENCODER_PARTS * BYTES[dtype]
    row = n_bytes(dims, device, dtype, 1, kv) - n_bytes(dims, device, dtype, 0, kv)
    choices = 3 * dims.n_vocab * BYTES["float32"]  # logits, and what rules and choice make of them
    left = free_bytes - n_bytes(dims, device, dtype, 0, kv) - sounds
    return max(1, min(MOST_ROWS, int(left / (row + choices))))


def n_rows(
    dims: Dims,
    devices: Seq[str],
    dtype: str,
    kv: str,
    encode_windows: int,
    share: float,
    most_gb: float,
) -> int:
    """Rows for a model that is about to be loaded: by the free memory of the CUDA device that has the least of it.

    share: of it that the model may take. most_gb: a budget besides, 0 for none.
    """
    if kind_of(devices[0]) != "cuda":
        return DEFAULT_ROWS if native.fits(dims, devices[0], dtype) else DEFAULT_WINDOWS
    free = min(_free_bytes(device) for device in devices)
    room = min(share * free, most_gb * 1e9 or math.inf)
    found = rows_that_fit(dims, dtype, kv, encode_windows, room, devices[0])
    log.info("%d rows, of %.1f GB free memory at most %.1f", found, free / 1e9, room / 1e9)
    return found


def _free_bytes(device: str) -> int:
    from sottovoce.engine import accelerators

    return accelerators.free_bytes(device)


def n_bytes(dims: Dims, device: str, dtype: str, n_rows: int, kv: str = "auto", n_windows: int | None = None) -> int:
    """What a model takes on a device: weights, and pools as if every slot and row were in use.

    n_windows: decoded together; None: as many as rows. What a step computes with comes on top. Weights in 8 bits are
    counted as 16.
    """
    on_kernels = native.fits(dims, device, dtype)
    in_8_bits = kv != "bfloat16" if on_kernels else kv == "int8" and kind_of(device) == "cuda"
    width = 2 * dims.n_text_layer * dims.n_text_state  # keys and values of one position
    n_texts = n_rows + on_kernels  # kernels have a row for texts that are only read
    n_sounds = (n_rows if n_windows is None else n_windows) + SPARE_SLOTS
    sounds, texts = width * dims.n_audio_ctx * n_sounds, width * dims.n_text_ctx * n_texts
    each = 1 + 4 / kernels.HEAD if in_8_bits else BYTES[dtype]  # a number, its share of a scale
    return round(sounds * each) + (weights.n_weights(dims) + texts) * BYTES[dtype]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less at once might do."""
    torch = sys.modules.get("torch")  # if it is not there, it has raised nothing
    if isinstance(error, MemoryError | getattr(torch, "OutOfMemoryError", MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY)


def give_back() -> None:
    """Give what was freed back to the system; allocators keep it for a next time that may never come."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # another thread may be importing it just now
    is_there = getattr(cuda, "is_available", None)
    if cuda is not None and is_there is not None and is_there():
        cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
        if trim is not None:
            trim(0)
