"""Models that cost nothing, for the pool: their engines answer every window at once with their device's number."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from sottovoce.engine.load import Load
from sottovoce.engine.permit import Permit, Submit
from sottovoce.engine.pool import Pool
from sottovoce.engine.sequence import Outcome, Sequence
from sottovoce.errors import EngineError
from sottovoce.types import Answer, Decode, Decoded, Lane, Sound, Window


class Fake:
    """An engine that answers every window with its device's number, once it is let go."""

    def __init__(self, device: str) -> None:
        self.number = int(device[-1])
        self.go = threading.Event()
        self.go.set()
        self.fail: BaseException | None = None
        self.queue: list[Sequence] = []

    @property
    def idle(self) -> bool:
        return not self.queue

    def begin(self) -> None:
        pass

    def admit(self, window: Window) -> None:
        pass

    def add(self, window: Window, lane: Lane) -> Sequence:
        self.queue.append(Sequence(window, lane))
        return self.queue[-1]

    def withdraw(self, sequence: Sequence) -> None:
        self.queue.remove(sequence)

    def step(self) -> list[Outcome]:
        self.go.wait(10)
        if self.fail is not None:
            raise self.fail
        done, self.queue = self.queue, []
        return [Outcome(s, Decoded((self.number,), -0.5)) for s in done]

    def check(self) -> None:
        pass

    def load(self) -> Load:
        return Load(n_running=len(self.queue))


@dataclass(eq=False)
class Doll:
    """A model that costs nothing; it counts how often it was built and put away."""

    name: str = "a"
    n_bytes: int = 10
    devices: tuple[str, ...] = ("d0",)
    pinned: bool = False
    fail: BaseException | None = None
    wrong: bool = False
    gate: threading.Event | None = None
    building: threading.Event = field(default_factory=threading.Event)
    built: list[Fake] = field(default_factory=list)
    n_found: int = 0
    n_put_away: int = 0

    def find(self) -> Doll:
        self.n_found += 1
        return self

    def build(self, device: str) -> Fake:
        self.building.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.fail is not None:
            raise self.fail
        self.built.append(Fake(device))
        return self.built[-1]

    def prove(self, submit: Submit) -> None:
        answer = submit(a_window("known")).result(10)
        if self.wrong or not isinstance(answer, Decoded):
            raise EngineError(f"{self.name}: the words are wrong")

    def put_away(self) -> None:
        self.n_put_away += 1


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def a_window(key: str) -> Window:
    return Window(key, Sound(), Decode((1,)))


def place(future: Future[Answer]) -> int:
    answer = future.result(10)
    assert isinstance(answer, Decoded)
    return answer.tokens[0]


def hold(pool: Pool[Doll], doll: Doll, timeout_s: float = 0.0) -> Permit[Doll]:
    return pool.hold(doll.name, doll.find, timeout_s)
