"""Stand-ins for CUDA's streams and graphs: what a graph freezes is frozen here too, and what must not wait is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sottovoce.engine.stream import PlainStream, Read, Work

CPU = torch.device("cpu")
# a host that asks a device for a number waits for it, and cannot be recorded
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "item")


class RecordingStream(PlainStream):
    """Records operators of torch. A replay runs the same ones on the same tensors, whatever Python would do by now."""

    def __init__(self, device: torch.device = CPU) -> None:
        super().__init__(device)
        self.n_recorded = self.n_replayed = self.n_forgotten = 0
        self._recording = False

    def put(self, values: object, dtype: torch.dtype = torch.int64) -> Tensor:
        assert not self._recording, "numbers of the host would be frozen"
        return super().put(values, dtype)

    def record(self, work: Work) -> Work:
        work()
        tape: list[tuple[Any, Any, Any, Any]] = []

        class Tape(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
                assert func._opname not in WAITS, f"{func} waits for the device"
                out = func(*args, **(kwargs or {}))
                tape.append((func, args, kwargs or {}, out))
                return out

        self._recording = True
        try:
            with Tape():
                work()
        finally:
            self._recording = False
        self.n_recorded += 1

        def replay() -> None:
            self.n_replayed += 1
            now: dict[int, Tensor] = {}
            for func, args, kwargs, out in tape:
                args, kwargs = tree_map(lambda x: now.get(id(x), x) if isinstance(x, Tensor) else x, (args, kwargs))
                for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                    now[id(old)] = new

        return replay

    def forget(self) -> None:
        self.n_forgotten += 1


class WatchedStream(PlainStream):
    """Counts how often the host reads what was posted last: then it has waited for all that it gave."""

    def __init__(self, device: torch.device = CPU) -> None:
        super().__init__(device)
        self.n_posted = self.n_read = self.n_waits = 0

    def post(self, *tensors: Tensor) -> Read:
        read, number = super().post(*tensors), self.n_posted
        self.n_posted += 1

        def watched() -> tuple[np.ndarray, ...]:
            self.n_read += 1
            self.n_waits += number == self.n_posted - 1
            return read()

        return watched


class FullStream(RecordingStream):
    """A device that has no memory for graphs of more than so many lines (`most`), or that cannot record at all."""

    def __init__(self, most: int = 0, error: Exception | None = None) -> None:
        super().__init__()
        self.most, self.error = most, error

    def record(self, work: Work) -> Work:
        if self.n_recorded >= self.most:
            raise self.error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().record(work)
