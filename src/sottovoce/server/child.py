"""One process that decodes recordings, and this side of the socket between. Knows no pool, no request, no status.

What it says is not trusted: it may have been taken over by what it decodes.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from sottovoce.server.decoding import MOST_CHANNELS, Job

STALL_S = 30.0  # without ten more seconds of sound
LINE_BYTES = 1 << 16
# what a child needs to find its program; secrets of the server are not among it
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "VIRTUAL_ENV")
SEALS = 0x1 | 0x2 | 0x4 | 0x8  # linux/fcntl.h: nobody seals, shrinks, grows or writes it any more
ADD_SEALS = 1033


class Lost(Exception):
    """A child ended before its answer. status: as subprocess has it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a decoder ended with status {status}")
        self.status = status


class Child:
    """One process, and this side of its socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        env = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        env |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sottovoce.server.decoder", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=env,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for the server
            )
        ours.setblocking(False)
        self._socket = ours
        self._ready: asyncio.Future[None] | None = None
        self._data = b""
        self.n_jobs = 0
        self.is_spoilt = False  # it said what it should not
        self.parting: asyncio.Future[tuple[dict[str, Any], list[int]]] | None = None

    @property
    def is_alive(self) -> bool:
        return self._socket.fileno() >= 0 and self.process.poll() is None

    def ask(self, job: Job, file: int) -> None:
        """Hand over a recording. Raises Lost."""
        self.n_jobs += 1
        with suppress(OSError):  # its end is seen when it is asked for the answer
            socket.send_fds(self._socket, [job.line()], [file])

    async def answer(self) -> tuple[dict[str, Any], list[int]]:
        """What it says, and the files that come with it. Raises Lost; TimeoutError if it does not get on."""
        outs: list[int] = []
        try:
            while True:
                async with asyncio.timeout(STALL_S):
                    told = await self._line(outs)
                if "at_s" not in told:
                    return told, outs
        except BaseException:
            for out in outs:
                os.close(out)
            raise

    async def _line(self, outs: list[int]) -> dict[str, Any]:
        while b"\n" not in self._data:
            await self._readable()
            if self._socket.fileno() < 0:
                raise Lost(-signal.SIGKILL)  # it was ended meanwhile
            data, handles = b"", list[int]()
            with suppress(BlockingIOError, ConnectionError):
                data, handles, _, _ = socket.recv_fds(self._socket, LINE_BYTES, MOST_CHANNELS)
            outs += handles
            self._data += data
            if not data or len(self._data) > LINE_BYTES:
                raise Lost(await self.end(by_itself=not data))
        line, _, self._data = self._data.partition(b"\n")
        try:
            told = json.loads(line)
            assert isinstance(told, dict)
        except (ValueError, AssertionError) as e:
            self.is_spoilt = True
            raise Lost(-signal.SIGABRT) from e
        return told

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._ready = ready
        fd = self._socket.fileno()
        if fd < 0:
            return
        loop.add_reader(fd, _settle, ready)
        try:
            await ready
        finally:
            self._ready = None
            if self._socket.fileno() == fd:
                loop.remove_reader(fd)

    async def end(self, by_itself: bool = False) -> int:
        """Make sure that it is gone; returns its status. by_itself: it has gone, and why is of interest."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())  # before the number is another file's
            self._socket.close()
            if self._ready is not None:
                _settle(self._ready)
        return await asyncio.to_thread(_ended, self.process, by_itself)


def _ended(process: subprocess.Popen[bytes], by_itself: bool) -> int:
    if by_itself:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(5)
    process.kill()
    return process.wait()


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def mapped(out: int, n: int) -> np.ndarray:
    """(n,) float32 samples of a child's file, which it can change no more. Raises AssertionError if they are fewer."""
    if sys.platform == "linux":
        import fcntl  # which not every system has

        fcntl.fcntl(out, ADD_SEALS, SEALS)  # or a page that a child takes away would end the server
    assert 0 < n * 4 <= os.fstat(out).st_size, "a decoder gave less sound than it said"
    return np.frombuffer(mmap.mmap(out, n * 4, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE), np.float32)
