"""What every store of results promises, as one class; and a fault that comes and goes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable
from typing import TypeVar

from sottovoce.server.stores import Store

T = TypeVar("T")
NAME, OTHER = "ab" * 32, "cd" * 32
ROOM_BYTES = 20_000


def done(act: Awaitable[T]) -> T:
    async def run() -> T:
        return await act

    return asyncio.run(run())


class Promises:
    """Subclasses make the store, with ROOM_BYTES of room."""

    def store(self) -> Store:
        raise NotImplementedError

    def test_what_was_put_is_got(self) -> None:
        async def scenario() -> None:
            store = self.store()
            assert await store.get(NAME) is None
            await store.put(NAME, b"\x00one\xff")
            assert await store.get(NAME) == b"\x00one\xff"
            assert await store.get(OTHER) is None
            await store.put(NAME, b"two")
            assert await store.get(NAME) == b"two"
            await store.close()

        done(scenario())

    def test_what_was_dropped_is_gone_and_dropping_twice_is_no_fault(self) -> None:
        async def scenario() -> None:
            store = self.store()
            await store.put(NAME, b"one")
            await store.drop(NAME)
            await store.drop(NAME)
            assert await store.get(NAME) is None
            await store.close()

        done(scenario())

    def test_what_is_larger_than_the_room_is_not_kept_and_nothing_goes_for_it(self) -> None:
        async def scenario() -> None:
            store = self.store()
            await store.put(NAME, b"one")
            await store.put(OTHER, bytes(ROOM_BYTES + 1))
            assert await store.get(OTHER) is None
            assert await store.get(NAME) == b"one"
            await store.close()

        done(scenario())

    def test_many_at_once_are_all_kept_whole(self) -> None:
        async def scenario() -> None:
            store = self.store()
            names = [f"{i:02x}" * 32 for i in range(40)]
            await asyncio.gather(*(store.put(name, name.encode()) for name in names for _ in range(3)))
            got = await asyncio.gather(*(store.get(name) for name in names))
            assert [g for g, name in zip(got, names, strict=True) if g != name.encode()] == []
            await store.close()

        done(scenario())


class Failing:
    """A store of a disk that is full, as long as it is told to be. n_asked: how often it was asked for anything."""

    def __init__(self) -> None:
        self.fails, self.n_asked = True, 0
        self.kept: dict[str, bytes] = {}

    def _ask(self) -> None:
        self.n_asked += 1
        if self.fails:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def get(self, name: str) -> bytes | None:
        self._ask()
        return self.kept.get(name)

    async def put(self, name: str, sealed: bytes) -> None:
        self._ask()
        self.kept[name] = sealed

    async def drop(self, name: str) -> None:
        self._ask()
        self.kept.pop(name, None)

    async def close(self) -> None:
        self._ask()
