"""The machine that is measured, in words. Knows no model."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from sottovoce.threads import n_cpus

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # that decide which kernels run


def words() -> str:
    """For example "2 CPUs, Intel(R) Xeon(R) Processor, avx2 avx512f amx_bf16, 23 GiB, Linux"."""
    return ", ".join(
        part for part in (f"{n_cpus()} CPUs", _name(), " ".join(flags()), _memory(), platform.system()) if part
    )


def flags() -> list[str]:
    """Those of FLAGS that the processor has, where the kernel says."""
    has = set((_field("/proc/cpuinfo", "flags") or "").split())
    return [flag for flag in FLAGS if flag in has]


def load() -> float:
    """Programs that wanted a CPU during the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _name() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _memory() -> str:
    found = _field("/proc/meminfo", "MemTotal")
    return f"{int(found.split()[0]) / 2**20:.0f} GiB" if found else ""


def _field(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text()
    except OSError:
        return None
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else None
