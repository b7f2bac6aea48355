"""Transcripts that are known already, or are becoming known: nobody waits for what was decoded before.

A transcript depends on nothing but its recording, the model, the options and our code: sampling too is drawn from the
seed of a request, so that the same request has the same answer, and may be remembered, at every temperature.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sottovoce.config import Config
from sottovoce.engine.device import choose
from sottovoce.errors import ConfigError
from sottovoce.flow.protocol import Heard, Known, Opened
from sottovoce.model import hub, store
from sottovoce.request import Request
from sottovoce.server import freshness
from sottovoce.server.failures import RequestError
from sottovoce.server.freshness import Freshness, Origin
from sottovoce.server.sealed import Key, digest, of_code
from sottovoce.server.sharing import Decode, Run, Said
from sottovoce.server.stores import Disk, Memory, Nothing, Patient, Store
from sottovoce.serving import MB, Serving
from sottovoce.text.formats import Transcript

log = logging.getLogger(__name__)

DAY_S = 86_400.0
PAUSE_S = 2.0  # until a Redis that did not answer is asked again
CLOSE_S = 5.0  # for results that are being written when the service ends


class Results:
    """All of a process. n_by_origin: how many requests were answered from where."""

    def __init__(self, kept: Store, most_s: float, clock: Any = time.time) -> None:
        self.n_by_origin = dict.fromkeys(Origin, 0)
        self._store, self._most_s, self._clock = kept, most_s, clock
        self._keeps = not isinstance(kept, Nothing)
        self._runs: dict[str, Run] = {}  # that others may join, by the name of their result
        self._all: set[Run] = set()
        self._ending: BaseException | None = None
        self._code: str | None = None
        self._computes: dict[tuple[str, str], str] = {}

    async def run(self, path: Path, config: Config, request: Request, decode: Decode) -> AsyncGenerator[Said, None]:
        """What is known of a recording, or what becomes known as `decode` decodes it; its transcript last.

        config: of the model that is to be asked. decode: is given the path at which the recording stays readable.
        """
        fresh = freshness.current()
        key = await asyncio.to_thread(self._key, path, config, request)
        n_said = 0
        while True:
            run, origin = await self._found(key, fresh)
            if run is None:
                run, origin = self._begun(key, fresh, path, decode)
            fresh.origin = origin
            self.n_by_origin[origin] += 1
            if isinstance(run, Transcript):
                for said in _told_again(run):
                    yield said
                return
            try:
                async with aclosing(run.follow()) as follow:
                    async for said in follow:
                        n_said += 1
                        yield said
                return
            except Exception as e:
                was_another_s = isinstance(e, RequestError) or run.first_left
                if origin is not Origin.SHARED or n_said or not was_another_s or run.error is self._ending:
                    raise
                log.debug("who asked first was refused or has left; the next one asks for himself")

    def end(self, error: BaseException) -> None:
        """End all that is being decoded with an error, which those who wait are told."""
        self._ending = error
        for run in [*self._all]:
            run.fail(error)

    @property
    def n_running(self) -> int:
        return len(self._all)

    async def close(self) -> None:
        """Wait until what is known is kept, but not for long."""
        if tasks := [run.task for run in self._all]:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        await self._store.close()

    async def _found(self, key: Key | None, fresh: Freshness) -> tuple[Run | Transcript | None, Origin]:
        """What there is already: the transcript, or a run that is on its way to it."""
        if key is None or not fresh.reads:
            return None, Origin.MISS
        if (run := self._runs.get(key.name)) is None:
            if (known := await self._known(key)) is not None:
                return known, Origin.HIT
            run = self._runs.get(key.name)  # which came while the store was asked
        if run is None or not run.is_open:
            return None, Origin.MISS
        return run, Origin.HIT if run.ended else Origin.SHARED

    def _begun(self, key: Key | None, fresh: Freshness, path: Path, decode: Decode) -> tuple[Run, Origin]:
        """A run of one's own. NOTE: nothing is awaited from the look into _runs to the entry there."""

        async def keep(transcript: Transcript) -> None:
            assert key is not None
            sealed = await asyncio.to_thread(key.seal, transcript, self._clock())
            await self._store.put(key.name, sealed)

        run = Run(path, decode, keep if key is not None and fresh.keeps and self._keeps else None)
        joinable = key is not None and fresh.reads
        if key is not None and joinable:
            self._runs[key.name] = run
        self._all.add(run)

        def over(_: asyncio.Task[None]) -> None:
            self._all.discard(run)
            if key is not None and self._runs.get(key.name) is run:
                del self._runs[key.name]

        run.task.add_done_callback(over)
        return run, Origin.MISS if joinable else Origin.BYPASS

    async def _known(self, key: Key) -> Transcript | None:
        sealed = await self._store.get(key.name)
        if sealed is None:
            return None
        try:
            transcript, made_s = await asyncio.to_thread(key.open, sealed)
        except ValueError as e:
            log.warning("a remembered result cannot be used and is thrown away: %s", e)
            await self._store.drop(key.name)
            return None
        if not 0 <= self._clock() - made_s <= self._most_s:
            await self._store.drop(key.name)
            return None
        return transcript

    def _key(self, path: Path, config: Config, request: Request) -> Key | None:
        """None where the request has no name that lasts."""
        if self._code is None:
            self._code = of_code()
        computes = config.device, config.compute
        if computes not in self._computes:
            try:
                choice = choose(*computes)
                self._computes[computes] = f"{choice.device.partition(':')[0]} {choice.compute}"
            except ConfigError:  # which the one who decodes says better
                return None
        told = replace(request, options=replace(request.options, strategy=request.options.chosen_strategy))
        try:
            return Key.of(digest(path), self._code, _identity(config), self._computes[computes], config.kv, told)
        except TypeError as e:
            log.debug("the result will not be remembered: %s", e)
            return None


def _identity(config: Config) -> str:
    """A model's very weights, as far as this disk knows them; else its name."""
    card = hub.find(config.model)
    name = card.name if card else config.model
    if manifest := store.read(store.home(name, config)):
        return " ".join(sorted(held.sha256 for held in manifest.files))
    path = Path(config.model)
    if card is None and path.exists():
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return " ".join(f"{file.resolve()}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
    return f"{name}@{config.revision}"


def _told_again(transcript: Transcript) -> list[Said]:
    """What a run would have said."""
    t = transcript
    heard = Heard(t.language, t.language_probability, t.language_probs)
    return [Opened(t.duration), heard, Known(t.segments, t.duration), t]


def open_store(serving: Serving) -> Store:
    """The store that a URL names. Raises ConfigError."""
    url, n_bytes, most_s = serving.cache, round(serving.cache_mb * MB), serving.cache_days * DAY_S
    scheme, _, rest = url.partition(":")
    if scheme == "none":
        return Nothing()
    if scheme == "memory":
        return Memory(n_bytes)
    if scheme == "disk":
        folder = Path(rest).expanduser() if rest else store.cache_home() / "sottovoce" / "results"
        return Patient(Disk(folder, n_bytes, most_s), f"the folder of results, {folder},")
    try:
        from sottovoce.server.redis_store import Redis

        return Patient(
            Redis(url, n_bytes, most_s), f"the results in Redis ({rest.rpartition('@')[2].strip('/')})", PAUSE_S
        )
    except ImportError as e:
        raise ConfigError(f"cache: {scheme}: needs the package redis; pip install 'sottovoce[server]'") from e
    except ValueError as e:
        raise ConfigError(f"cache: {url!r} was given, an address of Redis was expected ({e})") from e
