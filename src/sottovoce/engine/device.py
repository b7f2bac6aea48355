"""Which device and precision: chosen once, with the reason. Knows no model, and asks torch only if there may be a GPU.

Devices are named as torch names them: cpu, cuda, cuda:1, mps.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sottovoce.engine import kernels
from sottovoce.errors import ConfigError

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a number


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and how precisely to compute, and why. devices: all that compute; a model has an engine on each.

    weight_bits: 8 where weights are whole numbers, and what they are multiplied with too; else both are of the dtype.
    """

    devices: tuple[str, ...]
    dtype: str
    reason: str
    weight_bits: int = 16

    @property
    def device(self) -> str:
        """The first of them."""
        return self.devices[0]

    @property
    def compute(self) -> str:
        return "int8" if self.weight_bits == 8 else self.dtype


def choose(device: str = "auto", compute: str = "auto", *, in_8_bits: bool = True) -> Choice:
    """CUDA before MPS before CPU; on each the fastest precision that loses no words.

    in_8_bits: whether the model could be computed so.
    Raises ConfigError if the device is not there, or does not know the precision.
    """
    first, *others = device.split(",")
    where, why = _device(first)
    kind = kind_of(where)
    devices = (where, *(_device(f"{kind}:{index}")[0] for index in others))
    compute, why_compute = _compute(where, in_8_bits) if compute == "auto" else (compute, "as asked")
    dtype, bits = ("bfloat16", 8) if compute == "int8" else (compute, 16)
    if kind == "cpu" and dtype == "float16":
        raise ConfigError(
            "compute: float16 was given, but CPUs compute float16 slowly and with overflow; use bfloat16 or float32"
        )
    if compute == "int8" and (kind != "cpu" or kernels.library() is None or not in_8_bits):
        why_not = f"which {where} has not" if in_8_bits else "which do not know a network of these widths"
        raise ConfigError(
            f"compute: int8 was given, but 8-bit products need the compiled CPU kernels, {why_not}; use bfloat16, "
            "float16 or float32"
        )
    return Choice(devices, dtype, f"{' and '.join(devices)}: {why}; {compute}: {why_compute}", bits)


def kind_of(device: str) -> str:
    """cpu, cuda or mps."""
    return device.partition(":")[0]


@cache
def may_have_gpu() -> bool:
    """Whether asking torch for a GPU could be worth its import. No driver, no device."""
    if sys.platform != "linux":
        return True
    # NVIDIA's driver, its own and as Windows lends it; AMD's, whose devices torch's builds for ROCm call CUDA too
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")  # also where there are no such files
    except OSError:
        return False
    return True


def _device(name: str) -> tuple[str, str]:
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu", "as asked" if name == "cpu" else "no driver of a GPU is there"
    from sottovoce.engine import accelerators

    if name == "auto":
        if cuda := accelerators.cuda_name():
            return "cuda", f"CUDA answers ({cuda})"
        if accelerators.has_mps():
            return "mps", "Metal answers, CUDA does not"
        return "cpu", "no CUDA device and no Metal answer"
    kind = kind_of(name)
    if kind == "cuda":
        n = accelerators.n_cuda()
        index = int(name.split(":")[1]) if ":" in name else 0
        if index >= n:
            version, cuda = accelerators.torch_build()
            built = "is built without CUDA" if cuda is None else f"finds {n} CUDA devices"
            raise ConfigError(f"device: {name} was given, but torch {version} {built}; use --device cpu or auto")
    if kind == "mps" and not accelerators.has_mps():
        raise ConfigError("device: mps was given, but Metal does not answer on this machine; use --device cpu or auto")
    return name, "as asked"


def _compute(device: str, in_8_bits: bool) -> tuple[str, str]:
    """The precision that is chosen where none is asked for, and why."""
    kind = kind_of(device)
    if kind == "cuda":
        from sottovoce.engine import accelerators

        major, minor = accelerators.capability(device)
        if major >= 8:
            return "bfloat16", f"compute capability {major}.{minor} has tensor cores for it, without overflow"
        if (major, minor) >= (5, 3):
            return "float16", f"compute capability {major}.{minor} has no fast bfloat16"
        return "float32", f"compute capability {major}.{minor} has no fast half precision"
    if kind == "mps":
        return "float16", "Metal's fastest"
    if in_8_bits and kernels.name() == "avx512_bf16":  # on AMX 8 bits are compiled, and were not tried yet
        return "int8", "this CPU multiplies it twice as fast as bfloat16 (AVX512_VNNI), with hardly more errors"
    found = instruction_sets()
    for name in ("AMX", "AVX512_BF16"):
        if name in found:
            return "bfloat16", f"this CPU multiplies it in hardware ({name})"
    if kernels.library() is not None:
        return "bfloat16", "it halves what this CPU's memory must move, and there are kernels for it"
    return "float32", "this CPU has neither AMX nor AVX512_BF16, and no kernels were compiled for it"


def instruction_sets() -> tuple[str, ...]:
    """What this CPU offers of AVX2, AVX512, AVX512_BF16 and AMX, as far as ONEDNN_MAX_CPU_ISA allows."""
    return tuple(name.upper() for name in reversed(kernels.instruction_sets()))
