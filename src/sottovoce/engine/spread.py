"""Which of several devices a window goes to. Host only: no tensor, no thread, no clock."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

N_KEPT = 4096  # keys whose place is remembered: far more than the slots of one machine


class Spread:
    """Windows to the least loaded device; those of a key go where its sound is, for only that slot remembers it.

    load = windows that were sent and are not done.
    """

    def __init__(self) -> None:
        self._loads: Counter[int] = Counter()
        self._place_by_key: OrderedDict[str, int] = OrderedDict()  # the longest unused first

    def send(self, key: str, alive: Sequence[int]) -> int:
        """One of the devices that are alive, for a window of this key. Keys of one that has died move to another."""
        place = self._place_by_key.pop(key, -1)
        if place not in alive:
            place = min(alive, key=lambda i: self._loads[i])
        self._place_by_key[key] = place
        if len(self._place_by_key) > N_KEPT:
            self._place_by_key.popitem(last=False)
        self._loads[place] += 1
        return place

    def done(self, place: int) -> None:
        """A window that was sent there is answered, or withdrawn."""
        assert self._loads[place] > 0, f"device {place} is done with more windows than it was sent"
        self._loads[place] -= 1
