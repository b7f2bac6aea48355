"""Slots and rows: nothing leaks, and a freed slot remembers."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sottovoce.engine.slots import Rows, Slots


def test_a_freed_slot_remembers() -> None:
    slots = Slots(2)
    slot, warm = slots.acquire("a")
    assert not warm
    slots.release(slot)
    assert slots.is_warm("a")
    assert slots.acquire("a") == (slot, True)


def test_the_sound_that_was_freed_first_is_forgotten_first() -> None:
    slots = Slots(2)
    for key in ("a", "b"):
        slots.release(slots.acquire(key)[0])
    slots.release(slots.acquire("a")[0])  # a is younger than b now
    slots.acquire("c")
    assert slots.is_warm("a")
    assert not slots.is_warm("b")


def test_one_recording_alone_does_not_touch_the_whole_pool() -> None:
    """Window after window of one flow: the pool's memory is what is in flight, and what is remembered."""
    slots = Slots(20, n_warm=4)
    used = set()
    for i in range(100):
        slot, warm = slots.acquire(f"w{i}")
        assert not warm
        used.add(slot)
        slots.release(slot)
        slots.check()
    assert len(used) == 4
    assert all(slots.is_warm(f"w{i}") for i in range(96, 100))


def test_two_windows_of_one_sound_share_a_slot() -> None:
    slots = Slots(1)
    first, _ = slots.acquire("a")
    assert slots.acquire("a") == (first, True)
    slots.release(first)
    assert not slots.can_acquire("b"), "one of the two still reads it"
    slots.release(first)
    assert slots.can_acquire("b")


def test_a_forgotten_sound_is_not_warm_for_anybody() -> None:
    slots = Slots(1)
    slot, _ = slots.acquire("a")
    slots.forget(slot)
    slots.release(slot)
    slots.check()
    assert slots.acquire("a") == (slot, False)


def test_a_row_cannot_be_released_twice() -> None:
    rows = Rows(2)
    held = rows.acquire(1)
    rows.release(held)
    with pytest.raises(AssertionError, match="twice"):
        rows.release(held)


class Life(RuleBasedStateMachine):
    """Whatever is acquired, released and forgotten: the pool stays whole, and warm means what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(3)
        self.held: list[tuple[int, str]] = []
        self.content: dict[int, str] = {}

    @rule(key=st.sampled_from("abcdef"))
    def acquire(self, key: str) -> None:
        if not self.slots.can_acquire(key):
            assert len({s for s, _ in self.held}) == 3
            return
        slot, warm = self.slots.acquire(key)
        assert warm == (self.content.get(slot) == key)
        assert all(k == key for s, k in self.held if s == slot), "a slot in use was given to another sound"
        self.content[slot] = key
        self.held.append((slot, key))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        i = data.draw(st.integers(0, len(self.held) - 1))
        self.slots.release(self.held.pop(i)[0])

    @rule(slot=st.integers(0, 2))
    def forget(self, slot: int) -> None:
        if not any(s == slot for s, _ in self.held):
            self.slots.forget(slot)
            self.content.pop(slot, None)

    @invariant()
    def whole(self) -> None:
        self.slots.check()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
