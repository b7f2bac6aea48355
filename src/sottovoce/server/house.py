"""What all requests share: models that are awake, settings, and a recording's way to its transcript. Knows no route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sottovoce.api import N_AHEAD, Whisper
from sottovoce.audio import decode
from sottovoce.config import Config
from sottovoce.flow.protocol import Event
from sottovoce.request import Request
from sottovoce.server import callers
from sottovoce.server.turnstile import Turnstile
from sottovoce.serving import Serving
from sottovoce.text.formats import Transcript
from sottovoce.types import SAMPLE_RATE
from sottovoce.waking import open_pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one recording: a model by name, and how it is transcribed."""

    model: str
    request: Request


class House:
    """One a process. warm: the served model has decoded the known clip; only then is anybody served."""

    def __init__(self, config: Config, serving: Serving) -> None:
        self.config, self.serving = config, serving
        self.pool = open_pool(config)
        self.warm = False
        self._served: Whisper | None = None
        self.turnstile = Turnstile(serving.slots, serving.queue, serving.queue_wait_s)

    async def open(self) -> None:
        """Load the served model, and prove it. Raises ModelError, EngineError."""
        self._served = await asyncio.to_thread(Whisper, config=self.config, pool=self.pool)
        self.turnstile.n_slots = self.serving.slots or self._served.n_together + N_AHEAD
        self.warm = True

    async def close(self) -> None:
        self.warm = False
        self.turnstile.close()
        if self._served is not None:
            self._served.close()
        await asyncio.to_thread(self.pool.close)

    async def whisper(self, model: str) -> Whisper:
        """A model by name, awake; close it when the request ends. Raises ModelError, BusyError."""
        named = self.serving.model_of(model, self.config.model)
        return await asyncio.to_thread(Whisper, config=self.config.with_(model=named), pool=self.pool)

    @asynccontextmanager
    async def admitted(self, model: str) -> AsyncIterator[Whisper]:
        """A model by name, for one recording, when it is the caller's turn. Charge him for what he lets it hear.

        Raises ModelError, EngineError, RequestError.
        """
        caller = callers.current()
        caller.check_model(model, self.serving.model_of(model, self.config.model))
        async with self.turnstile.admitted(caller.place):
            whisper = await self.whisper(model)
            try:
                yield whisper
            finally:
                whisper.close()

    async def samples(self, path: Path, request: Request) -> np.ndarray:
        """(N,) float32 samples of a file, as far as the request needs them. Raises AudioError."""
        return await asyncio.to_thread(decode.load, path, stream=request.stream, end_s=request.end_s)

    async def run(self, asked: Asked, path: Path) -> AsyncGenerator[Event | Transcript, None]:
        """What becomes known of a recording, its transcript last: the one way that every route takes.

        Closing it withdraws its windows. Raises AudioError, OptionError, ModelError, EngineError, RequestError.
        """
        async with self.admitted(asked.model) as whisper:
            samples = await self.samples(path, asked.request)
            with callers.current().charged(len(samples) / SAMPLE_RATE):
                _, flow = await asyncio.to_thread(whisper.opened, samples, asked.request)
                async with aclosing(whisper.aevents(flow)) as run:
                    async for event in run:
                        yield event

    async def transcript(self, asked: Asked, path: Path) -> Transcript:
        """The transcript at the end of `run`."""
        async with aclosing(self.run(asked, path)) as run:
            async for event in run:
                if isinstance(event, Transcript):
                    return event
        raise AssertionError("a flow ends with its transcript")
