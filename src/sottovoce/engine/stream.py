"""What the host tells a device and hears of it without waiting. Only here: streams, events, pinned memory and graphs.

PlainStream stands in for CUDA on any device, so that what is written for streams and graphs runs without them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

ONE_AT_A_TIME = threading.Lock()  # torch.cuda.graph: only one recording may be underway in a process
Work = Callable[[], None]
Read = Callable[[], tuple[np.ndarray, ...]]  # waits until a device has posted; then gives what it posted


class Stream(Protocol):
    """Work of one device, in the order in which it is given."""

    device: torch.device

    def begin(self) -> None:
        """Called once, on the thread that gives the work."""
        ...

    def put(self, values: object, dtype: torch.dtype = torch.int64) -> Tensor:
        """Numbers of the host, (nested) lists or an array, as a tensor of the device."""
        ...

    def post(self, *tensors: Tensor) -> Read:
        """Send what the tensors hold at this point of the work to the host, which reads it when it likes."""
        ...

    def record(self, work: Work) -> Work:
        """Work that does the same as `work` does now, launched at once.

        work: of tensors that stay where they are, and without a wait. It may run while it is recorded, so doing it
        twice must do no harm.
        """
        ...

    def forget(self) -> None:
        """All that was recorded is gone: its memory may go back."""
        ...


class PlainStream:
    """Everything is done when it is given; what is recorded is called again."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def begin(self) -> None:
        pass

    def put(self, values: object, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.as_tensor(values, dtype=dtype).to(self.device)

    def post(self, *tensors: Tensor) -> Read:
        posted = tuple(t.detach().cpu().numpy().copy() for t in tensors)
        return lambda: posted

    def record(self, work: Work) -> Work:
        return work

    def forget(self) -> None:
        pass


class CudaStream:
    """CUDA's current stream. Graphs share one pool of memory: none of them keeps anything in it between replays."""

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self._pool = torch.cuda.graph_pool_handle()
        # one for all that is recorded: libraries keep a workspace for each stream that they have seen
        self._aside = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        torch.cuda.set_device(self.device)

    def put(self, values: object, dtype: torch.dtype = torch.int64) -> Tensor:
        # a copy from pageable memory would wait for the stream
        return torch.as_tensor(values, dtype=dtype).pin_memory().to(self.device, non_blocking=True)

    def post(self, *tensors: Tensor) -> Read:
        posted = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
        for to, of in zip(posted, tensors, strict=True):
            to.copy_(of, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(self.device))

        def read() -> tuple[np.ndarray, ...]:
            arrived.synchronize()  # sync: with this point of the work, not with what was given later
            return tuple(t.numpy() for t in posted)

        return read

    def record(self, work: Work) -> Work:
        graph, aside, here = torch.cuda.CUDAGraph(), self._aside, torch.cuda.current_stream(self.device)
        with ONE_AT_A_TIME, torch.cuda.device(self.device):
            aside.wait_stream(here)
            try:
                with torch.cuda.stream(aside):
                    work()  # libraries make their handles and workspaces, Triton compiles: none of it can be recorded
                here.wait_stream(aside)
                # other threads may use other devices, or load a model on this one, meanwhile
                with torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"):
                    work()
            finally:
                torch.cuda.set_stream(here)  # torch leaves the stream aside in use if a recording cannot be ended
        return graph.replay

    def forget(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        torch.cuda.empty_cache()


def stream_of(device: torch.device) -> CudaStream | None:
    """The stream of a device that has one."""
    return CudaStream(device) if device.type == "cuda" else None
