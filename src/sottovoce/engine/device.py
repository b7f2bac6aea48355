"""Which device and precision: chosen once, with the reason. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sottovoce.engine import kernels
from sottovoce.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and how precisely to compute, and why. devices: all that compute; a model has an engine on each.

    weight_bits: 8 where the decoder's weights are kept as whole numbers; else they are of the dtype.
    """

    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    reason: str
    weight_bits: int = 16

    @property
    def device(self) -> torch.device:
        """The first of them."""
        return self.devices[0]

    @property
    def compute(self) -> str:
        return "int8" if self.weight_bits == 8 else str(self.dtype).removeprefix("torch.")


def choose(device: str = "auto", compute: str = "auto") -> Choice:
    """CUDA before MPS before CPU; on each the fastest precision that loses no words.

    Raises ConfigError if the device is not there, or does not know the precision.
    """
    first, *others = device.split(",")
    where, why = _device(first)
    kind = where.type
    devices = (where, *(_device(f"{kind}:{index}")[0] for index in others))
    if compute == "auto":
        dtype, why_dtype = _dtype(where)
    else:
        dtype, why_dtype = DTYPES[compute], "as asked"
    if where.type == "cpu" and dtype is torch.float16:
        raise ConfigError(
            "compute: float16 was given, but CPUs compute float16 slowly and with overflow; use bfloat16 or float32"
        )
    if compute == "int8" and (where.type != "cpu" or kernels.library() is None):
        raise ConfigError(
            f"compute: int8 was given, but 8-bit weights need the compiled CPU kernels, which {where} has not; use "
            "bfloat16, float16 or float32"
        )
    names = " and ".join(str(device) for device in devices)
    kind = "int8 (weights of the decoder)" if compute == "int8" else str(dtype).removeprefix("torch.")
    return Choice(devices, dtype, f"{names}: {why}; {kind}: {why_dtype}", 8 if compute == "int8" else 16)


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"CUDA answers ({torch.cuda.get_device_name()})"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Metal answers, CUDA does not"
        return torch.device("cpu"), "no CUDA device and no Metal answer"
    kind = name.split(":")[0]
    if kind == "cuda":
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(name.split(":")[1]) if ":" in name else 0
        if index >= n:
            built = "is built without CUDA" if torch.version.cuda is None else f"finds {n} CUDA devices"
            raise ConfigError(
                f"device: {name} was given, but torch {torch.__version__} {built}; use --device cpu or auto"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: mps was given, but Metal does not answer on this machine; use --device cpu or auto")
    return torch.device(name), "as asked"


def _dtype(device: torch.device) -> tuple[torch.dtype, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major >= 8:
            return torch.bfloat16, f"compute capability {major}.{minor} has tensor cores for it, without overflow"
        if (major, minor) >= (5, 3):
            return torch.float16, f"compute capability {major}.{minor} has no fast bfloat16"
        return torch.float32, f"compute capability {major}.{minor} has no fast half precision"
    if device.type == "mps":
        return torch.float16, "Metal's fastest"
    found = instruction_sets()
    for name in ("AMX", "AVX512_BF16"):
        if name in found:
            return torch.bfloat16, f"this CPU multiplies it in hardware ({name})"
    if kernels.library() is not None:
        return torch.bfloat16, "it halves what this CPU's memory must move, and there are kernels for it"
    return torch.float32, "this CPU has neither AMX nor AVX512_BF16, and no kernels were compiled for it"


def instruction_sets() -> tuple[str, ...]:
    """What this CPU offers of AVX2, AVX512, AVX512_BF16 and AMX, as torch sees it (ONEDNN_MAX_CPU_ISA respected)."""
    return tuple(name.upper() for name in reversed(kernels.instruction_sets()))


# --- what is there, for people who look for a fault ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device. capability: as "9.0"."""

    name: str
    capability: str
    memory_bytes: int
    free_bytes: int


def gpus() -> tuple[Gpu, ...]:
    """The CUDA devices that torch can use."""
    found = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free_bytes, memory_bytes = torch.cuda.mem_get_info(i)
        major, minor = torch.cuda.get_device_capability(i)
        found.append(Gpu(torch.cuda.get_device_name(i), f"{major}.{minor}", memory_bytes, free_bytes))
    return tuple(found)


def torch_build() -> tuple[str, str | None]:
    """torch's version, and the CUDA version that it is built for; None for a CPU build."""
    return str(torch.__version__), torch.version.cuda
