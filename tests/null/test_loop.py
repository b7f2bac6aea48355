"""The loop: every asker is answered, who has left is not served. The engine behind it is a 30-line fake."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from sottovoce.engine.load import Load
from sottovoce.engine.loop import Asked, Loop
from sottovoce.engine.sequence import Outcome, Sequence
from sottovoce.errors import EngineError, OptionError
from sottovoce.types import Decode, Decoded, Lane, Sound, Window


class FakeEngine:
    """Answers one window a step, in the order of arrival, as soon as it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.stepping = threading.Event()
        self.queue: list[Sequence] = []
        self.served: list[str] = []
        self.fail: BaseException | None = None
        self.n_checks = 0

    @property
    def idle(self) -> bool:
        return not self.queue

    def begin(self) -> None:
        pass

    def admit(self, window: Window) -> None:
        if window.key == "refused":
            raise OptionError("refused")

    def add(self, window: Window, lane: Lane) -> Sequence:
        self.queue.append(Sequence(window, lane))
        return self.queue[-1]

    def withdraw(self, sequence: Sequence) -> None:
        self.queue.remove(sequence)

    def step(self) -> list[Outcome]:
        self.stepping.set()
        self.go.wait()
        if self.fail is not None:
            raise self.fail
        if not self.queue:
            return []
        sequence = self.queue.pop(0)
        self.served.append(sequence.window.key)
        if sequence.window.key == "bad":
            return [Outcome(sequence, error=EngineError("bad window"))]
        return [Outcome(sequence, Decoded((1,), -0.5))]

    def check(self) -> None:
        self.n_checks += 1

    def load(self) -> Load:
        return Load(n_waiting=len(self.queue))


def a_window(key: str) -> Window:
    return Window(key, Sound(), Decode((1,)))


def test_an_answer_reaches_its_asker() -> None:
    engine = FakeEngine()
    engine.go.set()
    loop = Loop(engine)
    assert loop.submit(a_window("a")).result(10) == Decoded((1,), -0.5)
    loop.close()


def test_an_error_reaches_its_asker_alone() -> None:
    engine = FakeEngine()
    loop = Loop(engine)
    bad, good = loop.submit(a_window("bad")), loop.submit(a_window("good"))
    engine.go.set()
    with pytest.raises(EngineError, match="bad window"):
        bad.result(10)
    assert good.result(10)
    loop.close()


def test_who_has_left_is_not_served() -> None:
    engine = FakeEngine()
    loop = Loop(engine)
    first, second, third = (loop.submit(a_window(k)) for k in "abc")
    engine.stepping.wait(10)
    assert second.cancel()
    engine.go.set()
    assert first.result(10)
    assert third.result(10)
    loop.close()
    assert "b" not in engine.served


def test_a_withdrawn_window_wakes_whoever_waits_for_it() -> None:
    engine = FakeEngine()
    loop = Loop(engine)
    first, second = (loop.submit(a_window(k)) for k in "ab")
    engine.stepping.wait(10)
    late = loop.submit(a_window("c"))
    assert second.cancel()
    assert late.cancel()
    engine.go.set()
    assert first.result(10)
    assert not wait([second, late], timeout=10).not_done
    loop.close()


def test_a_loop_that_died_says_why_to_who_comes_later() -> None:
    engine = FakeEngine()
    engine.fail = RuntimeError("device lost")
    engine.go.set()
    loop = Loop(engine)
    with pytest.raises(EngineError):
        loop.submit(a_window("a")).result(10)
    loop.close()
    with pytest.raises(EngineError, match="device lost"):
        loop.submit(a_window("b"))


def test_closing_answers_everybody_who_waits() -> None:
    engine = FakeEngine()
    loop = Loop(engine)
    futures = [loop.submit(a_window(str(i))) for i in range(5)]
    engine.stepping.wait(10)
    closer = threading.Thread(target=loop.close)
    closer.start()
    engine.go.set()
    closer.join(10)
    errors = [f.exception(10) for f in futures]
    assert all(e is None or isinstance(e, EngineError) for e in errors)
    assert any(isinstance(e, EngineError) for e in errors)
    with pytest.raises(EngineError, match="closed"):
        loop.submit(a_window("late"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("death", [RuntimeError("device lost"), MemoryError()])
def test_when_the_loop_dies_everybody_is_told_why(death: BaseException) -> None:
    engine = FakeEngine()
    loop = Loop(engine)
    futures = [loop.submit(a_window(str(i))) for i in range(3)]
    engine.fail = death
    engine.go.set()
    for future in futures:
        with pytest.raises(EngineError, match=type(death).__name__):
            future.result(10)


def test_a_window_that_could_never_run_is_refused_at_the_door() -> None:
    engine = FakeEngine()
    engine.go.set()
    loop = Loop(engine)
    with pytest.raises(OptionError):
        loop.submit(a_window("refused"))
    loop.close()


def test_an_idle_loop_checks_its_pools_and_sleeps() -> None:
    engine = FakeEngine()
    engine.go.set()
    loop = Loop(engine)
    loop.submit(a_window("a")).result(10)
    loop.submit(a_window("b")).result(10)
    loop.close()
    assert engine.n_checks >= 1


def test_a_loop_says_what_it_has_to_do_and_what_it_has_done() -> None:
    """Read on any thread while the engine is in a step: the numbers are of the latest one, and nobody waits for it."""
    engine = FakeEngine()
    loop = Loop(engine)
    futures = [loop.submit(a_window(key)) for key in ("a", "bad", "c")]
    assert engine.stepping.wait(10)
    loop.submit(a_window("d")).cancel()
    assert loop.load.n_waiting >= 1, "what was submitted since counts"
    engine.go.set()
    wait(futures, timeout=10)
    last = loop.submit(a_window("e"))
    assert last.result(10)
    load = loop.load
    assert (load.n_answered, load.n_failed, load.n_waiting) == (3, 1, 0)
    assert load.n_steps >= 4
    assert load.busy_s > 0
    assert isinstance(last, Asked)
    assert last.timing is not None, "who has the answer knows how long it took"
    loop.close()
    assert loop.load.n_answered == 3


def test_loads_of_several_devices_add_up() -> None:
    assert Load(4, 1, 6, 2, 1, 3, n_steps=5, busy_s=0.5) + Load(4, 2, 6, 1, 2, 0, n_steps=1, busy_s=0.25) == Load(
        8, 3, 12, 3, 3, 3, n_steps=6, busy_s=0.75
    )
