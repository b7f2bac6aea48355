"""The turnstile: fair, bounded, and nothing leaks, whoever leaves when. A slow twin serves by the rule's own words."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.server.failures import RequestError
from sottovoce.server.turnstile import MOST_S, Turnstile

from .dolls import Clock

NAMES = "abcd"


class Hall:
    """A turnstile and those who ask at it; each stays in work until he is told to go."""

    def __init__(self, n_slots: int, n_queue: int, wait_s: float = 1e6) -> None:
        self.turnstile = Turnstile(n_slots, n_queue, wait_s, Clock())
        self.inside: list[tuple[int, str]] = []
        self.refused: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.exits: dict[int, asyncio.Event] = {}

    async def arrive(self, number: int, caller: str) -> None:
        self.exits[number] = asyncio.Event()

        async def visit() -> None:
            try:
                async with self.turnstile.admitted(caller):
                    self.inside.append((number, caller))
                    try:
                        await self.exits[number].wait()
                    finally:
                        self.inside.remove((number, caller))
            except RequestError as e:
                assert e.kind.status == 503 and e.kind.retry_after_s
                self.refused.append(number)

        self.tasks[number] = asyncio.create_task(visit())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.turnstile.check()
        assert (self.turnstile.n_working, self.turnstile.n_waiting) == (0, 0), "slots and places are all back"


class Twin:
    """The rule, told slowly: a list of who is in, a list of who waits, and when each caller was last served."""

    def __init__(self, n_slots: int, n_queue: int) -> None:
        self.n_slots, self.n_queue = n_slots, n_queue
        self.inside: list[tuple[int, str]] = []
        self.waiting: list[tuple[int, str]] = []
        self.refused: list[int] = []
        self.since: dict[str, int] = {}  # a caller's place in the order: when he came to wait, or was last served
        self.now = 0

    def n(self, who: list[tuple[int, str]], caller: str) -> int:
        return sum(name == caller for _, name in who)

    def arrive(self, number: int, caller: str) -> None:
        self.now += 1
        if len(self.inside) < self.n_slots:
            self.inside.append((number, caller))
            return
        if len(self.waiting) >= self.n_queue:
            callers = sorted({name for _, name in self.waiting}, key=lambda c: self.since[c])
            longest = max(callers, key=lambda c: self.n(self.waiting, c), default=None)
            if longest is None or self.n(self.waiting, longest) < self.n(self.waiting, caller) + 2:
                self.refused.append(number)
                return
            newest = [entry for entry in self.waiting if entry[1] == longest][-1]
            self.waiting.remove(newest)
            self.refused.append(newest[0])
        if not self.n(self.waiting, caller):
            self.since[caller] = self.now
        self.waiting.append((number, caller))

    def go(self, number: int) -> None:
        self.now += 1
        self.inside = [entry for entry in self.inside if entry[0] != number]
        self.waiting = [entry for entry in self.waiting if entry[0] != number]
        if len(self.inside) < self.n_slots and self.waiting:
            callers = {name for _, name in self.waiting}
            served = min(callers, key=lambda c: (self.n(self.inside, c), self.since[c]))
            first = next(entry for entry in self.waiting if entry[1] == served)
            self.waiting.remove(first)
            self.inside.append(first)
            self.since[served] = self.now


STEPS = st.lists(st.tuples(st.sampled_from(("arrive", "go", "leave")), st.integers(0, 30)), max_size=60)


@given(STEPS, st.integers(1, 4), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_it_serves_as_its_slow_twin(steps: list[tuple[str, int]], n_slots: int, n_queue: int) -> None:
    """Whoever arrives, ends or hangs up in any order: the same are inside, waiting and refused, and nothing leaks."""

    async def scenario() -> None:
        hall, twin = Hall(n_slots, n_queue), Twin(n_slots, n_queue)
        for number, (step, pick) in enumerate(steps):
            if step == "arrive":
                caller = NAMES[pick % len(NAMES)]
                await hall.arrive(number, caller)
                twin.arrive(number, caller)
            else:
                there = sorted(number for number, _ in (twin.inside if step == "go" else twin.inside + twin.waiting))
                if not there:
                    continue
                who = there[pick % len(there)]
                if step == "go":
                    hall.exits[who].set()
                else:
                    hall.tasks[who].cancel()
                await hall.settle()
                twin.go(who)
            hall.turnstile.check()
            assert sorted(hall.inside) == sorted(twin.inside)
            assert hall.turnstile.n_waiting == len(twin.waiting)
            assert hall.refused == twin.refused
        await hall.end()

    asyncio.run(scenario())


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=40), st.integers(1, 3), st.data()
)
@settings(max_examples=100, deadline=None)
def test_nothing_leaks_where_many_leave_in_one_round(
    visits: list[tuple[str, bool]], n_slots: int, data: st.DataObject
) -> None:
    """A slot that is given to one who was cancelled in the same round of the event loop goes on to the next."""

    async def scenario() -> None:
        hall = Hall(n_slots, 50)
        for number, (caller, _) in enumerate(visits):
            await hall.arrive(number, caller)
        for number in data.draw(st.permutations(range(len(visits)))):
            hall.exits[number].set() if visits[number][1] else hall.tasks[number].cancel()  # and no round between
        await hall.settle()
        hall.turnstile.check()
        await hall.end()

    asyncio.run(scenario())


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)
    gc.collect()  # an error that nobody took would be told now, and warnings are errors


def test_who_floods_the_queue_keeps_nobody_out() -> None:
    """50 requests of one key stood before the first of another, which waited for all of them, or was refused."""

    async def scenario() -> None:
        hall = Hall(1, 8)
        for number in range(50):
            await hall.arrive(number, "flood")
        assert hall.turnstile.n_waiting == 8
        await hall.arrive(100, "quiet")
        assert 100 not in hall.refused
        assert hall.turnstile.n_waiting == 8, "the newest of the flood made place"
        hall.exits[0].set()
        await hall.settle()
        assert hall.inside == [(1, "flood")], "it came first"
        hall.exits[1].set()
        await hall.settle()
        assert hall.inside == [(100, "quiet")], "passed once, and no more"
        await hall.end()

    run(scenario())


def test_each_caller_gets_his_share_of_the_slots() -> None:
    async def scenario() -> None:
        hall = Hall(4, 100)
        for number in range(40):
            await hall.arrive(number, "ab"[number >= 20])
        for _ in range(12):  # the first to have come in goes
            hall.exits[hall.inside[0][0]].set()
            await hall.settle()
        assert sorted(name for _, name in hall.inside) == ["a", "a", "b", "b"]
        await hall.end()

    run(scenario())


def test_a_wait_that_is_too_long_is_told() -> None:
    async def scenario() -> None:
        turnstile = Turnstile(1, 5, wait_s=0.01)
        async with turnstile.admitted("a"):
            with pytest.raises(RequestError, match=r"0\.01 s") as caught:
                async with turnstile.admitted("b"):
                    raise AssertionError("there was no slot")
            assert caught.value.kind.status == 503
            assert turnstile.n_waiting == 0
        turnstile.check()

    run(scenario())


def test_retry_after_follows_what_recordings_take() -> None:
    async def scenario() -> None:
        clock = Clock()
        turnstile = Turnstile(2, 0, 1.0, clock)
        for _ in range(40):
            async with turnstile.admitted("a"):
                clock.now_s += 30.0
        assert turnstile.retry_after_s() == pytest.approx(15, abs=1), "two slots, 30 s each"
        for _ in range(40):
            async with turnstile.admitted("a"):
                clock.now_s += 3600.0
        assert turnstile.retry_after_s() == MOST_S

    run(scenario())


def test_slots_that_come_later_are_given_to_who_waits() -> None:
    """Before the model is known there is no slot."""

    async def scenario() -> None:
        hall = Hall(0, 5)
        for number in range(3):
            await hall.arrive(number, "a")
        assert not hall.inside
        hall.turnstile.n_slots = 2
        await hall.settle()
        assert len(hall.inside) == 2
        hall.turnstile.check()
        await hall.end()

    run(scenario())


def test_a_house_that_closes_answers_everybody() -> None:
    async def scenario() -> None:
        hall = Hall(1, 5)
        for number in range(4):
            await hall.arrive(number, "a")
        hall.turnstile.close()
        await hall.settle()
        assert hall.refused == [1, 2, 3]
        await hall.arrive(9, "a")
        assert hall.refused == [1, 2, 3, 9]
        hall.exits[0].set()
        await hall.settle()
        with suppress(asyncio.CancelledError):
            await hall.tasks[0]
        await hall.end()

    run(scenario())
