"""The pool: one load however many ask, one budget, nobody who is held goes, and everybody is answered. No torch."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from sottovoce.engine.load import Change
from sottovoce.engine.permit import Permit
from sottovoce.engine.pool import Pool
from sottovoce.errors import BusyError, EngineError, ModelError

from .dolls import Clock, Doll, Fake, a_window, hold, place

N_ASKERS = 16


def names(pool: Pool[Doll]) -> set[str]:
    return {model.name for model in pool.awake}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> Iterator[Pool[Doll]]:
    """Room for three dolls; nobody is put to sleep for being idle."""
    with Pool[Doll](budget_bytes=30, clock=clock) as pool:
        yield pool
        pool.check()


def at_once(n: int, run: Callable[[], Permit[Doll]]) -> list[Future[Permit[Doll]]]:
    """n threads that begin together."""
    barrier = threading.Barrier(n)

    def begin() -> Permit[Doll]:
        barrier.wait(10)
        return run()

    with ThreadPoolExecutor(n) as threads:
        return [threads.submit(begin) for _ in range(n)]


# --- loading --------------------------------------------------------------------------------------------------------


def test_one_load_serves_all_who_ask_at_once(pool: Pool[Doll]) -> None:
    doll = Doll()
    permits = [f.result(10) for f in at_once(N_ASKERS, lambda: hold(pool, doll))]
    assert (doll.n_found, len(doll.built)) == (1, 1)
    assert {place(p.submit(a_window("k"))) for p in permits} == {0}
    assert len({p.mint() for p in permits}) == N_ASKERS, "keys are the model's: two askers never share one"
    for permit in permits:
        permit.release()
    assert names(pool) == {"a"}, "it stays awake"
    hold(pool, doll).release()
    assert doll.n_found == 1


@pytest.mark.parametrize("wrong", [False, True])
def test_a_load_that_fails_fails_all_who_wait_and_the_next_tries_again(pool: Pool[Doll], wrong: bool) -> None:
    """Also where only the warm-up fails: who speaks wrong words does not serve."""
    doll = Doll(gate=threading.Event(), fail=None if wrong else ModelError("damaged"), wrong=wrong)
    with ThreadPoolExecutor(N_ASKERS) as threads:
        asked = [threads.submit(hold, pool, doll) for _ in range(N_ASKERS)]
        assert doll.building.wait(10)
        assert doll.gate is not None
        doll.gate.set()
        for future in asked:
            with pytest.raises(EngineError if wrong else ModelError, match="wrong" if wrong else "damaged"):
                future.result(10)
    assert not names(pool)
    pool.check()
    doll.fail, doll.wrong = None, False
    with hold(pool, doll) as permit:
        assert place(permit.submit(a_window("k"))) == 0


def test_who_is_interrupted_while_loading_leaves_the_load_to_another(pool: Pool[Doll]) -> None:
    doll = Doll(gate=threading.Event(), fail=KeyboardInterrupt())
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(hold, pool, doll)
        assert doll.building.wait(10)
        second = threads.submit(hold, pool, doll)
        while pool._entries["a"].n_held < 2:
            pass
        real = doll.build

        def healed(device: str) -> Fake:
            doll.fail = None
            return real(device)

        doll.build = healed  # type: ignore[method-assign]  # of the second load
        assert doll.gate is not None
        doll.gate.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(10)
        with second.result(10) as permit:
            assert place(permit.submit(a_window("k"))) == 0
    assert doll.n_found == 2


def test_a_permit_that_was_given_back_serves_nobody(pool: Pool[Doll]) -> None:
    permit = hold(pool, Doll())
    permit.release()
    permit.release()
    with pytest.raises(EngineError, match="closed"):
        permit.submit(a_window("k"))
    pool.check()


# --- room -----------------------------------------------------------------------------------------------------------


def test_the_one_not_held_for_longest_makes_room(pool: Pool[Doll], clock: Clock) -> None:
    dolls = {name: Doll(name) for name in "abcd"}
    for name in "abca":  # a was used again
        clock.now_s += 1
        hold(pool, dolls[name]).release()
    clock.now_s += 1
    hold(pool, dolls["d"]).release()
    assert names(pool) == {"a", "c", "d"}
    assert dolls["b"].n_put_away == 1


def test_who_is_held_or_pinned_is_never_put_to_sleep(pool: Pool[Doll], clock: Clock) -> None:
    pinned, held, other, big = Doll("pinned", pinned=True), Doll("held"), Doll("other"), Doll("big", n_bytes=20)
    hold(pool, pinned).release()
    with hold(pool, held) as permit:
        clock.now_s += 1
        hold(pool, other).release()
        with pytest.raises(BusyError, match=r"held, pinned are in use"):
            hold(pool, big)
        assert names(pool) == {"pinned", "held", "other"}, "nobody goes in vain"
        assert place(permit.submit(a_window("k"))) == 0
    hold(pool, big).release()
    assert names(pool) == {"pinned", "big"}


def test_one_model_is_put_to_sleep_when_nobody_uses_it(pool: Pool[Doll]) -> None:
    doll = Doll(pinned=True)
    permit = hold(pool, doll)
    assert pool.place(doll.name).n_held == 1
    with pytest.raises(BusyError, match="in use"):
        pool.unload(doll.name)
    assert pool.place(doll.name).state == "awake"
    permit.release()
    assert pool.unload(doll.name)
    assert (pool.place(doll.name).state, names(pool)) == ("asleep", set())
    assert not pool.unload(doll.name), "who sleeps is not woken for it"
    hold(pool, doll).release()
    assert pool.place(doll.name).state == "awake"


def test_a_model_above_the_whole_budget_is_refused_for_good(pool: Pool[Doll]) -> None:
    with pytest.raises(EngineError, match=r"memory_gb") as caught:
        hold(pool, Doll(n_bytes=31), timeout_s=60)
    assert not isinstance(caught.value, BusyError)


@pytest.mark.parametrize("timeout_s", [30, float("inf")])
def test_who_can_wait_is_served_when_a_permit_is_given_back(timeout_s: float) -> None:
    with Pool[Doll](budget_bytes=10) as pool, ThreadPoolExecutor(2) as threads:
        held = hold(pool, Doll("a"))
        asked = threads.submit(hold, pool, Doll("b"), timeout_s)
        while "b" not in pool._entries:
            pass
        with pytest.raises(BusyError):
            hold(pool, Doll("c"))
        assert not asked.done()
        held.release()
        asked.result(10).release()
        assert names(pool) == {"b"}
        pool.check()


def test_who_waits_behind_an_impatient_one_is_not_refused_with_him() -> None:
    """The first loads for both; his time is over before the second's."""
    with Pool[Doll](budget_bytes=10) as pool, ThreadPoolExecutor(2) as threads:
        held, b = hold(pool, Doll("a")), Doll("b")
        impatient = threads.submit(hold, pool, b, 0.3)
        while "b" not in pool._entries:
            pass
        patient = threads.submit(hold, pool, b, 30)
        with pytest.raises(BusyError):
            impatient.result(10)
        held.release()
        patient.result(10).release()
        pool.check()


def test_a_budget_holds_for_each_device_by_itself(pool: Pool[Doll]) -> None:
    with hold(pool, Doll("a", 30, ("d0",))), hold(pool, Doll("b", 30, ("d1",))):
        with pytest.raises(BusyError):
            hold(pool, Doll("c", 1, ("d0", "d1")))
        pool.check()


def test_no_budget_is_never_exceeded_whoever_asks(clock: Clock) -> None:
    dolls = [Doll(name, n_bytes=n) for name, n in zip("abcdef", (10, 10, 10, 5, 15, 20), strict=True)]

    def use(i: int) -> None:
        with hold(pool, dolls[i % len(dolls)], timeout_s=60) as permit:
            pool.check()
            assert place(permit.submit(a_window(permit.mint()))) == 0

    with Pool[Doll](budget_bytes=30) as pool, ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(use, i * 7) for i in range(120)]:
            future.result(60)
        pool.check()
    assert all(len(doll.built) == doll.n_put_away for doll in dolls)


class Flaky(Doll):
    """A model whose load fails now and then, and is interrupted now and then."""

    def build(self, device: str) -> Fake:
        luck = random.random()
        if luck < 0.15:
            raise KeyboardInterrupt if luck < 0.05 else ModelError("damaged")
        return super().build(device)


@pytest.mark.parametrize("idle_s", [None, 0, 0.002])
def test_whatever_happens_nothing_leaks(idle_s: float | None) -> None:
    """Failing and interrupted loads, dying devices, impatient askers, sleep at any time."""
    sizes = {"a": 10, "b": 5, "c": 15, "d": 20}
    dolls = [Flaky(name, n, ("d0", "d1") if name < "c" else ("d0",)) for name, n in sizes.items()]

    def use(seed: int) -> int:
        dice, n_served = random.Random(seed), 0
        for _ in range(40):
            doll = dice.choice(dolls)
            with (
                suppress(EngineError, ModelError, KeyboardInterrupt),
                hold(pool, doll, dice.choice([0, 0.01, 5])) as permit,
            ):
                pool.check()
                if dice.random() < 0.1:
                    doll.built[-1].fail = RuntimeError("device lost")
                n_served += place(permit.submit(a_window(permit.mint()))) in (0, 1)
        return n_served

    with Pool[Doll](budget_bytes=30, idle_s=idle_s) as pool, ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(use, range(8))) > 8
        pool.check()
    pool.check()
    assert not pool._all()


# --- sleep ----------------------------------------------------------------------------------------------------------


def test_who_is_idle_for_long_is_put_to_sleep(clock: Clock) -> None:
    with Pool[Doll](idle_s=60, clock=clock) as pool:
        held = hold(pool, Doll("held"))
        hold(pool, Doll("pinned", pinned=True)).release()
        hold(pool, Doll("idle")).release()
        clock.now_s = 59
        assert pool.sweep() == pytest.approx(1)
        assert names(pool) == {"held", "pinned", "idle"}
        clock.now_s = 60
        assert pool.sweep() is None
        assert names(pool) == {"held", "pinned"}
        held.release()
        assert pool.sweep() == pytest.approx(60)


def test_the_pool_looks_for_the_idle_by_itself() -> None:
    doll = Doll()
    with Pool[Doll](idle_s=0.05) as pool:
        hold(pool, doll).release()
        with pool._changed:
            assert pool._changed.wait_for(lambda: doll.n_put_away, 10)


def test_with_no_time_to_be_idle_the_last_permit_closes_the_model() -> None:
    doll = Doll()
    pool = Pool[Doll](idle_s=0)
    first, second = hold(pool, doll), hold(pool, doll)
    first.release()
    assert names(pool) == {"a"}
    second.release()
    assert not names(pool)
    assert doll.n_put_away == 1


def test_a_model_whose_loop_has_died_is_loaded_again(pool: Pool[Doll]) -> None:
    doll = Doll()
    with hold(pool, doll) as unlucky:
        doll.built[0].fail = RuntimeError("device lost")
        with pytest.raises(EngineError, match="device lost"):
            unlucky.submit(a_window("k")).result(10)
        with hold(pool, doll) as permit:
            assert place(permit.submit(a_window("k"))) == 0
        with pytest.raises(EngineError, match="device lost"):
            unlucky.submit(a_window("k"))
        pool.check()
    assert doll.n_put_away == 1


# --- closing --------------------------------------------------------------------------------------------------------


def test_closing_answers_everybody() -> None:
    """Who waits for a window, for a load, and for room."""
    awake, slow = Doll("awake"), Doll("slow", gate=threading.Event())
    pool = Pool[Doll](budget_bytes=20)
    permit = hold(pool, awake)
    awake.built[0].go.clear()
    window = permit.submit(a_window("k"))
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(hold, pool, slow, 60) for _ in range(2)]
        assert slow.building.wait(10)
        asked.append(threads.submit(hold, pool, Doll("third"), 60))
        while "third" not in pool._entries:
            pass
        closing = threads.submit(pool.close)
        for future in asked[1:]:
            with pytest.raises(EngineError, match="closed"):
                future.result(10)
        assert slow.gate is not None
        slow.gate.set()
        awake.built[0].go.set()
        closing.result(10)
        with pytest.raises(EngineError, match="closed"):
            asked[0].result(10)
    assert window.exception(10) is None or isinstance(window.exception(10), EngineError)
    with pytest.raises(EngineError, match="closed"):
        hold(pool, awake)
    permit.release()
    pool.close()
    pool.check()
    assert (awake.n_put_away, slow.n_put_away) == (1, 1)


def test_the_census_and_the_changes_of_a_pool(clock: Clock) -> None:
    changes: list[Change] = []
    with Pool[Doll](budget_bytes=20, clock=clock, on_change=changes.append) as pool:
        gate = threading.Event()
        slow = Doll("slow", gate=gate)
        with ThreadPoolExecutor(1) as thread:
            loading = thread.submit(hold, pool, slow)
            assert slow.building.wait(10)
            assert [(p.name, p.state, p.n_held) for p in pool.census()] == [("slow", "loading", 1)]
            clock.now_s = 2.5
            gate.set()
            permit = loading.result(10)
        permit.submit(a_window("k")).result(10)
        (presence,) = pool.census()
        assert (presence.state, presence.n_bytes, presence.devices) == ("awake", 10, ("d0",))
        assert presence.load.n_answered == 2, "the clip that proved it, and the window"
        permit.release()
        with pytest.raises(EngineError):
            hold(pool, Doll("broken", fail=EngineError("broken")))
        assert changes == [Change("slow", "loaded", 2.5), Change("broken", "failed", 0.0)]
    assert changes[-1] == Change("slow", "unloaded")
    assert pool.census() == []
