"""Children that decode recordings: at most so many at once, each one recording at a time, none of them trusted.

A child that crashes, hangs, is killed, or decodes what nobody waits for any more, is replaced; who asked is told by
name what became of his recording. Sound comes back as a file without a name, which is mapped, not copied.

    starting -> idle -> busy -> idle          (until it has had its share of jobs)
                         | crash, hang, hang-up
                         v
                        gone -> another is starting
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.audio.apart import Channels
from sottovoce.errors import AudioError, EngineError, OptionError
from sottovoce.request import Request
from sottovoce.server.child import Child, Lost, mapped
from sottovoce.server.decoding import Job, Recording, TooLong, sounds
from sottovoce.server.failures import Kind, RequestError
from sottovoce.serving import Serving
from sottovoce.types import SAMPLE_RATE

log = logging.getLogger(__name__)

START_S = 60.0  # until a child has shown that it decodes
GRACE_S = 0.5  # to end what nobody waits for any more, before it is ended
AGAIN_S = 1.0  # until another child is tried where one did not start
N_JOBS = 1000  # of one child; codecs leak, and so does the memory between what is freed
N_TRIES = 2  # of a recording whose child was ended by somebody else
CRASHES = {getattr(signal, f"SIG{name}", None) for name in ("SEGV", "BUS", "ABRT", "ILL", "FPE", "SYS", "TRAP")}
OVERTIME = {getattr(signal, name, None) for name in ("SIGXCPU", "SIGALRM")}  # not every system has them

UNKNOWN = "the recording could not be decoded; convert it to wav or flac"
LOST = Kind(503, "server_error", "decoder_lost", retry_after_s=1)
TOO_LONG = Kind(400, code="audio_too_long")
TOO_SLOW = Kind(400, code="audio_too_slow")
TOO_LARGE = Kind(400, code="audio_too_large")
NO_ROOM = Kind(507, "server_error", "disk_full", retry_after_s=30)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What was read of a recording, and what is still to be done with it."""

    sound: np.ndarray | Channels
    request: Request

    @property
    def duration_s(self) -> float:
        samples = self.sound if isinstance(self.sound, np.ndarray) else self.sound.sounds[0]
        return len(samples) / SAMPLE_RATE


class Media:
    """The children of one server. `open` before anything is read, `close` at the end."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._idle: asyncio.Queue[Child | None] = asyncio.Queue()  # None: there will be none any more
        self._children: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False
        self.on_lost: Callable[[str], None] = lambda reason: None  # told of each child that was lost, and why
        self._is_warned = False

    async def open(self) -> None:
        """Start the children, each of which has decoded the known clip. Raises EngineError."""
        self._is_open = True
        if not hasattr(socket, "send_fds"):
            log.warning("this system cannot hand open files to other processes: recordings are decoded in the server")
            return
        started = await asyncio.gather(*(self._start() for _ in range(self._serving.decoders)), return_exceptions=True)
        for failure in started:
            if isinstance(failure, BaseException):
                await self.close()
                raise failure

    async def close(self) -> None:
        """End the children; what they were doing is not finished."""
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(child.end() for child in self._children))
        self._children.clear()
        self._idle.put_nowait(None)

    @property
    def pids(self) -> tuple[int, ...]:
        """The children that there are."""
        return tuple(child.process.pid for child in self._children)

    async def read(self, path: Path, request: Request) -> Read:
        """The sound of a file as a request needs it, and the request without what was done for it.

        Known speakers are read as well; they are bytes, paths or samples.
        Raises AudioError, OptionError, EngineError, RequestError.
        """
        wishes = Job(
            self._serving.max_duration_s,
            self._serving.decode_s,
            request.stream,
            request.channel,
            request.end_s,
            tuple(step.value for step in request.clean),
            bool(request.channels),
        )
        found, are_same = await self._decoded(path, wishes)
        known = []
        for name, source in request.options.known_speakers:
            known.append((name, await self._voice(name, source)))
        options = replace(request.options, known_speakers=tuple(known)) if known else request.options
        left = replace(request, options=options, stream=0, channel=None, end_s=None, clean=())
        return Read(Channels(tuple(found), are_same) if request.channels else found[0], left)

    async def _voice(self, name: str, source: Any) -> np.ndarray:
        if isinstance(source, np.ndarray):
            return source
        job = Job(self._serving.max_duration_s, self._serving.decode_s)
        try:
            if isinstance(source, Path):
                return (await self._decoded(source, job))[0][0]
            if not isinstance(source, bytes):  # least of all a text, which might name a file of ours
                raise OptionError(f"known_speakers: {type(source).__name__} was given, a recording was expected")
            with tempfile.NamedTemporaryFile(prefix="sottovoce-voice-") as kept:
                await asyncio.to_thread(_keep, kept, source)
                return (await self._decoded(Path(kept.name), job))[0][0]
        except AudioError as e:
            raise AudioError(f"known speaker {name}: {e}") from e

    async def _decoded(self, path: Path, job: Job) -> tuple[list[np.ndarray], bool]:
        """Each channel's sound, and whether all are the same."""
        assert self._is_open, "media are read of an open house"
        if not hasattr(socket, "send_fds"):
            return await asyncio.to_thread(_here, path, job)
        for i in range(N_TRIES):
            try:
                return await self._ask(path, job)
            except Lost as e:
                crashed, late = -e.status in CRASHES, -e.status in OVERTIME
                self.on_lost("crashed" if crashed else "overtime" if late else "killed")
                if crashed:
                    log.warning("a recording crashed its decoder (%s)", signal.Signals(-e.status).name)
                    what = "the recording is damaged so that its decoder crashed"
                    raise AudioError(f"{what}, a sound one was expected; convert it to wav or flac") from e
                if late:
                    raise _too_slow(job) from e
                log.warning("a decoder was ended from outside, with status %d, try %d", e.status, i + 1)
        raise RequestError("the process that decodes recordings was ended while it read this one; try again", LOST)

    async def _ask(self, path: Path, job: Job) -> tuple[list[np.ndarray], bool]:
        """As `_decoded`, by one child. Raises Lost."""
        async with self._child() as child:
            try:
                file = os.open(path, os.O_RDONLY)
            except OSError as e:
                raise AudioError(f"the recording cannot be read ({e.strerror}); send it again") from e
            try:
                child.ask(job, file)
            finally:
                os.close(file)
            work = asyncio.ensure_future(child.answer())
            try:
                async with asyncio.timeout(job.limit_s):
                    answer, outs = await asyncio.shield(work)
            except TimeoutError as e:
                self.on_lost("overtime")
                work.cancel()
                await child.end()
                raise _too_slow(job) from e
            except asyncio.CancelledError:
                child.parting = work  # it may be ready in a moment, and then it stays
                raise
            finally:
                if child.parting is None:
                    work.cancel()
            try:
                return _taken(answer, outs, job)
            except (LookupError, TypeError, AssertionError) as e:
                child.is_spoilt = True  # it said what it never says
                raise Lost(-signal.SIGABRT) from e
            finally:
                for out in outs:
                    os.close(out)

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        while True:
            child = await self._idle.get()
            if child is None:
                self._idle.put_nowait(None)  # for those who wait too
                raise Lost(-signal.SIGTERM)
            if child.is_alive:
                break
            self._replace(child)
        try:
            yield child
        finally:
            if child.parting is not None:
                self._do(self._part(child))
            elif not child.is_alive or child.n_jobs >= N_JOBS or child.is_spoilt:
                self._replace(child)
            else:
                self._idle.put_nowait(child)

    async def _part(self, child: Child) -> None:
        """Wait a little for a child whose asker has left; then it is idle, or ended."""
        work, child.parting = child.parting, None
        assert work is not None
        with suppress(TimeoutError, Lost):
            async with asyncio.timeout(GRACE_S):
                _, outs = await work
                for out in outs:
                    os.close(out)
                self._idle.put_nowait(child)
                return
        self._replace(child)

    def _replace(self, child: Child) -> None:
        self._do(self._another(child))

    async def _another(self, child: Child) -> None:
        await child.end()
        self._children.discard(child)
        while self._is_open:
            try:
                await self._start()
                return
            except EngineError as e:
                log.error("%s; it is tried again", e)
                await asyncio.sleep(AGAIN_S)

    async def _start(self) -> None:
        made = asyncio.ensure_future(asyncio.to_thread(Child))
        try:
            child = await asyncio.shield(made)
        except asyncio.CancelledError:
            await (await made).end()
            raise
        self._children.add(child)
        try:
            async with asyncio.timeout(START_S):
                answer, _ = await child.answer()
        except (TimeoutError, Lost) as e:
            self._children.discard(child)
            await child.end()
            raise EngineError(f"a process that decodes recordings could not be started ({e}); see what it wrote") from e
        if answer["unconfined"] and not self._is_warned:
            self._is_warned = True
            log.warning("decoders are not confined: %s", answer["unconfined"])
        self._idle.put_nowait(child)

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _taken(answer: dict[str, Any], outs: list[int], job: Job) -> tuple[list[np.ndarray], bool]:
    """Each channel's sound. Raises what the answer names; LookupError, TypeError, AssertionError if it is none."""
    if "error" in answer:
        raise _failure(answer, job)
    assert len(outs) == len(answer["n"]) > 0 and all(type(n) is int for n in answer["n"])
    return [mapped(out, n) for out, n in zip(outs, answer["n"], strict=True)], bool(answer["are_same"])


def _here(path: Path, job: Job) -> tuple[list[np.ndarray], bool]:
    """The same without a child, where there can be none."""
    try:
        with Recording(os.fspath(path)) as file:
            channels, are_same = sounds(job, file, lambda at_s: None)
            return [np.concatenate(list(pieces)) for pieces in channels], are_same
    except TooLong as e:
        raise _failure({"error": "too_long"}, job) from e


def _keep(file: Any, data: bytes) -> None:
    file.write(data)
    file.flush()


def _too_slow(job: Job) -> RequestError:
    what = f"the recording could not be decoded within {job.limit_s:g} s"
    return RequestError(f"{what}; convert it to wav or flac, or cut it", TOO_SLOW, "file")


def _failure(answer: dict[str, Any], job: Job) -> Exception:
    """What a child's answer means for who asked."""
    message = str(answer.get("message"))
    match answer["error"]:
        case "audio":
            return AudioError(message)
        case "option":
            return OptionError(message)
        case "too_long":
            what = f"the recording is longer than {job.max_s:g} s, which is the most that is heard here"
            return RequestError(f"{what}; cut it into parts", TOO_LONG, "file")
        case "memory":
            what = "the recording takes more memory to decode than it may"
            return RequestError(f"{what}; convert it to wav or flac", TOO_LARGE, "file")
        case "room":
            return RequestError(
                f"there is no room for the sound of this recording ({os.strerror(errno.ENOSPC)})", NO_ROOM
            )
    log.error("a recording could not be decoded, by a fault of ours:\n%s", message)
    return AudioError(UNKNOWN)
