"""A pool where things go wrong: memory that is not given back, loops that die at a bad time, forks, exits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from sottovoce.engine.pool import Pool
from sottovoce.errors import EngineError
from sottovoce.types import Answer

from .dolls import Clock, Doll, a_window, hold, place

PATIENCE_S = 10
ROOT = Path(__file__).parents[2]


class Stuck(Doll):
    """A model whose device gives no memory back, as torch after a CUDA error that stays."""

    def put_away(self) -> None:
        super().put_away()
        raise RuntimeError("CUDA error: device-side assert triggered")


def in_time(ask: threading.Thread) -> bool:
    """Whether a thread ends; it is a daemon, so that a test that fails also ends."""
    ask.daemon = True
    ask.start()
    ask.join(PATIENCE_S)
    return not ask.is_alive()


def use(pool: Pool[Doll], doll: Doll, timeout_s: float = 0.0) -> bool:
    """Whether a model can be held and decodes, within a test's patience."""
    served: list[int] = []

    def ask() -> None:
        with hold(pool, doll, timeout_s) as permit:
            served.append(place(permit.submit(a_window("k"))))

    return in_time(threading.Thread(target=ask)) and served == [0]


# --- memory that is not given back ----------------------------------------------------------------------------------


def test_a_model_whose_memory_is_not_given_back_is_gone_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """The next who asked for it waited for ever, and so did who waited for its room with a time-out."""
    pool, stuck, other = Pool[Doll](budget_bytes=15, idle_s=0), Stuck(), Doll("b")
    for _ in range(2):
        assert use(pool, stuck)
    assert "a: its memory was not given back" in caplog.text
    assert use(pool, other, timeout_s=1)
    pool.close()
    pool.check()
    assert (stuck.n_put_away, other.n_put_away) == (2, 1)


def test_a_loop_that_cannot_be_closed_holds_nobody_up() -> None:
    class Unwilling(Doll):
        def fail_to_close(self) -> None:
            raise RuntimeError("cannot join current thread")

    pool, doll = Pool[Doll](budget_bytes=10), Unwilling()
    permit = hold(pool, doll)
    loops = permit._awake().loops
    real, loops.close = loops.close, doll.fail_to_close  # type: ignore[method-assign]
    permit.release()
    assert use(pool, Doll("b"))
    real()
    pool.close()
    pool.check()
    assert doll.n_put_away == 1, "what can be given back is"


def test_the_pool_goes_on_looking_for_the_idle_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread had ended, silently: no model was put to sleep any more."""

    class Hiccup(Clock):
        n_left = 2

        def __call__(self) -> float:
            if threading.current_thread().name == "sottovoce-pool":
                self.now_s += 1
                if self.n_left:
                    self.n_left -= 1
                    raise RuntimeError("hiccup")
            return self.now_s

    stuck = Stuck()
    with Pool[Doll](idle_s=0.01, clock=Hiccup()) as pool:
        for n in (1, 2):
            hold(pool, stuck).release()
            with pool._changed:
                assert pool._changed.wait_for(lambda n=n: stuck.n_put_away == n and not pool._all(), PATIENCE_S)
    assert "hiccup" in caplog.text


# --- loops that die, pools that close ---------------------------------------------------------------------------------


def test_a_dying_loop_may_give_permits_back_while_its_model_is_asked_for() -> None:
    """Who asked waited for the loop's thread and held the pool's lock; that thread waited for the lock."""
    pool, doll = Pool[Doll](), Doll()
    held, permit = hold(pool, Doll("other")), hold(pool, doll)
    dying = threading.Event()

    def told(_: Future[Answer]) -> None:  # on the loop's own thread
        dying.set()
        while "a" in pool._entries:  # until the one who asks has seen it dead
            pass
        held.release()

    doll.built[0].go.clear()
    doll.built[0].fail = RuntimeError("device lost")
    permit.submit(a_window("k")).add_done_callback(told)
    permit.release()
    doll.built[0].go.set()
    assert dying.wait(PATIENCE_S)
    assert use(pool, doll)
    assert [model.name for model in pool.awake] == ["other", "a"]
    pool.close()
    pool.check()
    assert doll.n_put_away == 2


def test_who_is_overtaken_by_the_end_of_the_pool_is_told_so() -> None:
    """It was an AssertionError, where the model's load had ended and the permit was not yet made."""

    class Late(Clock):
        def __call__(self) -> float:
            if pool.awake:
                pool.close()
            return 0.0

    pool = Pool[Doll](clock=Late())
    with pytest.raises(EngineError, match="closed"):
        hold(pool, Doll())
    pool.check()


# --- the end of the process, and its children -------------------------------------------------------------------------

START = """
import os, signal, sys, threading, time
from sottovoce.engine.loop import Loop
from sottovoce.engine.pool import Pool
from sottovoce.errors import EngineError
from tests.null.dolls import Doll, Fake, a_window, hold, place

def tried(what):
    try:
        return what()
    except EngineError as e:
        return f"EngineError: {e}"
"""
FORK = """
signal.alarm(10)
pool, doll = Pool(idle_s=float(sys.argv[1])), Doll()
permit = hold(pool, doll)
print(place(permit.submit(a_window("k"))), flush=True)
with pool._changed, permit._awake().loops._lock, permit._awake().loops._loops[0]._wake:  # as others may just then
    child = os.fork()
if not child:
    signal.alarm(10)
    for what in (lambda: permit.submit(a_window("k")), lambda: hold(pool, doll), permit.release, pool.close):
        print(tried(what), flush=True)
    print(place(hold(Pool(), doll).submit(a_window("k"))), flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(place(permit.submit(a_window("k"))))
pool.close()
"""
EXIT = """
class Slow(Fake):
    def step(self):
        stepping.set()
        time.sleep(0.5)  # as inside torch, which a thread must not be torn from
        print("the step has ended", flush=True)
        return super().step()

class Sloth(Doll):
    def build(self, device):
        return Slow(device)
    def prove(self, submit):
        pass

stepping = threading.Event()
pool = Pool(idle_s=float(sys.argv[1]))
permit = hold(pool, Sloth())
permit.submit(a_window("a"))
assert stepping.wait(10)
permit.submit(a_window("b")).add_done_callback(lambda f: print(tried(f.result), flush=True))
print("bye", flush=True)
"""


def run(script: str, idle_s: float) -> list[str]:
    # Python 3.12 and later warn of every fork beside threads
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + script, str(idle_s)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("idle_s", [0, 60])
def test_a_fork_is_told_that_its_engine_stayed_behind(idle_s: float) -> None:
    """It waited for ever for a thread that only its parent has."""
    before, submit, held, released, closed, after, parent = run(FORK, idle_s)
    assert "before a fork" in submit and "before a fork" in held and "make a new Whisper" in submit
    assert (released, closed) == ("None", "None"), "there is nothing of its own to give back"
    assert (before, after, parent) == ("0", "0", "0")


@pytest.mark.parametrize("idle_s", [0, 60])
def test_a_process_that_ends_lets_its_engines_finish_their_step(idle_s: float) -> None:
    """A thread that was torn from torch took the process with it: terminate called, exit status 134."""
    bye, ended, told = run(EXIT, idle_s)
    assert (bye, ended) == ("bye", "the step has ended")
    assert told.startswith("EngineError: ") and "closed" in told
