"""The one thread that steps an engine: submit() -> Future; cancelling the future withdraws the window.

A model that runs on several devices has an engine, and so a thread, on each.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from sottovoce.engine.load import Load, Timing
from sottovoce.engine.sequence import Outcome, Sequence
from sottovoce.engine.spread import Spread
from sottovoce.errors import EngineError
from sottovoce.types import Answer, Lane, Window

log = logging.getLogger(__name__)


class Steps(Protocol):
    """What a loop needs of an engine."""

    @property
    def idle(self) -> bool: ...
    def begin(self) -> None: ...
    def admit(self, window: Window) -> None: ...
    def add(self, window: Window, lane: Lane) -> Sequence: ...
    def withdraw(self, sequence: Sequence) -> None: ...
    def step(self) -> list[Outcome]: ...
    def check(self) -> None: ...
    def load(self) -> Load: ...


class Asked(Future[Answer]):
    """A window's answer to be. timing: how long it took, known when the answer is."""

    timing: Timing | None = None


class Birthplace:
    """The process in which something with threads was made. A fork has the thing and none of its threads."""

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def left(self) -> bool:
        """Whether this is another process: there nothing can be asked for, closed or waited for, nor any lock taken."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raise EngineError if this is another process."""
        if self.left:
            raise EngineError(
                "it was made before a fork, and its engine is in the parent; make a new Whisper in this process"
            )


class Loop:
    """Runs one engine on a thread of its own. Every future ends in an answer or a named error, also on shutdown.

    At the end of the process a loop that is still open is closed before Python stops its threads: one that is stopped
    inside torch or a kernel ends the process with SIGABRT.
    """

    def __init__(
        self, engine: Steps, name: str = "sottovoce-engine", clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.engine = engine
        self._clock = clock
        self._load = Load()  # as it was after the latest step: a frozen value, that any thread may read
        self._birthplace = Birthplace()
        self._wake = threading.Condition()
        self._inbox: deque[tuple[Window, Lane, Asked]] = deque()
        self._futures: dict[Sequence, Asked] = {}
        self._closing = False
        self._ended = "the engine is closed"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        # runs after the threads that the process waits for, and before what was registered earlier, as torch has
        atexit.register(self.close)

    def submit(self, window: Window, lane: Lane = Lane.REQUEST) -> Future[Answer]:
        """Queue a window. `future.cancel()` withdraws it: its slot is free at the next step.

        Raises OptionError if the engine could never decode it, EngineError if the loop is closed or in another process.
        """
        self._birthplace.check()
        future = Asked()
        with self._wake:
            if self._closing:
                raise EngineError(f"{self._ended}; make a new Whisper to decode on")
            self.engine.admit(window)
            self._inbox.append((window, lane, future))
            self._wake.notify()
        return future

    @property
    def alive(self) -> bool:
        """Whether it takes windows: neither closed nor died."""
        return not self._closing

    @property
    def load(self) -> Load:
        """What it has to do, as it was after the latest step, and what was submitted since. Any thread may ask."""
        load = self._load
        return replace(load, n_waiting=load.n_waiting + len(self._inbox))

    def close(self) -> None:
        """Stop after the current step; whoever still waits is answered with an EngineError. Idempotent."""
        if self._birthplace.left:
            return
        with self._wake:
            self._closing = True
            self._wake.notify()
        atexit.unregister(self.close)
        if threading.current_thread() is not self._thread:
            self._thread.join()
            vars(self).pop("engine", None)  # weights and pools are given back

    def _run(self) -> None:
        try:
            self.engine.begin()
            self._load = self.engine.load()
            while self._take_inbox():
                began_s = self._clock()
                n_withdrawn = self._withdraw_cancelled()
                outcomes = self.engine.step()
                self._note_load(outcomes, n_withdrawn, self._clock() - began_s)
                for outcome in outcomes:
                    self._answer(outcome)
                if self.engine.idle:
                    self.engine.check()
        except BaseException as e:
            log.exception("the engine's loop has died")
            self._abandon(EngineError(f"the engine's loop has died: {type(e).__name__}: {e}"), e)
            if not isinstance(e, Exception):
                raise
        else:
            self._abandon(EngineError("the engine was closed while the window waited"), None)

    def _take_inbox(self) -> bool:
        """Move what was submitted to the engine; sleep while there is nothing to do. False when it is time to go."""
        with self._wake:
            while not self._inbox and self.engine.idle and not self._closing:
                self._wake.wait()
            if self._closing:
                return False
            n_arrived = len(self._inbox)
        for _ in range(n_arrived):
            window, lane, future = self._inbox[0]  # it stays there until the engine has it, so that nobody is lost
            if future.cancelled():
                future.set_running_or_notify_cancel()
            else:
                self._futures[self.engine.add(window, lane)] = future
            self._inbox.popleft()
        return True

    def _withdraw_cancelled(self) -> int:
        left = [s for s, future in self._futures.items() if future.cancelled()]
        for sequence in left:
            self._futures.pop(sequence).set_running_or_notify_cancel()  # wakes whoever waits for it
            self.engine.withdraw(sequence)
        return len(left)

    def _note_load(self, outcomes: list[Outcome], n_withdrawn: int, took_s: float) -> None:
        before, n_failed = self._load, sum(outcome.error is not None for outcome in outcomes)
        self._load = replace(
            self.engine.load(),
            n_steps=before.n_steps + 1,
            busy_s=before.busy_s + took_s,
            n_answered=before.n_answered + len(outcomes) - n_failed,
            n_failed=before.n_failed + n_failed,
            n_withdrawn=before.n_withdrawn + n_withdrawn,
        )

    def _answer(self, outcome: Outcome) -> None:
        future = self._futures.pop(outcome.sequence)
        if not future.set_running_or_notify_cancel():
            return
        future.timing = outcome.sequence.timing
        if outcome.error is not None:
            future.set_exception(outcome.error)
        else:
            assert outcome.answer is not None, "an outcome is an answer or an error"
            future.set_result(outcome.answer)

    def _abandon(self, error: EngineError, cause: BaseException | None) -> None:
        with self._wake:
            self._closing = True
            self._ended = self._ended if cause is None else str(error)
            waiting = [future for _, _, future in self._inbox] + list(self._futures.values())
            self._inbox.clear()
        error.__cause__ = cause
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        self._futures.clear()


class Loops:
    """The loops of one model, one a device; windows go to the least loaded, those of a key where its sound is."""

    def __init__(self) -> None:
        self._loops: list[Loop] = []
        self._birthplace = Birthplace()
        self._lock = threading.Lock()
        self._spread = Spread()

    def start(self, engine: Steps, name: str) -> Loop:
        """One device more. All are started before the first window is submitted."""
        self._loops.append(Loop(engine, name))
        return self._loops[-1]

    @property
    def engines(self) -> list[Steps]:
        return [loop.engine for loop in self._loops]

    @property
    def alive(self) -> bool:
        """Whether any of them takes windows."""
        return any(loop.alive for loop in self._loops)

    @property
    def load(self) -> Load:
        """Of all of them together."""
        return sum((loop.load for loop in self._loops), Load())

    def submit(self, window: Window, lane: Lane = Lane.REQUEST) -> Future[Answer]:
        """As Loop.submit. A device that has died gets no window while another lives."""
        self._birthplace.check()
        if len(self._loops) == 1:
            return self._loops[0].submit(window, lane)
        alive = [i for i, loop in enumerate(self._loops) if loop.alive] or [0]
        with self._lock:
            place = self._spread.send(window.key, alive)
        try:
            future = self._loops[place].submit(window, lane)
        except BaseException:
            self._done(place)
            raise
        future.add_done_callback(lambda _: self._done(place))
        return future

    def close(self) -> None:
        """Stop them all; whoever waits is answered with an EngineError. Idempotent."""
        for loop in self._loops:
            loop.close()

    def _done(self, place: int) -> None:
        with self._lock:
            self._spread.done(place)
