"""Several devices behind one model: windows to the least loaded, those of a key to its sound. No torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sottovoce.engine import spread
from sottovoce.engine.pool import Pool
from sottovoce.engine.spread import Spread
from sottovoce.errors import EngineError

from .dolls import Doll, a_window, hold, place


@pytest.fixture
def pool() -> Iterator[Pool[Doll]]:
    with Pool[Doll]() as pool:
        yield pool
        pool.check()


def test_windows_go_to_the_least_loaded_device_and_a_key_to_its_sound(pool: Pool[Doll]) -> None:
    doll = Doll(devices=("d0", "d1", "d2"))
    with hold(pool, doll) as permit:
        for engine in doll.built:
            engine.go.clear()
        waiting = [permit.submit(a_window(str(i))) for i in range(6)]
        again = permit.submit(a_window("4"))
        for engine in doll.built:
            engine.go.set()
        assert sorted(place(f) for f in waiting) == [0, 0, 1, 1, 2, 2]
        assert place(again) == place(waiting[4]), "only that device's slot remembers the sound"
        assert [place(permit.submit(a_window("0"))) for _ in range(5)] == [place(waiting[0])] * 5


def test_a_device_that_died_gets_no_more_windows(pool: Pool[Doll]) -> None:
    doll = Doll(devices=("d0", "d1"))
    with hold(pool, doll) as permit:
        first = permit.submit(a_window("k"))
        assert place(first) == 0
        doll.built[0].fail = RuntimeError("device lost")
        with pytest.raises(EngineError, match="device lost"):
            permit.submit(a_window("k")).result(10)
        assert [place(permit.submit(a_window(k))) for k in ("k", "x", "y")] == [1, 1, 1]


def test_what_is_withdrawn_is_no_load(pool: Pool[Doll]) -> None:
    doll = Doll(devices=("d0", "d1"))
    with hold(pool, doll) as permit:
        for engine in doll.built:
            engine.go.clear()
        for i in range(9):
            assert permit.submit(a_window(f"left{i}")).cancel()
        futures = [permit.submit(a_window(str(i))) for i in range(2)]
        for engine in doll.built:
            engine.go.set()
        assert sorted(place(f) for f in futures) == [0, 1]


def test_keys_of_long_ago_are_forgotten() -> None:
    s = Spread()
    for i in range(3 * spread.N_KEPT):
        s.done(s.send(str(i), [0, 1]))
    assert len(s._place_by_key) == spread.N_KEPT
