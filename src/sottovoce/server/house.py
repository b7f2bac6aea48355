"""What all requests share: models that are awake, settings, and a recording's way to its transcript. Knows no route."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sottovoce.api import N_AHEAD, Left, Whisper
from sottovoce.config import Config
from sottovoce.errors import BusyError
from sottovoce.flow.parallel import N_IN_FLIGHT
from sottovoce.flow.protocol import Event, Flow, Opened
from sottovoce.request import Request
from sottovoce.server import callers, freshness, names, voices
from sottovoce.server.aims import Aim, flow_of
from sottovoce.server.failures import Kind, RequestError
from sottovoce.server.fetching import fetched
from sottovoce.server.media import Media, Read
from sottovoce.server.results import DAY_S, Results, open_store
from sottovoce.server.tracing import open_traces
from sottovoce.server.turnstile import Turnstile
from sottovoce.server.uploads import Uploads
from sottovoce.server.watching import Phase, Seen, Watch
from sottovoce.serving import Serving
from sottovoce.text.formats import Transcript
from sottovoce.text.replacing import is_expression
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.waking import key_of, open_pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one recording: a model by name, how it is heard, and what for. text: what is to be aligned."""

    model: str
    request: Request
    aim: Aim = Aim.TRANSCRIPT
    text: str = ""


class House:
    """One a process. warm: the served model has decoded the known clip; only then is anybody served."""

    def __init__(self, config: Config, serving: Serving, version: str = "0") -> None:
        self.config, self.serving, self.version = config, serving, version
        self.watch = Watch(open_traces(serving.otlp, version), log_text=serving.log_text)
        self.pool = open_pool(config, self.watch.changed)
        self.watch.census, self.watch.ready = self.pool.census, lambda: self.warm
        self.media = Media(serving)
        self.media.on_lost = self.watch.decoder_restarted
        self.uploads = Uploads()
        self.warm = False
        self.closing = False
        self.since = round(time.time())
        self.fetcher = ThreadPoolExecutor(1, "sottovoce-pull")  # models that are pulled, one after another
        self._served: Whisper | None = None
        self.turnstile = Turnstile(serving.slots, serving.queue, serving.queue_wait_s)
        self.watch.n_waiting = lambda: self.turnstile.n_waiting
        self.results = Results(open_store(serving), serving.cache_days * DAY_S)

    async def open(self) -> None:
        """Load the served model, unless it is to be loaded later, and prove it. Raises ModelError, EngineError."""
        self.watch.open()
        await self.uploads.open()
        await self.media.open()
        self.turnstile.n_slots = self.serving.slots or N_IN_FLIGHT
        if not self.serving.lazy:
            self._served = await asyncio.to_thread(Whisper, config=self.config, pool=self.pool)
            self.turnstile.n_slots = self.serving.slots or self._served.n_together + N_AHEAD
            self.watch.info = self.version, self.config.model, self._served.device, self._served.compute
        else:
            self.watch.info = self.version, self.config.model, "", ""
        self.warm = True

    async def close(self) -> None:
        self.warm, self.closing = False, True
        self.turnstile.close()
        self.fetcher.shutdown(wait=False, cancel_futures=True)
        await self.results.close()
        if self._served is not None:
            self._served.close()
        await self.media.close()
        await self.uploads.close()
        await asyncio.to_thread(self.pool.close)
        await self.watch.close()

    async def whisper(self, model: str) -> Whisper:
        """A model by name, awake; close it when the request ends. Raises RequestError, ModelError, BusyError."""
        named = await self._allowed(model)
        return await asyncio.to_thread(Whisper, config=self.config.with_(model=named), pool=self.pool)

    async def _allowed(self, model: str) -> str:
        """The model that a name means; RequestError (403) if the caller may not use it, by whichever of its names."""
        named = await self.named(model)
        caller = callers.current()
        others = [alias.name for alias in names.aliases(self.config, self.serving) if alias.model == named]
        others += [name for name in caller.key.models if names.same(name, named)]
        caller.check_model(model or named, named, *others)
        return named

    async def load(self, model: str) -> None:
        """Have a model awake; the served one stays so. Raises as `whisper`."""
        whisper = await self.whisper(model)
        if self._served is None and whisper.name == self.config.model:
            self._served = whisper
        else:
            whisper.close()

    def holds(self, model: str) -> bool:
        """Is this the served model, which is held as long as it may be?"""
        return self._served is not None and model == self.config.model

    async def unload(self, model: str) -> bool:
        """Put a model to sleep that nobody uses. Returns whether it was awake. Raises RequestError (423), (404)."""
        named = await self.named(model)
        held = self._served if named == self.config.model else None
        if held is not None:
            self._served = None
            held.close()
        try:
            return await asyncio.to_thread(self.pool.unload, key_of(self.config.with_(model=named)))
        except BusyError as e:
            if held is not None:
                await self.load(named)
            raise RequestError(f"model: {e}", names.IN_USE, "model") from e

    async def named(self, model: str) -> str:
        """The model that a name means, as it is loaded. Raises RequestError (404)."""
        return await asyncio.to_thread(names.resolved, model, self.config, self.serving)

    async def tokenizer(self, model: str) -> Tokenizer:
        """The vocabulary of a model, which is loaded if it sleeps. Raises as `whisper`."""
        whisper = await self.whisper(model)
        try:
            return whisper.tokenizer()
        finally:
            whisper.close()

    async def samples(self, path: Path, request: Request) -> np.ndarray:
        """(N,) float32 samples of a file, as far as the request needs them; not of its channels, each by itself.

        Raises AudioError, OptionError, EngineError, RequestError.
        """
        sound = (await self.media.read(path, replace(request, channels=False))).sound
        assert isinstance(sound, np.ndarray)
        return sound

    def fetched(self, url: str) -> AbstractAsyncContextManager[Path]:
        """The file that a URL names, while the context lasts. Raises RequestError if it may not be, or cannot."""
        return fetched(url, self.serving, self.uploads)

    async def run(self, asked: Asked, path: Path) -> AsyncGenerator[Event | Transcript, None]:
        """What becomes known of a recording, its transcript last: the one way that every route takes.

        What is known already is told at once; who asks for what is being decoded hears it too. When the last of them
        closes it, its windows are withdrawn. Raises AudioError, OptionError, ModelError, EngineError, RequestError.
        """
        config = self.config.with_(model=await self._allowed(asked.model))
        self._check(asked.request)
        with self.watch.recording() as seen:
            seen.named(config.model)
            decode = partial(self._decoded, asked, seen)
            remembered = asked.aim is Aim.TRANSCRIPT
            known = self.results.run(path, config, asked.request, decode) if remembered else decode(path)
            async with aclosing(known) as run:
                async for event in run:
                    if origin := freshness.current().origin:
                        seen.found(origin)
                    seen.saw(event)
                    yield event

    def _check(self, request: Request) -> None:
        """Regular expressions may run for ever, and hold all others up: strangers are not given them."""
        if not (self.serving.is_public or self.serving.has_keys):
            return
        if any(is_expression(sought) for sought, _ in request.options.replacements):
            what = "a regular expression was given, plain words were expected: expressions are for a server of your own"
            raise RequestError(f"replacements: {what}", Kind(400), "replacements")

    async def _decoded(self, asked: Asked, seen: Seen, path: Path) -> AsyncGenerator[Event | Transcript, None]:
        """What becomes known of a recording as it is decoded. Closing it withdraws its windows."""
        caller = callers.current()
        async with AsyncExitStack() as stack:
            with seen.phase(Phase.QUEUE):
                await stack.enter_async_context(self.turnstile.admitted(caller.place))
            asked = replace(asked, request=await voices.decoded(asked.request, self.samples))
            with seen.phase(Phase.LOAD):
                whisper = await self.whisper(asked.model)
            stack.callback(whisper.close)
            with seen.phase(Phase.READ):
                read = await self.media.read(path, asked.request)
            stack.enter_context(caller.charged(read.duration_s))
            yield Opened(read.duration_s)
            with seen.phase(Phase.TRANSCRIBE):
                flow = await self._opened(whisper, read, asked)
                async with aclosing(whisper.aevents(flow, seen.asked)) as run:
                    async for event in run:
                        yield event

    async def _opened(self, whisper: Whisper, read: Read, asked: Asked) -> Flow:
        """As flow_of, off the event loop; it stops (telling speakers apart takes long) when it is cancelled."""
        left = Left()
        try:
            return await asyncio.to_thread(flow_of, whisper, read.sound, read.request, asked.aim, asked.text, left)
        except asyncio.CancelledError:
            left.is_true = True
            raise

    async def transcript(self, asked: Asked, path: Path) -> Transcript:
        """The transcript at the end of `run`."""
        async with aclosing(self.run(asked, path)) as run:
            async for event in run:
                if isinstance(event, Transcript):
                    return event
        raise AssertionError("a flow ends with its transcript")
