"""Recordings of known speakers that came inside a request -> samples. They are read as any upload is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sottovoce.errors import AudioError
from sottovoce.request import Request

MOST_S = 30.0  # of a voice that are listened to; ten are enough


async def decoded(request: Request, samples: Callable[[Path, Request], Awaitable[np.ndarray]]) -> Request:
    """The request with samples in place of bytes. samples: reads a file. Raises AudioError, with the speaker's name."""
    known = request.options.known_speakers
    if not any(isinstance(sound, bytes) for _, sound in known):
        return request
    found = []
    with tempfile.TemporaryDirectory(prefix="sottovoce-") as folder:
        for i, (name, sound) in enumerate(known):
            path = Path(folder) / str(i)
            await asyncio.to_thread(path.write_bytes, sound)
            try:
                found.append((name, await samples(path, Request(end_s=MOST_S))))
            except AudioError as e:
                what = "some seconds of a voice were expected; give another recording"
                raise AudioError(
                    f"known_speaker_references[{i}]: the recording of {name} cannot be read; {what}"
                ) from e
    return replace(request, options=replace(request.options, known_speakers=tuple(found)))
