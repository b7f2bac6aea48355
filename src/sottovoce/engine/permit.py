"""A model that is awake, and a permit to use it. Knows no lock, no budget and no time; the pool does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from sottovoce.engine.loop import Loops, Steps
from sottovoce.errors import EngineError
from sottovoce.types import Answer, Lane, Window

Submit = Callable[[Window], "Future[Answer]"]
CLOSED = "the pool is closed; make a new one"


class Sleeper(Protocol):
    """A model that can be woken. n_bytes: what it takes on each of its devices. pinned: once awake, it stays so."""

    @property
    def name(self) -> str: ...
    @property
    def n_bytes(self) -> int: ...
    @property
    def devices(self) -> tuple[str, ...]: ...
    @property
    def pinned(self) -> bool: ...
    def build(self, device: str) -> Steps:
        """The engine on a device."""
        ...

    def prove(self, submit: Submit) -> None:
        """Decode something known. Raises EngineError if the words are wrong."""
        ...

    def put_away(self) -> None:
        """Its engines are closed: give their memory back to the system."""
        ...


M = TypeVar("M", bound=Sleeper)


class Awake(Generic[M]):
    """A model with its loops, each of which has been proven. Raises what building and proving raise."""

    def __init__(self, model: M) -> None:
        self.model = model
        self.loops = Loops()
        self._numbers = itertools.count()
        try:
            for device in model.devices:
                model.prove(self.loops.start(model.build(device), f"sottovoce-{model.name}-{device}").submit)
        except BaseException:
            self.loops.close()
            raise

    def mint(self) -> str:
        """A key that no other window of this model has."""
        return str(next(self._numbers))


class Entry(Generic[M]):
    """A model's place in the pool, from the first who asks to when its memory is given back. The pool writes in it.

    n_held: permits, and those who wait for one. model: None until it is found; then its room is reserved.
    """

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.load: Future[Awake[M]] = Future()
        self.model: M | None = None
        self.awake: Awake[M] | None = None
        self.n_held = 0
        self.last_used_s = 0.0
        self.leaving = False

    @property
    def idle(self) -> bool:
        """Whether it may be put to sleep."""
        return self.awake is not None and not (self.leaving or self.n_held or self.awake.model.pinned)

    def bytes_on(self, device: str) -> int:
        return self.model.n_bytes if self.model is not None and device in self.model.devices else 0


@dataclass(frozen=True, slots=True)
class Place(Generic[M]):
    """How a model stands. n_held: who holds it, or waits for it."""

    state: Literal["asleep", "loading", "awake", "leaving"]
    model: M | None = None
    n_held: int = 0


class Permit(Generic[M]):
    """The right to use a model: it stays awake until the permit is given back. Raises EngineError if it has gone."""

    def __init__(self, entry: Entry[M], give_back: Callable[[Entry[M]], None]) -> None:
        awake = entry.awake
        if awake is None:
            raise EngineError(CLOSED)  # between its load and now
        self.model: M = awake.model
        self._held: list[Entry[M]] = [entry]
        self._give_back = give_back

    @property
    def engines(self) -> list[Steps]:
        """The engines, one a device. Raises EngineError if the model is not held any more."""
        return self._awake().loops.engines

    def submit(self, window: Window, lane: Lane = Lane.REQUEST) -> Future[Answer]:
        """As Loop.submit, on the device with the least to do. Raises EngineError if the model is not held any more."""
        return self._awake().loops.submit(window, lane)

    def mint(self) -> str:
        """A key that no other window of this model has."""
        return self._awake().mint()

    def release(self) -> None:
        """Give the permit back. Idempotent, from any thread."""
        with suppress(IndexError):  # of two who give it back at once, one finds it
            self._give_back(self._held.pop())

    def __enter__(self) -> Permit[M]:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _awake(self) -> Awake[M]:
        held = self._held[:]
        awake = held[0].awake if held else None
        if awake is None:
            raise EngineError("the engine is closed; make a new Whisper to decode on")
        return awake
