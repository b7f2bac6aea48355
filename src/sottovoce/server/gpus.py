"""GPUs by NVML: how busy, how full, how hot. Without a driver, or without the extra `gpu`, there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment; what it does not tell is None. busy: share of time, 0 to 1."""

    index: int
    name: str
    busy: float | None
    used_bytes: int | None
    n_bytes: int | None
    celsius: float | None
    watts: float | None


class Gpus:
    """The GPUs of this machine. nvml: NVIDIA's module, if another one is to be asked."""

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml if nvml is not None else _library()
        self._handles: list[tuple[Any, str]] = []
        if self._nvml is None:
            return
        try:
            self._nvml.nvmlInit()
            for i in range(self._nvml.nvmlDeviceGetCount()):
                handle = self._nvml.nvmlDeviceGetHandleByIndex(i)
                name = self._nvml.nvmlDeviceGetName(handle)
                self._handles.append((handle, name.decode() if isinstance(name, bytes) else str(name)))
        except self._nvml.NVMLError as e:
            log.debug("no GPU is watched: %s", e)

    def read(self) -> list[Gpu]:
        """Each GPU as it is now. It asks the driver, which may take milliseconds."""
        return [self._gpu(i, handle, name) for i, (handle, name) in enumerate(self._handles)]

    def _gpu(self, i: int, handle: Any, name: str) -> Gpu:
        n = self._nvml
        busy = self._told(lambda: n.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        memory = self._told(lambda: n.nvmlDeviceGetMemoryInfo(handle))
        celsius = self._told(lambda: float(n.nvmlDeviceGetTemperature(handle, n.NVML_TEMPERATURE_GPU)))
        watts = self._told(lambda: n.nvmlDeviceGetPowerUsage(handle) / 1000)
        used, total = (None, None) if memory is None else (int(memory.used), int(memory.total))
        return Gpu(i, name, busy, used, total, celsius, watts)

    def _told(self, ask: Callable[[], Any]) -> Any:
        """What a GPU tells; some do not tell all."""
        try:
            return ask()
        except self._nvml.NVMLError as e:
            log.debug("a GPU does not say: %s", e)
            return None


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml
