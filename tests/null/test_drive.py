"""Drivers: every flow ends in Done, errors stay with their flow, and who leaves withdraws his windows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from sottovoce.flow.drive import Done, adrive, drive, drive_all
from sottovoce.flow.protocol import WAIT, Flow, Got, Known
from sottovoce.text.formats import Transcript
from sottovoce.types import Answer, Decode, Decoded, Sound, Window


class Desk:
    """Takes windows; answers at once, later by hand, or with an error."""

    def __init__(self, at_once: bool = True, error: Exception | None = None) -> None:
        self.at_once = at_once
        self.error = error
        self.futures: list[Future[Answer]] = []
        self.n_open = 0
        self.most_open = 0

    def submit(self, window: Window) -> Future[Answer]:
        future: Future[Answer] = Future()
        self.futures.append(future)
        if self.at_once:
            self.answer(future)
        return future

    def answer(self, future: Future[Answer]) -> None:
        if future.set_running_or_notify_cancel():
            if self.error is not None:
                future.set_exception(self.error)
            else:
                future.set_result(Decoded((1,), -0.1))


def a_flow(n_windows: int, desk: Desk | None = None, slow_s: float = 0.0, fail: Exception | None = None) -> Flow:
    if desk is not None:
        desk.n_open += 1
        desk.most_open = max(desk.most_open, desk.n_open)
    try:
        for i in range(n_windows):
            time.sleep(slow_s)
            yield Window(f"{i}", Sound(), Decode((1,)))
            got = yield WAIT
            assert isinstance(got, Got)
            yield Known((), float(i))
        if fail is not None:
            raise fail
        return Transcript("done", (), "en", 1.0)
    finally:
        if desk is not None:
            desk.n_open -= 1


def test_a_flow_is_driven_to_its_transcript() -> None:
    run = drive(a_flow(3), Desk().submit)
    events = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            assert end.value.text == "done"
            break
    assert [e.position_s for e in events if isinstance(e, Known)] == [0.0, 1.0, 2.0]


def test_an_engines_error_ends_the_flow_that_asked() -> None:
    with pytest.raises(RuntimeError, match="device"):
        list(drive(a_flow(3), Desk(error=RuntimeError("device")).submit))


def test_who_stops_early_withdraws_what_is_in_flight() -> None:
    desk = Desk(at_once=False)

    def two_in_flight() -> Flow:
        yield Known((), 0.0)
        yield Window("a", Sound(), Decode((1,)))
        yield Known((), 1.0)
        yield WAIT
        raise AssertionError("nobody answers")

    run = drive(two_in_flight(), desk.submit)
    next(run)
    next(run)
    run.close()
    assert [f.cancelled() for f in desk.futures] == [True]


def test_one_flows_error_does_not_touch_the_others() -> None:
    flows = [("a", a_flow(2)), ("b", a_flow(1, fail=ValueError("b is bad"))), ("c", a_flow(3))]
    done = {key: said for key, said in drive_all(flows, Desk().submit, 8) if isinstance(said, Done)}
    assert isinstance(done["b"].error, ValueError)
    assert done["a"].transcript is not None
    assert done["c"].transcript is not None


def test_no_more_flows_are_open_than_allowed() -> None:
    desk = Desk()

    def flows() -> Iterator[tuple[int, Flow]]:
        for i in range(20):
            yield i, a_flow(2, desk)

    n_done = sum(isinstance(said, Done) for _, said in drive_all(flows(), desk.submit, 3))
    assert (n_done, desk.most_open, desk.n_open) == (20, 3, 0)


def test_an_interrupt_in_the_middle_leaves_nothing_in_flight() -> None:
    """Ctrl-C inside a step: the seat that was being advanced must not be forgotten."""
    desk = Desk(at_once=False)

    def interrupted() -> Flow:
        yield Window("a", Sound(), Decode((1,)))
        raise KeyboardInterrupt
        yield WAIT

    run = drive_all([("a", interrupted())], desk.submit, 2)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert [f.cancelled() for f in desk.futures] == [True]


def test_nobody_waits_for_a_recording_that_is_being_read_but_its_own_seat() -> None:
    slow, broken = Future[Flow](), Future[Flow]()
    broken.set_exception(OSError("no such file"))
    done: dict[str, Done] = {}
    for key, said in drive_all([("slow", slow), ("broken", broken), ("a", a_flow(3))], Desk().submit, 8):
        if isinstance(said, Done):
            done[key] = said
        if len(done) == 2 and not slow.done():
            slow.set_result(a_flow(2))
    assert list(done) == ["broken", "a", "slow"]
    assert isinstance(done["broken"].error, OSError)
    assert done["slow"].transcript is not None


def test_a_recording_that_is_not_being_read_yet_is_left_unread() -> None:
    waiting = Future[Flow]()
    run = drive_all([("waiting", waiting), ("a", a_flow(2))], Desk().submit, 2)
    next(run)
    run.close()  # type: ignore[attr-defined]  # a generator
    assert waiting.cancelled()


def test_the_event_loop_is_served_too() -> None:
    async def run() -> list[object]:
        return [said async for said in adrive(a_flow(2), Desk().submit)]

    said = asyncio.run(run())
    assert isinstance(said[-1], Transcript)
    assert len(said) == 3


@pytest.mark.parametrize("slow_s", [0.0, 0.3])
def test_cancelling_a_task_withdraws_its_windows(slow_s: float) -> None:
    """Also while a step is computing in its thread: it ends, then its window is withdrawn, and no other error shows."""
    desk = Desk(at_once=False)

    async def run() -> None:
        async for _ in adrive(a_flow(2, desk, slow_s), desk.submit):
            pass

    async def cancelled() -> None:
        task = asyncio.ensure_future(run())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [f.cancelled() for f in desk.futures] == [True]
    assert desk.n_open == 0


def test_an_engines_error_reaches_the_task_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        with pytest.raises(RuntimeError, match="device"):
            async for _ in adrive(a_flow(2), Desk(error=RuntimeError("device")).submit):
                pass

    asyncio.run(run())
    assert not caplog.records, "asyncio must not complain of an exception that nobody retrieved"
