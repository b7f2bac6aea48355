"""What torch finds beside CPUs. Asked only where there may be something: importing torch takes a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch


def cuda_name() -> str | None:
    """Of the CUDA device that torch computes on unless told otherwise."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def n_cuda() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def capability(device: str) -> tuple[int, int]:
    """Compute capability of a CUDA device."""
    major, minor = torch.cuda.get_device_capability(device)
    return major, minor


def has_mps() -> bool:
    return bool(torch.backends.mps.is_available())


def free_bytes(device: str) -> int:
    """What a CUDA device has left, and what torch keeps of it without using it."""
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


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
