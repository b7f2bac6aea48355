"""One run for all who ask the same at the same time. Knows no store and no option.

said:      [0 ............ i)[i ............ n)      what became known; each follower has read his i of the n
followers: 0 before the end  ->  the run is withdrawn; else it goes on, whoever was first
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from sottovoce.flow.protocol import Event
from sottovoce.text.formats import Transcript

log = logging.getLogger(__name__)

Said = Event | Transcript
Decode = Callable[[Path], AsyncGenerator[Said, None]]


class Run:
    """A recording on its way to its transcript, in a task of its own.

    keep: is given the transcript before the run counts as over, so that who asks meanwhile has it from here.
    """

    def __init__(self, path: Path, decode: Decode, keep: Callable[[Transcript], Awaitable[None]] | None = None) -> None:
        self.said: list[Said] = []
        self.error: BaseException | None = None
        self.ended = False  # nothing more is said
        self.n_followers = 0
        self.withdrawn = False
        self.first_left = False  # before it ended, and with him maybe what it read from
        self._news = asyncio.Event()
        self._folder, self._path = _held(path)
        self.task = asyncio.create_task(self._run(decode, keep))

    @property
    def is_open(self) -> bool:
        """May others join? Also after its end, as long as it is there: it has the transcript."""
        return not self.withdrawn and self.error is None

    async def follow(self) -> AsyncGenerator[Said, None]:
        """All that is said from the beginning, as it is said. Raises what ended the run."""
        is_first = self.n_followers == 0
        self.n_followers += 1
        n = 0
        try:
            while True:
                while n < len(self.said):
                    n += 1
                    yield self.said[n - 1]
                if self.ended:
                    break
                await self._news.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.n_followers -= 1
            if not self.ended:
                self.first_left = self.first_left or is_first
                if not self.n_followers:
                    await self.withdraw()

    async def withdraw(self) -> None:
        """Give up; when this returns, its windows are given back."""
        self.withdrawn = True
        self.task.cancel()
        await asyncio.wait([self.task])

    def fail(self, error: BaseException) -> None:
        """End it with an error that all followers get."""
        if not self.ended:
            self._end(error)
            self.task.cancel()

    async def _run(self, decode: Decode, keep: Callable[[Transcript], Awaitable[None]] | None) -> None:
        try:
            async with aclosing(decode(self._path)) as run:
                async for said in run:
                    self.said.append(said)
                    self._tell()
            self._end(None)
            if keep is not None and isinstance(self.said[-1], Transcript):
                await keep(self.said[-1])
        except asyncio.CancelledError:
            # not this one: its traceback holds what was being done, with its sound, and this run, in a cycle
            self._end(asyncio.CancelledError())
            if not self.withdrawn:
                raise
        except Exception as e:
            if self.ended:
                log.error("a result could not be kept", exc_info=e)
            self._end(e)
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, error: BaseException | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            self._tell()

    def _tell(self) -> None:
        self._news.set()  # who waits is woken by it, whatever becomes of it
        self._news = asyncio.Event()


def _held(path: Path) -> tuple[str | None, Path]:
    """A second name of the file, in a folder of its own: the first one goes with the request that brought it.

    Where the disk gives no second name (another one, or a system without), the file has to stay while it is read.
    """
    folder = tempfile.mkdtemp(prefix="sottovoce-")
    held = Path(folder) / ("sound" + path.suffix)
    try:
        os.link(path, held)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
        return None, path
    return folder, held
