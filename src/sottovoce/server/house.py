"""What all requests share: models that are awake, settings, and how a recording becomes a transcript. Knows no route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.config import Config
from sottovoce.flow.protocol import Event
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.serving import Serving
from sottovoce.text.formats import Transcript
from sottovoce.waking import open_pool

log = logging.getLogger(__name__)


class House:
    """One a process. warm: the served model has decoded the known clip; only then is anybody served."""

    def __init__(self, config: Config, serving: Serving) -> None:
        self.config, self.serving = config, serving
        self.pool = open_pool(config)
        self.warm = False
        self._served: Whisper | None = None

    async def open(self) -> None:
        """Load the served model, and prove it. Raises ModelError, EngineError."""
        self._served = await asyncio.to_thread(Whisper, config=self.config, pool=self.pool)
        self.warm = True

    async def close(self) -> None:
        self.warm = False
        if self._served is not None:
            self._served.close()
        await asyncio.to_thread(self.pool.close)

    async def whisper(self, model: str) -> Whisper:
        """A model by name, awake; close it when the request ends. Raises ModelError, BusyError."""
        named = self.serving.model_of(model, self.config.model)
        return await asyncio.to_thread(Whisper, config=self.config.with_(model=named), pool=self.pool)

    async def samples(self, path: Path, request: Request) -> np.ndarray:
        """(N,) float32 samples of a file, as far as the request needs them. Raises AudioError."""
        return await asyncio.to_thread(decode.load, path, stream=request.stream, end_s=request.end_s)

    async def events(
        self, whisper: Whisper, samples: np.ndarray, options: Options
    ) -> AsyncGenerator[Event | Transcript, None]:
        """What becomes known of a recording, its transcript last. Closing it withdraws its windows."""
        run = whisper.aevents(whisper.flow(samples, options))
        try:
            async for event in run:
                yield event
        finally:
            await run.aclose()
