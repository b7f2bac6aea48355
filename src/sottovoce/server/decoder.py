"""A program that decodes recordings for a server: an open file comes in, open files with sound go out.

`media.py` starts it. It may crash, hang or be killed by what it reads; nobody else suffers. Both talk over one socket,
in lines of JSON, and hand each other open files beside them:

    in     a Job                                     with the recording
    out    {"at_s": 10.0}                            it gets on
           {"n": [48000], "are_same": false}         with a file for each channel: float32, 16 kHz
           {"error": "audio", "message": "..."}      nothing comes of it
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import resource
import signal
import socket
import sys
import tempfile
import traceback
import wave
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from io import BytesIO
from typing import Any, BinaryIO, cast

# PyAV opens these late, for recordings with pictures or subtitles; a confined program opens nothing any more
import av.error
import av.sidedata.encparams
import av.sidedata.motionvectors
import av.sidedata.sidedata
import av.subtitles.codeccontext
import av.subtitles.stream
import av.subtitles.subtitle
import av.video.codeccontext
import av.video.frame
import av.video.reformatter
import av.video.stream
import numpy as np

from sottovoce.audio.source import why
from sottovoce.errors import AudioError, OptionError
from sottovoce.server.confinement import confine
from sottovoce.server.decoding import MOST_CHANNELS, NAME, Job, OnPosition, Recording, TooLong, sounds
from sottovoce.types import SAMPLE_RATE, Clean

ROOM_BYTES = 768 << 20  # of addresses, beyond what the program itself takes: codecs, their tables, a window of sound
N_FILES = 64  # open at once
LINE_BYTES = 1 << 16
LATE_S = 5  # after its time is over, a child that nobody waits for any more ends by itself
WRITE_BYTES = 1 << 18


def main() -> None:
    """Answer jobs from the socket whose number is the argument, one at a time, until its other end is closed."""
    logging.disable(logging.WARNING)  # what is broken in recordings is nothing to write into a server's log
    line = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (N_FILES, N_FILES))
    clip = (files("sottovoce.audio") / "assets" / "known.ogg").read_bytes()
    _prove(clip)
    own_bytes = _addresses_bytes()
    unconfined = confine()
    _prove(clip)
    _tell(line, {"ready": True, "unconfined": unconfined})
    while True:
        data, handles, _, _ = socket.recv_fds(line, LINE_BYTES, 1)
        if not data:
            return
        job = Job.of(data)
        _limit(job, own_bytes)
        with Recording(handles[0]) as file:
            answer, outs = _answer(job, cast(BinaryIO, file), lambda at_s: _tell(line, {"at_s": at_s}))
        _tell(line, answer, outs)
        signal.alarm(0)
        for out in outs:
            os.close(out)


def _prove(clip: bytes) -> None:
    """Decode the clip in every way there is: modules that are opened at their first use are open then."""
    cleaned = Job(3600, 60, clean=tuple(Clean))
    for job, recording in ((Job(3600, 60), clip), (cleaned, clip), (replace(cleaned, apart=True), _stereo())):
        for pieces in sounds(job, BytesIO(recording), lambda at_s: None)[0]:
            out = _room()
            assert _write(out, pieces)
            os.close(out)


def _stereo() -> bytes:
    """A second of two channels, one of which repeats the other quietly."""
    file = BytesIO()
    sound = np.random.default_rng(0).normal(0, 3000, SAMPLE_RATE)
    with wave.open(file, "wb") as out:
        out.setparams((2, 2, SAMPLE_RATE, 0, "NONE", ""))
        out.writeframes(np.stack([sound, sound / 10], 1).astype("<i2").tobytes())
    return file.getvalue()


def _tell(line: socket.socket, answer: dict[str, Any], outs: Iterable[int] = ()) -> None:
    socket.send_fds(line, [json.dumps(answer).encode() + b"\n"], list(outs))


def _limit(job: Job, own_bytes: int) -> None:
    """Time, by the clock and by the processor, addresses, and the size of what is written: the system ends the rest."""
    sound_bytes = math.ceil((job.max_s + 1) * SAMPLE_RATE) * 4
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = math.ceil(used.ru_utime + used.ru_stime + job.limit_s) + 1
    copies = 3 * MOST_CHANNELS if job.apart else 4 if job.clean else 0  # as integers, as floats, and cleaned
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, own_bytes + ROOM_BYTES + copies * sound_bytes if own_bytes else resource.RLIM_INFINITY),
        (resource.RLIMIT_FSIZE, sound_bytes),
    ):
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    signal.alarm(math.ceil(job.limit_s) + LATE_S)


def _addresses_bytes() -> int:
    """How many bytes of addresses this program takes; 0 if the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _answer(job: Job, file: BinaryIO, on_position: OnPosition) -> tuple[dict[str, Any], list[int]]:
    """What is told of a recording, and the files that go with it. Whatever happens, something is told."""
    outs: list[int] = []
    try:
        channels, are_same = sounds(job, file, on_position)
        sizes = []
        for pieces in channels:
            outs.append(_room())
            sizes.append(_write(outs[-1], pieces))
        if not sizes[0]:
            raise AudioError(f"{NAME!r}: no sound was found (0 samples), a recording was expected; check the file")
        return {"n": sizes, "are_same": are_same}, outs
    except BaseException as e:  # told, and the program goes on: the next recording is another one
        for out in outs:
            os.close(out)
        return _failure(e), []


def _failure(e: BaseException) -> dict[str, Any]:
    if isinstance(e, TooLong):
        return {"error": "too_long", "message": ""}
    if isinstance(e, AudioError | OptionError):
        message = str(e).replace(repr(NAME), "the recording")
        return {"error": "option" if isinstance(e, OptionError) else "audio", "message": message}
    if isinstance(e, MemoryError):
        return {"error": "memory", "message": ""}
    if isinstance(e, av.error.FFmpegError):
        what = f"the recording could not be decoded ({why(e)}); convert it to wav or flac"
        return {"error": "audio", "message": what}
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return {"error": "room", "message": ""}
    return {"error": "bug", "message": "".join(traceback.format_exception(e))[-LINE_BYTES // 4 :]}


def _room() -> int:
    """A file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sound", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(out: int, pieces: Iterable[np.ndarray]) -> int:
    """How many samples there were."""
    n = 0
    with open(out, "wb", buffering=WRITE_BYTES, closefd=False) as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, np.float32).data.cast("B"))
            n += piece.size
    return n


if __name__ == "__main__":
    with suppress(BrokenPipeError, ConnectionResetError):  # the server has gone
        main()
