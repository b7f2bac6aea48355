"""Where sealed results are kept: nowhere, in memory, in a folder. A store knows names and bytes, no transcript.

Source of the idea: the store is the scheme of a URL, and every store passes one test class (tests/null/test_stores.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

DRAFT = "."  # how the name of a file begins that is being written
DRAFT_S = 3600.0  # after which it is what a process that died left
ROOM = 0.9  # of the limit: what is left when room has been made
TALLY = 0.05  # of the limit: what is written between two looks at what others have written


class Store(Protocol):
    """Sealed results by name. All may raise OSError, which means: not now."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, sealed: bytes) -> None:
        """Keep it, and let go of what was used least recently, where there is no room. Whole or not at all."""

    async def drop(self, name: str) -> None:
        """Let go of it, if it is there."""

    async def close(self) -> None: ...


class Nothing:
    """Keeps nothing."""

    async def get(self, name: str) -> bytes | None:
        return None

    async def put(self, name: str, sealed: bytes) -> None:
        pass

    async def drop(self, name: str) -> None:
        pass

    async def close(self) -> None:
        pass


class Memory:
    """Keeps at most n_bytes, as long as the process lives."""

    def __init__(self, n_bytes: int) -> None:
        self._limit_bytes, self._n_bytes = n_bytes, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, name: str) -> bytes | None:
        if name in self._kept:
            self._kept.move_to_end(name)
        return self._kept.get(name)

    async def put(self, name: str, sealed: bytes) -> None:
        await self.drop(name)
        if len(sealed) > self._limit_bytes:
            return
        self._kept[name] = sealed
        self._n_bytes += len(sealed)
        while self._n_bytes > self._limit_bytes:
            await self.drop(next(iter(self._kept)))

    async def drop(self, name: str) -> None:
        self._n_bytes -= len(self._kept.pop(name, b""))

    async def close(self) -> None:
        self._kept.clear()
        self._n_bytes = 0


class Disk:
    """A file for each result, readable by its owner only: <folder>/<2 digits>/<name>; its mtime is its last use.

    Files and not a database: a file that is damaged is one result less, a full disk or a process that is killed leaves
    the others as they are, and any number of processes may share the folder without a lock, since a file appears whole
    (os.replace). The limit holds to within TALLY of it for each process that writes.
    """

    def __init__(self, folder: Path, n_bytes: int, most_s: float) -> None:
        """most_s: what was not used for so long is of no use any more."""
        self.folder, self._limit_bytes, self._most_s = folder, n_bytes, most_s
        self._n_bytes: int | None = None  # as far as this process knows
        self._until_look_bytes = 0.0

    async def get(self, name: str) -> bytes | None:
        return await asyncio.to_thread(self._get, name)

    async def put(self, name: str, sealed: bytes) -> None:
        if len(sealed) <= self._limit_bytes:
            await asyncio.to_thread(self._put, name, sealed)

    async def drop(self, name: str) -> None:
        await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    async def close(self) -> None:
        pass

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def _get(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):  # another process let go of it, or nothing may be written here
            os.utime(path)
        return sealed

    def _put(self, name: str, sealed: bytes) -> None:
        path = self._path(name)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft = path.parent / f"{DRAFT}{secrets.token_hex(8)}"
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(sealed)
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        self._until_look_bytes -= len(sealed)
        if self._n_bytes is not None:
            self._n_bytes += len(sealed)
        if self._n_bytes is None or self._n_bytes > self._limit_bytes or self._until_look_bytes < 0:
            self._make_room()

    def _make_room(self) -> None:
        now_s = time.time()
        kept = sorted(self._files(now_s))
        n_bytes = sum(size for _, size, _ in kept)
        goal = self._limit_bytes * ROOM if n_bytes > self._limit_bytes else self._limit_bytes
        for used_s, size, path in kept:
            if n_bytes <= goal and now_s - used_s <= self._most_s:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                n_bytes -= size
        self._n_bytes = n_bytes
        self._until_look_bytes = self._limit_bytes * TALLY

    def _files(self, now_s: float) -> Iterator[tuple[float, int, str]]:
        """(last use, size, path) of all that is kept; what a process that died has left goes."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as parts:
            for part in parts:
                if not part.is_dir(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError), os.scandir(part.path) as files:
                    for file in files:
                        with contextlib.suppress(FileNotFoundError):  # another process was faster
                            stat = file.stat(follow_symlinks=False)
                            if not file.name.startswith(DRAFT):
                                yield stat.st_mtime, stat.st_size, file.path
                            elif now_s - stat.st_mtime > DRAFT_S:
                                os.unlink(file.path)


class Patient:
    """A store that may fail: what fails is as if it kept nothing, said once, and asked again after a while."""

    def __init__(self, store: Store, what: str, pause_s: float = 0.0) -> None:
        self._store, self._what, self._pause_s = store, what, pause_s
        self._again_s = 0.0
        self._failing: set[str] = set()

    async def get(self, name: str) -> bytes | None:
        return await self._tried("read", lambda: self._store.get(name))

    async def put(self, name: str, sealed: bytes) -> None:
        await self._tried("written", lambda: self._store.put(name, sealed))

    async def drop(self, name: str) -> None:
        await self._tried("cleared", lambda: self._store.drop(name))

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            await self._store.close()

    async def _tried(self, what: str, act: Callable[[], Awaitable[T]]) -> T | None:
        if time.monotonic() < self._again_s:
            return None
        try:
            found = await act()
        except OSError as e:
            self._again_s = time.monotonic() + self._pause_s
            if what not in self._failing:
                reason = e.strerror or str(e) or type(e).__name__
                log.warning("%s cannot be %s (%s); recordings are transcribed without", self._what, what, reason)
            self._failing.add(what)
            return None
        if what in self._failing:
            self._failing.discard(what)
            log.warning("%s can be %s again", self._what, what)
        return found
