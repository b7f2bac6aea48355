"""CudaStream's recording, with torch.cuda taken away: what is called, in which order, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from sottovoce.engine.stream import CudaStream, PlainStream, stream_of


class Calls:
    """torch.cuda as far as CudaStream speaks it. current: the stream in use."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.current: Any = a_stream("here", self)
        self.ends = True

    def put_in(self, patch: pytest.MonkeyPatch) -> None:
        outer = self

        class Graph:
            def replay(self) -> None:
                outer.said.append("replay")

        @contextmanager
        def using(stream: Any) -> Iterator[None]:
            before, outer.current = outer.current, stream
            yield
            outer.current = before

        @contextmanager
        def graph(made: Any, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
            outer.said.append(f"record in {pool} on {stream.name}, {capture_error_mode}")
            outer.current = stream  # which torch leaves so if a recording cannot be ended
            yield
            if outer.ends:
                outer.current = a_stream("here", outer)

        pools = iter("ab")
        for name, stands_in in {
            "current_device": lambda: 0,
            "graph_pool_handle": lambda: next(pools),
            "Stream": lambda device: a_stream("aside", outer),
            "current_stream": lambda device: outer.current,
            "set_stream": lambda stream: setattr(outer, "current", stream),
            "device": lambda device: using(outer.current),
            "stream": using,
            "graph": graph,
            "CUDAGraph": Graph,
            "empty_cache": lambda: outer.said.append("empty"),
        }.items():
            patch.setattr(torch.cuda, name, stands_in)


def a_stream(name: str, calls: Calls) -> Any:
    def wait_stream(self: Any, other: Any) -> None:
        calls.said.append(f"{name} waits for {other.name}")

    return type("Stream", (), {"name": name, "wait_stream": wait_stream})()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    made = Calls()
    made.put_in(monkeypatch)
    return made


def test_work_runs_once_aside_and_is_recorded_there(calls: Calls) -> None:
    stream = CudaStream(torch.device("cuda"))
    assert stream.device == torch.device("cuda", 0)
    replay = stream.record(lambda: calls.said.append(f"work on {calls.current.name}"))
    replay()
    assert calls.said == [
        *("aside waits for here", "work on aside", "here waits for aside"),
        *("record in a on aside, thread_local", "work on aside", "replay"),
    ]


def test_what_cannot_be_recorded_leaves_the_stream_as_it_was(calls: Calls) -> None:
    """torch.cuda.graph does not leave its stream if the recording cannot be ended: all later work would go there."""
    calls.ends = False
    stream = CudaStream(torch.device("cuda"))

    def work() -> None:
        if calls.said[-1].startswith("record"):
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        stream.record(work)
    assert calls.current.name == "here"
    calls.ends = True
    stream.record(lambda: None)()  # and nobody holds the lock
    assert calls.said[-1] == "replay"


def test_what_was_recorded_goes_with_its_pool(calls: Calls) -> None:
    stream = CudaStream(torch.device("cuda"))
    stream.forget()
    stream.record(lambda: None)
    assert "empty" in calls.said
    assert "record in b on aside, thread_local" in calls.said


def test_only_cuda_has_a_stream() -> None:
    assert stream_of(torch.device("cpu")) is None


def test_what_was_posted_is_what_it_was_then() -> None:
    """A buffer is written over by the next step, before the host reads."""
    stream, buffer = PlainStream(torch.device("cpu")), torch.tensor([1, 2])
    read = stream.post(buffer)
    buffer.zero_()
    assert read()[0].tolist() == [1, 2]
