"""Drivers of flows: the only place where waiting in threads and waiting in an event loop differ."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sottovoce.flow.protocol import WAIT, Event, Flow, Got, Wait
from sottovoce.flow.protocol import Done as Done
from sottovoce.text.formats import Transcript
from sottovoce.types import Answer, Window

K = TypeVar("K")
Submit = Callable[[Window], "Future[Answer]"]
OnWindow = Callable[[Window, "Future[Answer]"], None]


@dataclass(slots=True, eq=False)
class Seat:
    """A flow being driven; a future one, while its recording is being read. in_flight: its windows, by future."""

    flow: Flow | Future[Flow]
    submit: Submit
    in_flight: dict[Future[Answer], Window] = field(default_factory=dict)
    waiting: bool = False

    def advance(self) -> Event | Wait | Done:
        """Run the flow until it knows something, must wait or has ended; while it waits, only an answer helps."""
        got: Got | None = None
        try:
            if isinstance(self.flow, Future):
                if not self.flow.done():
                    return WAIT
                self.flow = self.flow.result()
            if self.waiting:
                ready = next((f for f in self.in_flight if f.done()), None)
                if ready is None:
                    return WAIT
                window = self.in_flight.pop(ready)
                self.waiting = False
                error = ready.exception()
                said = self.flow.throw(error) if error is not None else self.flow.send(Got(window, ready.result()))
            else:
                said = self.flow.send(got)
            while isinstance(said, Window):
                self.in_flight[self.submit(said)] = said
                said = self.flow.send(None)
        except StopIteration as stop:
            self.leave()
            return Done(transcript=stop.value)
        except Exception as e:
            self.leave()
            return Done(error=e)
        if said is WAIT:
            assert self.in_flight, "a flow waits, but has no window in flight"
            self.waiting = True
        return said

    @property
    def awaited(self) -> list[Future[Any]]:
        """What it cannot go on without: any one of these."""
        return [self.flow] if isinstance(self.flow, Future) else [*self.in_flight]

    def leave(self) -> None:
        """Withdraw what is in flight; idempotent."""
        for future in self.in_flight:
            future.cancel()
        self.in_flight.clear()
        if isinstance(self.flow, Future):
            self.flow.cancel()
        else:
            self.flow.close()


def drive(flow: Flow, submit: Submit) -> Generator[Event, None, Transcript]:
    """Run one flow to its end in this thread. Closing the generator withdraws its windows."""
    seat = Seat(flow, submit)
    try:
        while True:
            said = seat.advance()
            if isinstance(said, Done):
                if said.error is not None:
                    raise said.error
                assert said.transcript is not None, "a flow without error has a transcript"
                return said.transcript
            if isinstance(said, Wait):
                wait(seat.in_flight, return_when=FIRST_COMPLETED)
            else:
                yield said
    finally:
        seat.leave()


def drive_all(
    flows: Iterable[tuple[K, Flow | Future[Flow]]], submit: Submit, n_active: int
) -> Iterator[tuple[K, Event | Done]]:
    """Run many flows together in this thread, at most n_active at once; one flow's error does not touch the others.

    flows is read as seats come free, so that a thousand recordings are not opened at once. A future flow is one whose
    recording is being read in another thread; nobody waits for it but its own seat.
    """
    source = iter(flows)
    seats: list[tuple[K, Seat]] = []
    more = True
    try:
        while more or seats:
            if more and len(seats) < n_active:
                try:
                    key, flow = next(source)
                    seats.append((key, Seat(flow, submit)))
                except StopIteration:
                    more = False
            idle = True
            for taken in list(seats):
                said = taken[1].advance()
                if isinstance(said, Done):
                    seats.remove(taken)
                if not isinstance(said, Wait):
                    idle = False
                    yield taken[0], said
            if idle and seats and not (more and len(seats) < n_active):
                awaited: list[Future[Any]] = [f for _, s in seats for f in s.awaited]
                wait(awaited, return_when=FIRST_COMPLETED)
    finally:
        for _, seat in seats:
            seat.leave()


async def adrive(
    flow: Flow, submit: Submit, on_window: OnWindow | None = None
) -> AsyncGenerator[Event | Transcript, None]:
    """Run one flow without blocking the event loop; the last value is the transcript. Cancelling withdraws.

    on_window: told of each window as it is asked, with its answer to be.
    """

    def watched(window: Window) -> Future[Answer]:
        future = submit(window)
        if on_window is not None:
            on_window(window, future)
        return future

    seat = Seat(flow, watched)
    try:
        while True:
            said = await _aside(seat.advance)
            if isinstance(said, Done):
                if said.error is not None:
                    raise said.error
                assert said.transcript is not None, "a flow without error has a transcript"
                yield said.transcript
                return
            if isinstance(said, Wait):
                await _any_done(list(seat.in_flight))
            else:
                yield said
    finally:
        seat.leave()


async def _aside(advance: Callable[[], Event | Wait | Done]) -> Event | Wait | Done:
    """Run a step off the event loop, for it may compute (the recording's peak, words).

    Whoever cancels is held until the step has ended: only then can its flow be closed and its windows withdrawn.
    """
    step = asyncio.ensure_future(asyncio.to_thread(advance))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise


async def _any_done(futures: list[Future[Answer]]) -> None:
    """Wait until one of the engine's futures is done, without taking its result or its error."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()

    def wake(_: Future[Answer]) -> None:
        # the event loop may be closed by the time a withdrawn window is answered
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.set)

    for future in futures:
        future.add_done_callback(wake)
    await arrived.wait()
