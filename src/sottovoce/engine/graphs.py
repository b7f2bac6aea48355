"""Work by bucket, recorded at its first call and replayed after it. Knows no network; stream.py does the recording."""

from __future__ import annotations

import logging
import time

from sottovoce.engine.memory import is_out_of_memory
from sottovoce.engine.stream import Stream, Work

log = logging.getLogger(__name__)

Key = tuple[str, int, int]  # what is done, of how many, how long


def bucket(n: int) -> int:
    """The least size that is recorded and holds n: powers of two to 16, then multiples of 16."""
    return 1 << (n - 1).bit_length() if n <= 16 else -(-n // 16) * 16


class Graphs:
    """What was recorded of one network. enabled: False runs everything as it is given, for comparison."""

    def __init__(self, stream: Stream, enabled: bool = True) -> None:
        self.stream = stream
        self.enabled = enabled
        self._recorded: dict[Key, Work] = {}
        self._refused: set[Key] = set()  # what runs as it is given
        self._told = False

    @property
    def keys(self) -> list[Key]:
        return list(self._recorded)

    def run(self, key: Key, work: Work) -> None:
        """Do `work`. The same key is always the same work, of the same tensors. Raises what work raises."""
        replay = self._recorded.get(key)
        if replay is None:
            replay = work if key in self._refused or not self.enabled else self._record(key, work)
        replay()

    def forget(self) -> bool:
        """Drop what was recorded, and give its memory back; it is recorded again when it is called. False: nothing."""
        if not self._recorded:
            return False
        log.info("%d recorded graphs are dropped", len(self._recorded))
        self._recorded.clear()
        self.stream.forget()
        return True

    def _record(self, key: Key, work: Work) -> Work:
        began = time.monotonic()
        try:
            recorded = self.stream.record(work)
        except Exception as e:  # a graph is only ever an acceleration
            self._refused.add(key)
            if is_out_of_memory(e) or (e.__context__ is not None and is_out_of_memory(e.__context__)):
                self.forget()  # what is done without a graph may fit then
            if not self._told:
                log.warning("%s of %d cannot be recorded, and runs step by step, slower: %s", key[0], key[1], e)
            self._told = True
            return work
        self._recorded[key] = recorded
        log.info("recorded %s of %d in %.2f s", key[0], key[1], time.monotonic() - began)
        return recorded
