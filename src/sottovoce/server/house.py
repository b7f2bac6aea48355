"""What all requests share: models that are awake, settings, and a recording's way to its transcript. Knows no route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.config import Config
from sottovoce.flow.protocol import Event
from sottovoce.request import Request
from sottovoce.server.tracing import open_traces
from sottovoce.server.watching import Phase, Seen, Watch
from sottovoce.serving import Serving
from sottovoce.text.formats import Transcript
from sottovoce.waking import open_pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one recording: a model by name, and how it is transcribed."""

    model: str
    request: Request


class House:
    """One a process. warm: the served model has decoded the known clip; only then is anybody served."""

    def __init__(self, config: Config, serving: Serving, version: str = "0") -> None:
        self.config, self.serving, self.version = config, serving, version
        self.watch = Watch(open_traces(serving.otlp, version), log_text=serving.log_text)
        self.pool = open_pool(config, self.watch.changed)
        self.watch.census, self.watch.ready = self.pool.census, lambda: self.warm
        self.warm = False
        self._served: Whisper | None = None

    async def open(self) -> None:
        """Load the served model, and prove it. Raises ModelError, EngineError."""
        self.watch.open()
        self._served = await asyncio.to_thread(Whisper, config=self.config, pool=self.pool)
        self.watch.info = self.version, self.config.model, self._served.device, self._served.compute
        self.warm = True

    async def close(self) -> None:
        self.warm = False
        if self._served is not None:
            self._served.close()
        await asyncio.to_thread(self.pool.close)
        await self.watch.close()

    async def whisper(self, model: str) -> Whisper:
        """A model by name, awake; close it when the request ends. Raises ModelError, BusyError."""
        named = self.serving.model_of(model, self.config.model)
        return await asyncio.to_thread(Whisper, config=self.config.with_(model=named), pool=self.pool)

    async def samples(self, path: Path, request: Request) -> np.ndarray:
        """(N,) float32 samples of a file, as far as the request needs them. Raises AudioError."""
        return await asyncio.to_thread(decode.load, path, stream=request.stream, end_s=request.end_s)

    async def run(self, asked: Asked, path: Path) -> AsyncGenerator[Event | Transcript, None]:
        """What becomes known of a recording, its transcript last: the one way that every route takes.

        Closing it withdraws its windows. Raises AudioError, OptionError, ModelError, EngineError, RequestError.
        """
        with self.watch.recording() as seen:
            async with aclosing(self._run(asked, path, seen)) as run:
                async for event in run:
                    seen.saw(event)
                    yield event

    async def _run(self, asked: Asked, path: Path, seen: Seen) -> AsyncGenerator[Event | Transcript, None]:
        with seen.phase(Phase.LOAD):
            whisper = await self.whisper(asked.model)
        seen.named(whisper.name)
        try:
            with seen.phase(Phase.READ):
                samples = await self.samples(path, asked.request)
            with seen.phase(Phase.TRANSCRIBE):
                _, flow = await asyncio.to_thread(whisper.opened, samples, asked.request)
                async with aclosing(whisper.aevents(flow, seen.asked)) as run:
                    async for event in run:
                        yield event
        finally:
            whisper.close()

    async def transcript(self, asked: Asked, path: Path) -> Transcript:
        """The transcript at the end of `run`."""
        async with aclosing(self.run(asked, path)) as run:
            async for event in run:
                if isinstance(event, Transcript):
                    return event
        raise AssertionError("a flow ends with its transcript")
