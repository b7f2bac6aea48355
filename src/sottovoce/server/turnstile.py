"""Who is let in next: slots for recordings in work, a bounded queue, fair between callers. One event loop; no thread.

    arriving -> waiting -> working -> gone
        |          |
        refused <--+  the queue is full, the wait is too long, the house closes; or he leaves by himself

A slot that comes free goes to the waiting caller who has the fewest recordings in work; among equals, to him who was
served longest ago; of his, to the oldest. A full queue refuses the newcomer, or, if another caller has at least two
more in it, that one's newest. So who asks much cannot keep out who asks little, and a caller with nothing in work is
passed at most once by each of the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sottovoce.server.failures import Kind, RequestError

MOST_S = 120  # clients of OpenAI ignore a longer Retry-After
FIRST_GUESS_S = 5.0  # for a recording, while none has ended
MEMORY = 0.2  # what the last recording's time counts in the mean of all


class Turnstile:
    """Slots and who waits for them. n_slots may be set later, when the model is known."""

    def __init__(self, n_slots: int, n_queue: int, wait_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._n_slots, self._n_queue, self._wait_s, self._clock = n_slots, n_queue, wait_s, clock
        self._working: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}  # he comes first who was served longest ago
        self._held_s = FIRST_GUESS_S
        self._closed = False

    @property
    def n_slots(self) -> int:
        return self._n_slots

    @n_slots.setter
    def n_slots(self, n: int) -> None:
        self._n_slots = n
        self._pass_on()

    @property
    def n_working(self) -> int:
        return self._working.total()

    @property
    def n_waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def admitted(self, caller: str) -> AsyncIterator[float]:
        """Hold a slot; gives the seconds that were waited for it. Cancelling leaves the queue, or frees the slot.

        Raises RequestError if there is no place in the queue, or no slot came free in time.
        """
        asked_s = self._clock()
        await self._enter(caller)
        begun_s = self._clock()
        try:
            yield begun_s - asked_s
        finally:
            self._held_s += MEMORY * (self._clock() - begun_s - self._held_s)
            self._leave(caller)

    def retry_after_s(self) -> int:
        """When a slot may be free for one who asks now, as recordings have taken so far."""
        wait_s = self._held_s * (self.n_waiting + 1) / max(1, self._n_slots)
        return math.ceil(min(max(1.0, wait_s), MOST_S))

    def close(self) -> None:
        """Refuse whoever waits, and whoever comes."""
        self._closed = True
        for queue in self._queues.values():
            for ready in queue:
                if not ready.done():
                    ready.set_exception(self._closing())
        self._queues.clear()

    def check(self) -> None:
        """Nothing has leaked: what is counted is what there is."""
        assert all(n > 0 for n in self._working.values()), f"who has nothing in work is forgotten: {self._working}"
        assert all(self._queues.values()), "who waits for nothing is forgotten"
        assert self.n_waiting <= self._n_queue, f"{self.n_waiting} wait in a queue of {self._n_queue}"
        waits = any(not ready.done() for queue in self._queues.values() for ready in queue)
        assert not waits or self.n_working >= self._n_slots, "a slot is free, and somebody waits"

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _enter(self, caller: str) -> None:
        if self._closed:
            raise self._closing()
        if self.n_working < self._n_slots:  # then nobody waits
            self._working[caller] += 1
            return
        self._make_place(caller)
        ready = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(ready)
        try:
            async with asyncio.timeout(self._wait_s):
                await ready
        except BaseException as e:
            if ready.done() and not ready.cancelled() and ready.exception() is None:
                self._leave(caller)  # the slot came in the very moment in which he left
            else:
                self._forget(caller, ready)
            if isinstance(e, TimeoutError):
                raise self._busy(f"no slot came free in {self._wait_s:g} s", "queue_timeout") from None
            raise

    def _leave(self, caller: str) -> None:
        self._working[caller] -= 1
        if not self._working[caller]:
            del self._working[caller]
        self._pass_on()

    def _pass_on(self) -> None:
        """Give free slots to who waits."""
        while self.n_working < self._n_slots and self._queues:
            caller = min(self._queues, key=lambda c: self._working[c])
            queue = self._queues[caller]
            ready = queue.popleft()
            if not ready.done():  # he has not left, in this very round of the event loop
                self._working[caller] += 1
                ready.set_result(None)
                del self._queues[caller]
                if queue:
                    self._queues[caller] = queue  # behind all others
            elif not queue:
                del self._queues[caller]

    def _make_place(self, caller: str) -> None:
        """A place in the queue. Raises RequestError."""
        if self.n_waiting < self._n_queue:
            return
        longest = max(self._queues, key=lambda c: len(self._queues[c]), default=None)
        if longest is None or len(self._queues[longest]) < len(self._queues.get(caller, ())) + 2:
            raise self._full()
        ready = self._queues[longest].pop()
        if not ready.done():
            ready.set_exception(self._full())

    def _forget(self, caller: str, ready: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller)
        if queue is not None and ready in queue:
            queue.remove(ready)
            if not queue:
                del self._queues[caller]

    def _full(self) -> RequestError:
        return self._busy(f"{self._n_slots} recordings are in work and {self.n_waiting} wait", "queue_full")

    def _busy(self, what: str, code: str) -> RequestError:
        return RequestError(f"the server is busy: {what}; ask again later", self._kind(code))

    def _closing(self) -> RequestError:
        return RequestError("the server is ending; ask another, or again", self._kind("server_ending"))

    def _kind(self, code: str) -> Kind:
        return Kind(503, "server_error", code, self.retry_after_s())
