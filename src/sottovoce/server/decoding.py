"""What is decoded of one recording, within limits: a job as plain values, an open file -> pieces of sound.

Knows no path, no process, no server: it runs in a child (`decoder.py`), where codecs may crash as they like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from io import FileIO
from typing import Any, BinaryIO

import numpy as np

from sottovoce.audio import apart, cleanup, decode
from sottovoce.types import SAMPLE_RATE, Clean

NAME = "upload"  # what a recording is called inside; nobody is told where it lies
MOST_CHANNELS = 8  # that are heard each by itself

OnPosition = Callable[[float], None]  # seconds of sound


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted of one recording. max_s: of sound; limit_s: of time. apart: every channel by itself."""

    max_s: float
    limit_s: float
    stream: int = 0
    channel: int | None = None
    end_s: float | None = None
    clean: tuple[str, ...] = ()
    apart: bool = False

    def line(self) -> bytes:
        """The job as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Job:
        given = json.loads(line)
        return cls(**{**given, "clean": tuple(given["clean"])})


class TooLong(Exception):
    """The recording is longer than one may be."""


class Recording(FileIO):
    """An open file that has a name for messages, and no path."""

    def __init__(self, file: int | str) -> None:
        super().__init__(file, "rb")
        self.name = NAME


def sounds(job: Job, file: BinaryIO, on_position: OnPosition) -> tuple[list[Iterator[np.ndarray]], bool]:
    """The channels that are asked for, each in pieces as they are decoded; and whether all hold the same sound.

    on_position: is told where decoding is, about every 10 s of sound.
    Raises AudioError, OptionError, TooLong; so does reading the pieces.
    """
    end_s = job.max_s + 1 if job.end_s is None else min(job.end_s, job.max_s + 1)

    def on_progress(at_s: float, all_s: float | None) -> None:
        on_position(at_s)

    are_same = False
    if not job.apart and not job.clean:
        blocks = decode.blocks(file, stream=job.stream, channel=job.channel, end_s=end_s)
        return [_within(blocks, job, on_position)], are_same
    if job.apart:
        found = apart.load(file, stream=job.stream, end_s=end_s, on_progress=on_progress, n_most=MOST_CHANNELS)
        whole, are_same = found.sounds, found.are_same
    else:
        where: dict[str, Any] = {"stream": job.stream, "channel": job.channel}
        whole = (decode.load(file, **where, end_s=end_s, on_progress=on_progress),)
    steps = [Clean(step) for step in job.clean]
    return [_within(cleanup.pieces(sound, steps), job, on_position) for sound in whole], are_same


def _within(pieces: Iterator[np.ndarray], job: Job, on_position: OnPosition) -> Iterator[np.ndarray]:
    n = told = 0
    for piece in pieces:
        n += piece.size
        if n > job.max_s * SAMPLE_RATE:
            raise TooLong
        yield piece
        if n - told >= decode.PROGRESS_S * SAMPLE_RATE:
            told = n
            on_position(n / SAMPLE_RATE)
