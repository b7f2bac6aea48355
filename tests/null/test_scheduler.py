"""Who runs next: lanes, fairness, room for the wide, no starvation. No tensor is made here."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.engine.scheduler import Scheduler
from sottovoce.engine.sequence import Sequence, Status
from sottovoce.engine.slots import Rows, Slots
from sottovoce.types import Decode, Detect, Lane, Search, Sound, Window


def a_scheduler(n_slots: int = 4, n_rows: int = 4, encode_windows: int = 4) -> Scheduler:
    return Scheduler(Slots(n_slots), Rows(n_rows), encode_windows)


def a_sequence(key: str, flow: str = "f", lane: Lane = Lane.REQUEST, beams: int = 1) -> Sequence:
    ask = Decode((1,), search=Search(beam_size=beams)) if beams else Detect((1,))
    return Sequence(Window(key, Sound(), ask, flow), lane)


def keys(sequences: tuple[Sequence, ...]) -> list[str]:
    return [s.window.key for s in sequences]


def test_a_lower_lane_goes_first() -> None:
    s = a_scheduler(n_rows=1)
    s.add(a_sequence("batch", lane=Lane.BATCH))
    s.add(a_sequence("live", lane=Lane.LIVE))
    assert keys(s.schedule().start) == ["live"]


def test_flows_of_a_lane_take_turns() -> None:
    """A ten-hour file must not starve a ten-second one that came later."""
    s = a_scheduler(n_slots=2, n_rows=2)
    for i in range(50):
        s.add(a_sequence(f"long{i}", flow="long"))
    s.add(a_sequence("short", flow="short"))
    assert "short" in keys(s.schedule().start)


def test_the_batch_lane_is_served_although_requests_never_end() -> None:
    s = a_scheduler(n_slots=1, n_rows=1)
    s.add(a_sequence("batch", lane=Lane.BATCH))
    for i in range(20):
        s.add(a_sequence(f"r{i}"))
        (started,) = s.schedule().start
        if started.window.key == "batch":
            return
        s.finish(started)
    raise AssertionError("20 requests in a row went before the one of the batch lane")


def test_a_request_finds_a_row_beside_any_batch() -> None:
    """Beside an hour's recording a clip of 10 s took 2.2 s, alone 0.3: it waited for a row and for others' sound."""
    s = a_scheduler(n_slots=12, n_rows=8)
    for i in range(30):
        s.add(a_sequence(f"b{i}", lane=Lane.BATCH))
    plans = [s.schedule() for _ in range(10)]
    assert len(s.running) == 6, "one row in four is kept"
    assert max(len(p.encode) for p in plans) == 1
    s.add(request := a_sequence("request"))
    assert keys(s.schedule().start) == ["request"]
    s.finish(next(x for x in s.running if x.lane is Lane.BATCH))
    assert keys(s.schedule().start) == [], "nothing of the batch is encoded while a request runs"
    s.finish(request)
    assert len(s.schedule().encode) == 1
    s.check()


def test_a_batch_wider_than_its_share_still_runs() -> None:
    s = a_scheduler(n_slots=8, n_rows=8)
    s.add(a_sequence("wide", lane=Lane.BATCH, beams=8))
    assert keys(s.schedule().start) == ["wide"]


def test_a_batch_has_its_turns_beside_requests_without_end() -> None:
    s = a_scheduler(n_slots=8, n_rows=8)
    s.add(a_sequence("batch", lane=Lane.BATCH))
    for i in range(20):
        s.add(a_sequence(f"r{i}"))
        started = s.schedule().start
        if "batch" in keys(started):
            return
        for sequence in started:
            if i:
                s.finish(sequence)
    raise AssertionError("beside 20 requests, one of them always running, nothing of the batch was encoded")


def test_a_wide_beam_is_not_starved_by_narrow_rows() -> None:
    s = a_scheduler(n_slots=8, n_rows=4)
    narrow = [a_sequence(f"n{i}", flow="narrow") for i in range(3)]
    for sequence in narrow:
        s.add(sequence)
    s.schedule()
    s.add(a_sequence("wide", flow="wide", beams=4))
    s.add(a_sequence("late", flow="late"))
    assert keys(s.schedule().start) == [], "the row that is free waits for the wide beam"
    for sequence in narrow:
        s.finish(sequence)
    assert keys(s.schedule().start) == ["wide"]


def test_warm_sound_is_not_encoded_again() -> None:
    s = a_scheduler()
    s.add(first := a_sequence("a"))
    assert keys(s.schedule().encode) == ["a"]
    s.finish(first)
    s.add(a_sequence("a"))
    plan = s.schedule()
    assert keys(plan.start) == ["a"]
    assert not plan.encode


def test_one_sound_asked_for_twice_at_once_is_encoded_once() -> None:
    s = a_scheduler()
    s.add(a_sequence("a", beams=0))
    s.add(a_sequence("a"))
    plan = s.schedule()
    assert len(plan.start) == 2
    assert len(plan.encode) == 1


def test_a_step_encodes_no_more_than_its_budget() -> None:
    s = a_scheduler(encode_windows=2)
    for i in range(4):
        s.add(a_sequence(f"w{i}"))
    assert len(s.schedule().encode) == 2
    assert len(s.schedule().encode) == 2


def test_who_was_withdrawn_frees_its_places() -> None:
    s = a_scheduler(n_slots=1, n_rows=1)
    s.add(running := a_sequence("a"))
    s.schedule()
    s.add(waiting := a_sequence("b"))
    s.withdraw(waiting)
    s.withdraw(running)
    s.withdraw(running)
    assert s.idle
    s.check()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_everybody_is_served_and_nothing_leaks(seed: int) -> None:
    dice = random.Random(seed)
    s = a_scheduler(n_slots=dice.randint(1, 4), n_rows=5, encode_windows=dice.randint(1, 3))
    n = dice.randint(1, 25)
    left = [
        a_sequence(dice.choice("abcdefg"), dice.choice("xyz"), dice.choice(list(Lane)), dice.randint(0, 5))
        for _ in range(n)
    ]
    arriving = list(left)
    for _ in range(1000):
        for _ in range(min(dice.randint(0, 3), len(arriving))):
            s.add(arriving.pop())
        plan = s.schedule()
        s.check()
        for sequence in (*plan.start, *plan.running):
            if sequence.status is Status.RUNNING and dice.random() < 0.5:
                s.finish(sequence)
                left.remove(sequence)
        if not left:
            break
    assert not left, f"{len(left)} of {n} were never served"
    assert s.idle
    s.check()


def test_rows_for_beams_are_no_room_for_more_windows() -> None:
    """There are more rows than windows, so that beams of a few windows fill the batch."""
    for lane, most in ((Lane.REQUEST, 6), (Lane.BATCH, 5)):
        s = Scheduler(Slots(8, 2), Rows(16), 16, n_windows=6)
        for i in range(9):
            s.add(a_sequence(f"narrow {i}", flow=str(i), lane=lane))
        while s.schedule().start:
            pass
        assert len(s.running) == most
        for sequence in tuple(s.running):
            s.finish(sequence)
        s.check()
    s = Scheduler(Slots(8, 2), Rows(16), 16, n_windows=6)
    for i in range(4):
        s.add(a_sequence(f"wide {i}", beams=5))
    assert len(s.schedule().start) == 3


def test_rows_of_jobs_stand_still_beside_a_request_but_not_for_ever() -> None:
    s = a_scheduler(n_slots=8, n_rows=8, encode_windows=8)
    for i in range(3):
        s.add(a_sequence(f"batch {i}", flow=str(i), lane=Lane.BATCH))
    while s.schedule().start:
        pass
    assert all(len(s.schedule().running) == 3 for _ in range(5)), "alone they go on in every step"
    s.add(a_sequence("request"))
    s.schedule()
    sizes = [len(s.schedule().running) for _ in range(12)]
    assert set(sizes) == {1, 4} and sizes.count(4) == 3
