"""Who sits where: the free lists of slots (one per sound) and rows (one per line of the batch). Host only, no tensor.

A freed slot remembers whose sound it holds until it is reused: a later window of the same key skips the encoder.

    slot:   free, empty  ->  held (refs >= 1)  ->  free, warm (key kept, reused last)  ->  held by another key
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

SPARE_SLOTS = 4  # slots beyond the rows, so that what was just freed is remembered a little longer


class Slots:
    """A free list over n slots that remembers keys.

    n_warm: free slots that remember; beyond it the longest idle is reused before an empty one is touched for the first
    time, so that memory grows with the windows in flight and not with the pool. None: all of them.
    """

    def __init__(self, n: int, n_warm: int | None = None) -> None:
        self.n = n
        self.n_warm = n if n_warm is None else n_warm
        self._key_by_slot: list[str | None] = [None] * n
        self._slot_by_key: dict[str, int] = {}
        self._refs = [0] * n
        self._empty = list(range(n))  # heap: the lowest first, so that running slots stay neighbours
        self._warm: OrderedDict[int, None] = OrderedDict()  # free but remembered, the longest idle first

    def can_acquire(self, key: str) -> bool:
        return key in self._slot_by_key or bool(self._empty) or bool(self._warm)

    def is_warm(self, key: str) -> bool:
        return key in self._slot_by_key

    def acquire(self, key: str) -> tuple[int, bool]:
        """(slot, warm). A warm slot holds this key's sound already. Ask `can_acquire` first."""
        if key in self._slot_by_key:
            slot = self._slot_by_key[key]
            self._warm.pop(slot, None)
            self._refs[slot] += 1
            return slot, True
        if self._empty and (len(self._warm) < self.n_warm or not self._warm):
            slot = heapq.heappop(self._empty)
        else:
            slot, _ = self._warm.popitem(last=False)
            old = self._key_by_slot[slot]
            assert old is not None, "a warm slot has a key"
            del self._slot_by_key[old]
        self._key_by_slot[slot] = key
        self._slot_by_key[key] = slot
        self._refs[slot] = 1
        return slot, False

    def release(self, slot: int) -> None:
        assert self._refs[slot] > 0, f"slot {slot} is released more often than acquired"
        self._refs[slot] -= 1
        if self._refs[slot] == 0:
            if self._key_by_slot[slot] is None:
                heapq.heappush(self._empty, slot)
            else:
                self._warm[slot] = None

    def forget(self, slot: int) -> None:
        """The slot's sound is not to be trusted (its encoding failed): it is not warm for anybody any more."""
        key = self._key_by_slot[slot]
        if key is None:
            return
        del self._slot_by_key[key]
        self._key_by_slot[slot] = None
        if slot in self._warm:
            del self._warm[slot]
            heapq.heappush(self._empty, slot)

    @property
    def n_held(self) -> int:
        return sum(r > 0 for r in self._refs)

    def check(self) -> None:
        """Raise AssertionError if a slot is lost, doubly free, or remembered under two keys."""
        for slot in range(self.n):
            places = (self._refs[slot] > 0) + (slot in self._warm) + (slot in self._empty)
            assert places == 1, f"slot {slot} is in {places} places; it must be in exactly one"
            assert slot not in self._empty or self._key_by_slot[slot] is None, f"empty slot {slot} remembers a key"
        assert {k: s for s, k in enumerate(self._key_by_slot) if k is not None} == self._slot_by_key


class Rows:
    """A free list over n rows, the lowest first."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._free = list(range(n))

    @property
    def n_free(self) -> int:
        return len(self._free)

    def acquire(self, n: int) -> list[int]:
        """n rows in rising order. Look at `n_free` first."""
        assert n <= len(self._free), f"{n} rows are asked for, {len(self._free)} are free"
        return [heapq.heappop(self._free) for _ in range(n)]

    def release(self, rows: list[int]) -> None:
        for row in rows:
            assert row not in self._free, f"row {row} is released twice"
            heapq.heappush(self._free, row)

    def check(self, n_held: int) -> None:
        """Raise AssertionError unless held and free rows add up."""
        assert len(set(self._free)) == len(self._free), "a row is free twice"
        assert len(self._free) + n_held == self.n, f"{len(self._free)} rows free and {n_held} held of {self.n}"
