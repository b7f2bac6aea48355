"""Who runs next: lanes, fairness, admission to slots and rows. No tensor, no thread, no clock."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from sottovoce.engine.sequence import Sequence, Status
from sottovoce.engine.slots import Rows, Slots
from sottovoce.types import Lane

TURN_OF_THE_LAST = 8  # after 7 others an admission goes to the lowest lane that waits, so that BATCH never starves
SHARE_KEPT = 4  # one row in so many is never of BATCH, and so many times fewer windows of it are encoded in a step
TURN_OF_BATCH = (
    4  # beside others its rows go on in every so-manieth step: a step of few rows takes a fifth of a full one's
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One step's work. encode: cold sounds, one per slot. start: newly admitted. running: those that decode on."""

    encode: tuple[Sequence, ...]
    start: tuple[Sequence, ...]
    running: tuple[Sequence, ...]

    @property
    def empty(self) -> bool:
        return not (self.start or self.running)


class Scheduler:
    """Admits waiting sequences to free slots and rows. Inside a lane flows take turns, window by window.

    BATCH fills what others leave, so that a request finds a free row at once and shares its steps with no encoder and
    few rows: some rows are kept from it, and while a higher lane has somebody no new sound of it is encoded and its
    rows stand still, but for its turns.
    """

    def __init__(self, slots: Slots, rows: Rows, encode_windows: int, n_windows: int | None = None) -> None:
        """n_windows: decoded together, at most; None: as many as rows."""
        self.slots = slots
        self.rows = rows
        self.n_windows = rows.n if n_windows is None else n_windows
        self.encode_windows = encode_windows
        self.running: list[Sequence] = []
        self._waiting: dict[Lane, OrderedDict[str, deque[Sequence]]] = {lane: OrderedDict() for lane in Lane}
        self._n_passed = 0  # admissions since the lowest lane that waits had one
        self._n_apart = 0  # steps since BATCH went on

    @property
    def n_waiting(self) -> int:
        return sum(len(queue) for flows in self._waiting.values() for queue in flows.values())

    @property
    def idle(self) -> bool:
        return not self.running and not self.n_waiting

    def add(self, sequence: Sequence) -> None:
        assert sequence.n_rows <= self.rows.n, "the door refuses a window that needs more rows than there are"
        self._waiting[sequence.lane].setdefault(sequence.window.flow, deque()).append(sequence)

    def withdraw(self, sequence: Sequence) -> None:
        """Its asker has left: it is neither waiting nor running any more, and its places are free."""
        if sequence.status is Status.WAITING:
            flows = self._waiting[sequence.lane]
            queue = flows[sequence.window.flow]
            queue.remove(sequence)
            if not queue:
                del flows[sequence.window.flow]
            sequence.status = Status.DONE
        elif sequence.status is Status.RUNNING:
            self.finish(sequence)

    def schedule(self) -> Plan:
        """Admit while slots, rows and the encoder's budget last; a head that does not fit holds its lane back."""
        running = self._who_go_on()
        encode: list[Sequence] = []
        start: list[Sequence] = []
        blocked: set[Lane] = set()
        while (lane := self._next_lane(blocked)) is not None:
            sequence = next(iter(self._waiting[lane].values()))[0]
            if not self._fits(sequence, encode):
                blocked.add(lane)
                if sequence.n_rows > self.rows.n_free:
                    break  # rows that come free are kept for it, or a wide beam would wait for ever
                continue
            self._admit(sequence)
            start.append(sequence)
            if sequence.cold:
                encode.append(sequence)
        return Plan(tuple(encode), tuple(start), running)

    def finish(self, sequence: Sequence) -> None:
        """Give its slot and rows back; the slot remembers."""
        self.running.remove(sequence)
        self.slots.release(sequence.slot)
        self.rows.release(sequence.rows)
        sequence.status = Status.DONE

    def check(self) -> None:
        """Raise AssertionError if a pool has leaked."""
        self.slots.check()
        self.rows.check(sum(len(s.rows) for s in self.running))
        held = {s.slot for s in self.running}
        assert self.slots.n_held == len(held), f"{self.slots.n_held} slots held, {len(held)} in use"

    def _who_go_on(self) -> tuple[Sequence, ...]:
        higher = tuple(s for s in self.running if s.lane < Lane.BATCH)
        self._n_apart += 1
        if higher and self._n_apart < TURN_OF_BATCH:
            return higher
        self._n_apart = 0
        return tuple(self.running)

    def _next_lane(self, blocked: set[Lane]) -> Lane | None:
        waiting = [lane for lane in Lane if self._waiting[lane] and lane not in blocked]
        if not waiting:
            return None
        return self._lowest if self._last_has_turn and self._lowest in waiting else waiting[0]

    @property
    def _lowest(self) -> Lane | None:
        """The lowest lane that waits."""
        return max((lane for lane in Lane if self._waiting[lane]), default=None)

    @property
    def _last_has_turn(self) -> bool:
        return self._n_passed >= TURN_OF_THE_LAST - 1

    def _fits(self, sequence: Sequence, encode: list[Sequence]) -> bool:
        key = sequence.window.key
        if sequence.n_rows > self.rows.n_free or not self.slots.can_acquire(key):
            return False
        if sequence.n_rows and sum(s.n_rows > 0 for s in self.running) >= self.n_windows:
            return False
        if sequence.lane is not Lane.BATCH:
            return self.slots.is_warm(key) or len(encode) < self.encode_windows
        held = [s.n_rows for s in self.running if s.lane is Lane.BATCH]
        if held and sum(held) + sequence.n_rows > self.rows.n - self.rows.n // SHARE_KEPT:
            return False
        if held and len(held) >= self.n_windows - self.n_windows // SHARE_KEPT:
            return False
        if self.slots.is_warm(key):
            return True
        higher = any(self._waiting[lane] for lane in Lane if lane < Lane.BATCH)
        if (higher or any(s.lane < Lane.BATCH for s in self.running)) and not self._last_has_turn:
            return False
        n_encode = sum(s.lane is Lane.BATCH for s in encode)
        return n_encode < max(1, self.encode_windows // SHARE_KEPT) and len(encode) < self.encode_windows

    def _admit(self, sequence: Sequence) -> None:
        self._n_passed = 0 if sequence.lane is self._lowest else self._n_passed + 1
        flows = self._waiting[sequence.lane]
        flow = sequence.window.flow
        flows[flow].popleft()
        if flows[flow]:
            flows.move_to_end(flow)
        else:
            del flows[flow]
        sequence.slot, warm = self.slots.acquire(sequence.window.key)
        sequence.cold = not warm
        sequence.rows = self.rows.acquire(sequence.n_rows)
        sequence.status = Status.RUNNING
        sequence.start()
        self.running.append(sequence)
