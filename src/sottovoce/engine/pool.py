"""Which models are awake: hold() = a permit. Knows neither names nor weights; a Sleeper does.

One load however many ask; one budget of memory for all; who was not held for longest is put to sleep first.

    asleep -> loading -> awake, held (permits >= 1) <-> awake, idle -> leaving -> asleep
              room is reserved                                         room is given back at the end
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic

from sottovoce.engine.load import Change, Load, Presence
from sottovoce.engine.loop import Birthplace
from sottovoce.engine.permit import CLOSED, Awake, Entry, M, Permit, Place
from sottovoce.errors import BusyError, EngineError

log = logging.getLogger(__name__)


class _InterruptedError(EngineError):
    """Whoever loaded was interrupted (Ctrl-C): another one who waits loads."""


class Pool(Generic[M]):
    """The models that are awake. budget_bytes: for all of them, on each device; None: no limit.

    idle_s: a model that nobody holds for so long is put to sleep; 0: at once; None: never. on_change: told of each load
    and unload, on the thread that does it; it must not raise.
    """

    def __init__(
        self,
        budget_bytes: int | None = None,
        idle_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        self._on_change = on_change or (lambda change: None)
        self._budget_bytes = budget_bytes
        self._idle_s = idle_s
        self._clock = clock
        self._birthplace = Birthplace()
        self._entries: dict[Hashable, Entry[M]] = {}
        self._dead: list[Entry[M]] = []  # held by somebody, but all of their loops have died; another has their key
        self._closed = False
        # its lock may be taken again by the same thread: permits are given back wherever garbage is collected
        self._changed = threading.Condition()
        self._keeper: threading.Thread | None = None
        if idle_s:
            self._keeper = threading.Thread(target=self._keep, name="sottovoce-pool", daemon=True)
            self._keeper.start()
            atexit.register(self.close)  # as in Loop: it may be giving memory back

    # --- hold -------------------------------------------------------------------------------------------------------

    def hold(self, key: Hashable, find: Callable[[], M], timeout_s: float = 0.0) -> Permit[M]:
        """A permit for the model of this key, which is loaded if it sleeps; `find` is called by the one who loads.

        timeout_s: how long to wait for room while models that are held fill the budget; it may be infinite. A load is
        waited for however long it takes; who waits for it shares its error, and the next who asks tries again.
        Raises BusyError if no room came free, EngineError if the model does not fit at all or the pool is closed or of
        another process, and what `find` and the model raise.
        """
        self._birthplace.check()
        deadline_s = self._clock() + timeout_s
        while True:
            entry, mine = self._enter(key)
            try:
                if mine:
                    self._wake(entry, find, deadline_s)
                entry.load.result()
                return Permit(entry, self._leave)
            except _InterruptedError:
                self._leave(entry)
            except BusyError:
                self._leave(entry)
                if mine or self._clock() >= deadline_s:
                    raise
            except BaseException:
                self._leave(entry)
                raise
            finally:
                del entry  # its future may hold the error that is on its way, and that error this frame

    def _enter(self, key: Hashable) -> tuple[Entry[M], bool]:
        """(the entry of a key, whether the caller is to load it); the caller counts as one who holds it."""
        while True:
            with self._changed:
                if self._closed:
                    raise EngineError(CLOSED)
                entry = self._entries.get(key)
                if entry is not None and entry.leaving:
                    self._changed.wait()
                    continue
                if entry is None or entry.awake is None or entry.awake.loops.alive:
                    mine = entry is None
                    entry = entry or self._entries.setdefault(key, Entry(key))
                    entry.n_held += 1
                    return entry, mine
                log.warning("%s: its loops have died; it is loaded again", entry.awake.model.name)
                self._dead.append(self._entries.pop(key))
                if entry.n_held:
                    continue
                entry.leaving = True
            self._put_to_sleep(entry)

    def _wake(self, entry: Entry[M], find: Callable[[], M], deadline_s: float) -> None:
        """Load; the entry's future has the result or the error, and so has everybody who waits for it."""
        start_s = self._clock()
        model: M | None = None
        try:
            model = find()
            self._make_room(entry, model, deadline_s)
            awake = Awake(model)
        except BaseException as e:
            with self._changed:
                self._forget(entry)
                if not entry.load.done():  # closing the pool has told them
                    entry.load.set_exception(e if isinstance(e, Exception) else _InterruptedError())
            if model is not None:
                self._on_change(Change(model.name, "failed", self._clock() - start_s))
            raise
        else:
            self._woken(entry, awake, start_s)
        finally:
            del entry  # as in hold

    def _make_room(self, entry: Entry[M], model: M, deadline_s: float) -> None:
        """Reserve what the model takes; models that nobody holds are put to sleep for it, the longest unused first.

        Raises BusyError if those that are held leave no room until the deadline.
        """
        while True:
            with self._changed:
                if self._closed:
                    raise EngineError(CLOSED)
                if self._fits(model, self._all()):
                    entry.model = model
                    return
                if not self._fits(model, []):
                    raise EngineError(
                        f"{model.name} was asked for, which takes {_gb(model.n_bytes)}, but the pool's budget is "
                        f"{_gb(self._budget_bytes or 0)}; raise memory_gb, pass fewer rows or a smaller model"
                    )
                idle = sorted((e for e in self._entries.values() if e.idle), key=lambda e: e.last_used_s)
                staying = [e for e in self._all() if not (e.idle or e.leaving)]
                if not self._fits(model, staying):
                    left_s = deadline_s - self._clock()
                    if left_s <= 0 or not self._changed.wait(min(left_s, threading.TIMEOUT_MAX)):
                        held = ", ".join(sorted(e.model.name for e in staying if e.model is not None))
                        raise BusyError(
                            f"{model.name} was asked for, which takes {_gb(model.n_bytes)}, but {held} are in use and "
                            f"the pool's budget is {_gb(self._budget_bytes or 0)}; try again later, or raise memory_gb"
                        )
                    continue
                if not idle:
                    self._changed.wait()  # who is leaving makes room
                    continue
                idle[0].leaving = True
            log.info("%s makes room for %s", idle[0].key, model.name)
            self._put_to_sleep(idle[0])

    def _woken(self, entry: Entry[M], awake: Awake[M], start_s: float) -> None:
        with self._changed:
            late = self._closed
            if not late:
                entry.awake = awake
                entry.load.set_result(awake)
        if late:
            entry.awake = awake  # closing marked it as leaving, and had nothing to close
            self._put_to_sleep(entry)
            raise EngineError(CLOSED)
        model, took_s = awake.model, self._clock() - start_s
        log.info("%s is awake on %s after %.1f s", model.name, ", ".join(model.devices), took_s)
        self._on_change(Change(model.name, "loaded", took_s))

    def _leave(self, entry: Entry[M]) -> None:
        """One who held or waited has gone."""
        if self._birthplace.left:
            return
        with self._changed:
            entry.n_held -= 1
            entry.last_used_s = self._clock()
            gone = entry in self._dead and not (entry.n_held or entry.leaving)
            entry.leaving = entry.leaving or gone
            self._changed.notify_all()
        if gone:
            self._put_to_sleep(entry)
        if self._idle_s == 0:
            self.sweep()

    # --- sleep ------------------------------------------------------------------------------------------------------

    def sweep(self) -> float | None:
        """Put to sleep who was not held for long enough. Returns seconds until the next one's time; None: nobody's."""
        if self._idle_s is None:
            return None
        with self._changed:
            now_s = self._clock()
            left_s = {e: e.last_used_s + self._idle_s - now_s for e in self._entries.values() if e.idle}
            due = [e for e, left in left_s.items() if left <= 0]
            for entry in due:
                entry.leaving = True
        for entry in due:
            self._put_to_sleep(entry)
        return min((left for left in left_s.values() if left > 0), default=None)

    def close(self) -> None:
        """Put every model to sleep, held or not; who waits for a model or a window gets an EngineError. Idempotent.

        In a fork of the process nothing is done: there is nothing of its own to close.
        """
        if self._birthplace.left:
            return
        with self._changed:
            self._closed = True
            entries = [e for e in self._all() if not e.leaving]
            for entry in entries:
                if entry.awake is None and not entry.load.done():
                    entry.load.set_exception(EngineError(CLOSED))
                entry.leaving = True
            awake = [e for e in entries if e.awake is not None]  # who wakes later is put to sleep by its loader
            self._changed.notify_all()
        for entry in awake:
            self._put_to_sleep(entry)
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
            atexit.unregister(self.close)

    def __enter__(self) -> Pool[M]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def unload(self, key: Hashable) -> bool:
        """Put one model to sleep, pinned or not. Returns whether it was awake. Raises BusyError if anybody holds it."""
        with self._changed:
            entry = self._entries.get(key)
            while entry is not None and entry.leaving:
                self._changed.wait()
                entry = self._entries.get(key)
            if entry is None:
                return False
            if entry.n_held or entry.awake is None:
                name = entry.model.name if entry.model is not None else "a model that is being loaded"
                raise BusyError(f"{name} is in use ({entry.n_held}); try again when nobody uses it")
            entry.leaving = True
        self._put_to_sleep(entry)
        return True

    # --- what is there ----------------------------------------------------------------------------------------------

    @property
    def awake(self) -> tuple[M, ...]:
        """The models that are awake."""
        with self._changed:
            return tuple(e.awake.model for e in self._entries.values() if e.awake is not None and not e.leaving)

    def place(self, key: Hashable) -> Place[M]:
        """How a model stands at this moment."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None:
                return Place("asleep")
            if entry.leaving:
                return Place("leaving", entry.model)
            return Place("loading" if entry.awake is None else "awake", entry.model, entry.n_held)

    def census(self) -> list[Presence]:
        """Every model that is found, and what it has to do. Any thread may ask; nobody waits for long."""
        with self._changed:
            return [_presence(e, e.model, e.awake) for e in self._all() if e.model is not None]

    def check(self) -> None:
        """Raise AssertionError if a permit or room has leaked."""
        with self._changed:
            for entry in self._all():
                assert entry.n_held >= 0, f"{entry.key} was given back more often than held"
                assert entry.awake is not None or entry.n_held or entry.leaving, (
                    f"{entry.key} is being loaded, but nobody waits"
                )
            for device in {d for e in self._all() if e.model is not None for d in e.model.devices}:
                used = sum(e.bytes_on(device) for e in self._all())
                assert self._budget_bytes is None or used <= self._budget_bytes, f"{used} bytes in use on {device}"

    def _all(self) -> list[Entry[M]]:
        return [*self._entries.values(), *self._dead]

    def _fits(self, model: M, beside: list[Entry[M]]) -> bool:
        if self._budget_bytes is None:
            return True
        return all(
            model.n_bytes + sum(e.bytes_on(device) for e in beside) <= self._budget_bytes for device in model.devices
        )

    def _put_to_sleep(self, entry: Entry[M]) -> None:
        """Close its loops and give its memory back; only then is its room free. Who calls has marked it as leaving.

        Not under the lock: a loop that ends answers those who wait, and they may give permits back on its thread.
        What fails is logged, and the room is free all the same: who loads next finds out what the device still has.
        """
        awake = entry.awake
        assert awake is not None, "who sleeps is not put to sleep"
        model = awake.model
        try:
            self._try(model.name, "its loops were not closed", awake.loops.close)
            entry.awake = awake = None
            self._try(model.name, "its memory was not given back", model.put_away)
        finally:
            entry.awake = None
            with self._changed:
                self._forget(entry)
        log.info("%s sleeps", model.name)
        self._on_change(Change(model.name, "unloaded"))

    @staticmethod
    def _try(name: str, otherwise: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:
            log.exception("%s: %s", name, otherwise)

    def _forget(self, entry: Entry[M]) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        elif entry in self._dead:
            self._dead.remove(entry)
        self._changed.notify_all()

    def _keep(self) -> None:
        """The keeper's thread: sweep, and sleep until somebody's time may come."""
        while True:
            left_s = None
            try:
                left_s = self.sweep()
            except Exception:
                log.exception("nobody was put to sleep; trying again later")
            with self._changed:
                if self._closed:
                    return
                # who became idle since the sweep has told nobody, and is looked at after idle_s at the latest
                self._changed.wait(self._idle_s if left_s is None else left_s)


def _presence(entry: Entry[M], model: M, awake: Awake[M] | None) -> Presence:
    state = "leaving" if entry.leaving else "loading" if awake is None else "awake"
    load = Load() if awake is None else awake.loops.load
    return Presence(model.name, state, entry.n_held, model.n_bytes, model.devices, load)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB"
