"""The compiled CPU kernels (cpp/): which library suits this CPU, what it is called with, and memory for it.

Without a library for this CPU everything is computed by torch; engine/plain.py is the plain twin.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import logging
import mmap
import os
import sys
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from sottovoce.errors import ConfigError

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "cpp"
HEAD = 64  # width of an attention head, in every checkpoint; cpp/layers.h
TILE_K, GROUP = 32, 64  # cpp/simd.h: k of a tile, and the columns of one product
BLOCK = 32  # lines of one product; cpp/layers.h
MOST_CHOICES = 64  # cpp/choose.cpp
HUGE_PAGE = 2 << 20  # bytes, on x86-64
AVX2 = {"avx2", "fma", "f16c"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
AVX512_BF16 = AVX512 | {"avx512_bf16", "avx512_vnni"}
# what each library may use (hatch_build.py), in the words of /proc/cpuinfo
NEEDED = {
    "avx2": AVX2,
    "avx512": AVX512,
    "avx512_bf16": AVX512_BF16,
    "amx": AVX512_BF16 | {"amx_tile", "amx_bf16", "amx_int8"},
}
# asking Linux for AMX's registers; linux Documentation/arch/x86/xstate
ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 0x1023, 18


def _fields(text: str, kind: type) -> list[tuple[str, type]]:
    return [(name, kind) for name in text.split()]


class Weight(Structure):
    """cpp/bytes.h:Weight."""

    _fields_ = _fields("packed scale sums", c_void_p)


class DecoderLayer(Structure):
    """cpp/decoder.h:DecoderLayer."""

    _fields_ = _fields(
        "self_norm self_norm_bias self_in self_in_scale self_in_sums self_in_bias "
        "self_out self_out_scale self_out_sums self_out_bias "
        "cross_norm cross_norm_bias cross_in cross_in_scale cross_in_sums cross_in_bias "
        "cross_out cross_out_scale cross_out_sums cross_out_bias "
        "mlp_norm mlp_norm_bias mlp_in mlp_in_scale mlp_in_sums mlp_in_bias "
        "mlp_out mlp_out_scale mlp_out_sums mlp_out_bias "
        "self_k self_v cross_k cross_v "
        "cross_k_scale cross_v_scale",
        c_void_p,
    )


class Decoder(Structure):
    """cpp/decoder.h:Decoder."""

    _fields_ = [
        *_fields("n_layer n_state n_head n_vocab n_text n_audio", c_int32),
        *_fields("positions norm norm_bias embedding embedding_scale embedding_sums", c_void_p),
        ("layers", POINTER(DecoderLayer)),
    ]


class EncoderLayer(Structure):
    """cpp/encoder.cpp:EncoderLayer."""

    _fields_ = _fields(
        "norm norm_bias attn_in attn_in_scale attn_in_sums attn_in_bias "
        "attn_out attn_out_scale attn_out_sums attn_out_bias mlp_norm mlp_norm_bias "
        "mlp_in mlp_in_scale mlp_in_sums mlp_in_bias mlp_out mlp_out_scale mlp_out_sums mlp_out_bias",
        c_void_p,
    )


class Encoder(Structure):
    """cpp/encoder.cpp:Encoder."""

    _fields_ = [
        *_fields("n_layer n_state n_head n_audio attention_bits", c_int32),
        *_fields("norm norm_bias", c_void_p),
        ("layers", POINTER(EncoderLayer)),
    ]


class Pass(Structure):
    """cpp/decoder.h:Pass."""

    _fields_ = [
        *_fields("n_lines n_groups n_wanted n_heads n_ids lines_of_scores", c_int32),
        *_fields("tokens positions rows sources group_slot group_line group_n_lines wanted", c_void_p),
        *_fields("logits known probs heads scores", c_void_p),
        ("n_threads", c_int32),
        ("scratch", c_void_p),
    ]


class Mels(Structure):
    """cpp/mel.cpp:Mels."""

    _fields_ = [*_fields("n_mels n_frames", c_int32), *_fields("window turns first n_bins weights", c_void_p)]


class Spoken(Structure):
    """cpp/align.cpp:Spoken."""

    _fields_ = [*_fields("n_heads n_tokens n_sot n_audio n_positions width", c_int32), ("scale", c_float)]


class Rules(Structure):
    """cpp/choose.cpp:Rules. The pointers are those of HostRules.pointers(), by name."""

    _fields_ = [
        *_fields("n_vocab eot time_begin no_timestamps", c_int32),
        *_fields("table always first max_initial n_sampled last_time timestamps last_is_time before_is_time", c_void_p),
        *_fields("trees nodes returns", c_void_p),
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """The kernels for this CPU, loaded. name: their instruction set. left_out: what is there but cannot be used."""

    name: str | None
    library: ctypes.CDLL | None
    left_out: tuple[str, ...]


def name() -> str | None:
    """The instruction set of the kernels for this CPU, or None: another machine, or there was no compiler at hand."""
    return find().name


def library() -> ctypes.CDLL | None:
    """The kernels that `name` names, loaded."""
    return find().library


def needed() -> ctypes.CDLL:
    """The same, where it is known that there are some."""
    found = library()
    assert found is not None, "there are no kernels for this CPU"
    return found


@cache
def find() -> Found:
    """The fastest kernels that this CPU can run and that fit this version of sottovoce; logs what does not.

    SOTTOVOCE_KERNELS chooses: off, or one of the instruction sets that this CPU has (amx, avx512_bf16, avx512, avx2).
    Raises ConfigError if it names another.
    """
    wanted, here = os.environ.get("SOTTOVOCE_KERNELS", "").lower(), instruction_sets()
    if wanted and wanted not in ("off", *here):
        known = ", ".join(("off", *here))
        raise ConfigError(
            f"SOTTOVOCE_KERNELS: {wanted} was given, one of {known} was expected on this CPU; unset it to let "
            "sottovoce choose"
        )
    left_out: list[str] = []
    for found in () if wanted == "off" else (wanted,) if wanted else here:
        path = FOLDER / f"kernels_{found}.so"
        if not path.is_file() or (found == "amx" and not _may_use_tiles()):
            continue
        try:
            return Found(found, _load(path), tuple(left_out))
        except (OSError, AttributeError) as e:
            left_out.append(f"{path.name}: {e}")
            log.warning("kernels are left out: %s: %s; `pip install` sottovoce again to build them anew", path.name, e)
    return Found(None, None, tuple(left_out))


def _load(path: Path) -> ctypes.CDLL:
    """Raises OSError if it is no library for this machine, or was built from other sources than those beside it."""
    found = ctypes.CDLL(str(path))
    built, source = int(found.sv_version()), source_version()
    if source is not None and built != source:
        raise OSError(f"it was built from other sources ({built:#x}, not {source:#x})")
    for scratch in (found.sv_decoder_scratch, found.sv_encoder_scratch, found.sv_hear_scratch, found.sv_jumps_scratch):
        scratch.restype = c_int64
    return found


def source_version() -> int | None:
    """A number for the sources of the kernels, as hatch_build.py compiles it in; None where they are not at hand."""
    paths = sorted(p for p in FOLDER.iterdir() if p.suffix in (".cpp", ".h"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in paths)).digest()
    return int.from_bytes(digest[:4], "big") >> 1 if paths else None


def instruction_sets() -> list[str]:
    """Those of this CPU that there may be kernels for, the fastest first. ONEDNN_MAX_CPU_ISA is respected."""
    has = _cpu_flags()
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    free = cap in ("", "ALL", "DEFAULT")
    found = []
    if NEEDED["amx"] <= has and (free or "AMX" in cap):
        found.append("amx")
    if NEEDED["avx512_bf16"] <= has and (free or "AMX" in cap or "BF16" in cap):
        found.append("avx512_bf16")
    if NEEDED["avx512"] <= has and (free or "AVX512" in cap or "AMX" in cap):
        found.append("avx512")
    return [*found, "avx2"] if NEEDED["avx2"] <= has else found


@cache
def _cpu_flags() -> frozenset[str]:
    """What this CPU can do and Linux lets programs use; nothing elsewhere, where no kernels are built."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


@cache
def _may_use_tiles() -> bool:
    if sys.platform != "linux":
        return False
    syscall = ctypes.CDLL(None).syscall
    return bool(syscall(158, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0)  # 158: arch_prctl on x86-64


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 -> its bfloat16, to nearest, as uint16, in which numpy keeps it."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    found: np.ndarray = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return found


def from_bfloat16(x: np.ndarray) -> np.ndarray:
    """bfloat16, kept as uint16 -> float32."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def pointer(array: np.ndarray) -> c_void_p:
    """Where it lies, for as long as it lives."""
    return c_void_p(array.ctypes.data)


def room(shape: tuple[int, ...], dtype: DTypeLike, *, huge: bool = True) -> np.ndarray:
    """Memory in huge pages where the system gives them, zeroed, and touched only when it is first written.

    huge: False for what is mostly never touched, in small pages.

    Streams of keys, values and weights come from there twice as fast as from small pages (docs/log.md).
    Raises MemoryError.
    """
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    if n_bytes < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(shape, dtype)
    try:
        memory = mmap.mmap(-1, n_bytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as e:
        if e.errno != errno.ENOMEM:
            raise
        raise MemoryError(f"the system gives no {n_bytes >> 20} MB") from e
    with contextlib.suppress(OSError):  # a kernel without huge pages: small ones will do
        memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % HUGE_PAGE
    return np.frombuffer(memory, dtype, count=prod(shape), offset=start).reshape(shape)


def padded(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
