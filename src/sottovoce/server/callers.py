"""Who asks, and what he has used: requests a minute, seconds of sound a day, recordings at once. Knows no route.

requests     a bucket of as many as a minute allows; it fills evenly, and each request takes one out
sound        counted by day (UTC); charged when a recording's length is known, given back if the engine fails
at once      from the request's head to the end of its answer
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sottovoce.errors import ConfigError, EngineError
from sottovoce.server.failures import Kind, RequestError
from sottovoce.server.keys import FROM_SETTING, Key, KeyFile, digest, found
from sottovoce.server.spent import Spent

log = logging.getLogger(__name__)

UNKNOWN = Kind(401, code="invalid_api_key")
FORBIDDEN = Kind(403, code="permission_denied")
MINUTE_S = 60.0
KEEP_S = 10.0  # of what was used, a server that is killed forgets no more
NO_HASH = "0" * 64  # of whoever has no key: no key has it


def now_utc() -> datetime:
    return datetime.now(UTC)


class Caller:
    """Somebody who asks, for as long as the process lives. place: where he queues; equal for all of his requests."""

    def __init__(
        self,
        key: Key,
        place: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self.key, self.place = key, place or key.name
        self._clock, self._now = clock, now
        self._n_left = float(key.requests_per_minute)
        self._filled_s = clock()
        self._day = now().date()
        self._used_s = 0.0
        self.n_asking = 0

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def used_s(self) -> float:
        """Seconds of sound of today."""
        today = self._now().date()
        if today != self._day:
            self._day, self._used_s = today, 0.0
        return self._used_s

    def goes_on_from(self, used_s: float) -> None:
        """He has used these already, before a restart."""
        self._used_s = used_s

    # --- the request ------------------------------------------------------------------------------------------------

    @contextmanager
    def asking(self, counts: bool) -> Iterator[None]:
        """One request from its head to the end of its answer. counts: against the requests of the minute.

        Raises RequestError if he has asked too often, or too much at once.
        """
        most = self.key.concurrency
        if most and self.n_asking >= most:
            kind = Kind(429, "rate_limit_error", "concurrency_exceeded", retry_after_s=1)
            raise RequestError(
                f"{self.name} has {self.n_asking} requests in work, at most {most} are allowed; wait for one to end",
                kind,
            )
        if counts:
            self._take()
        self.n_asking += 1
        try:
            yield
        finally:
            self.n_asking -= 1

    def _take(self) -> None:
        most = self.key.requests_per_minute
        if not most:
            return
        self._fill()
        if self._n_left < 1:
            wait_s = (1 - self._n_left) * MINUTE_S / most
            kind = Kind(429, "rate_limit_error", "rate_limit_exceeded", math.ceil(wait_s))
            message = (
                f"rate limit of {self.name}: at most {most} requests a minute are allowed; ask again in {wait_s:.1f} s"
            )
            raise RequestError(message, kind, headers={"retry-after-ms": str(math.ceil(wait_s * 1000)), **self.headers})
        self._n_left -= 1

    def _fill(self) -> None:
        most, now_s = self.key.requests_per_minute, self._clock()
        self._n_left = min(most, self._n_left + (now_s - self._filled_s) * most / MINUTE_S)
        self._filled_s = now_s

    @property
    def headers(self) -> dict[str, str]:
        """What an answer tells of his limits, as OpenAI's do."""
        told = {}
        if most := self.key.requests_per_minute:
            self._fill()
            told["x-ratelimit-limit-requests"] = str(most)
            told["x-ratelimit-remaining-requests"] = str(int(self._n_left))
            told["x-ratelimit-reset-requests"] = span((most - self._n_left) * MINUTE_S / most)
        if budget_s := self.key.audio_s_per_day:
            told["x-ratelimit-limit-audio-seconds"] = f"{budget_s:g}"
            told["x-ratelimit-remaining-audio-seconds"] = f"{max(0.0, budget_s - self.used_s):.1f}"
            told["x-ratelimit-reset-audio-seconds"] = span(self._to_midnight_s())
        return told

    # --- the recording ----------------------------------------------------------------------------------------------

    def check_model(self, *names: str) -> None:
        """Raise RequestError if he may not use a model of these names."""
        if not self.key.may_use(names):
            allowed = ", ".join(self.key.models)
            raise RequestError(f"model: {self.name} may not use {names[0]}; allowed are {allowed}", FORBIDDEN, "model")

    @contextmanager
    def charged(self, duration_s: float) -> Iterator[None]:
        """A recording's seconds are of today's; not if the engine fails. Raises RequestError if too few are left."""
        budget_s = self.key.audio_s_per_day
        left_s = budget_s - self.used_s
        if budget_s and duration_s > left_s:
            wait_s = self._to_midnight_s()
            # OpenAI's clients would ask twice again, which helps nobody before midnight
            headers = {"x-should-retry": "false", **self.headers}
            raise RequestError(
                f"quota of {self.name}: the recording has {duration_s:.1f} s, and {max(0.0, left_s):.1f} s are left of "
                f"{budget_s:g} s a day; they are renewed at midnight UTC, in {span(wait_s)}",
                Kind(429, "insufficient_quota", "insufficient_quota", math.ceil(wait_s)),
                headers=headers,
            )
        self._used_s += duration_s
        try:
            yield
        except EngineError:
            self._used_s = max(0.0, self._used_s - duration_s)  # more was given back than the new day has
            raise

    def _to_midnight_s(self) -> float:
        now = self._now()
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        return (midnight - now).total_seconds()


def span(s: float) -> str:
    """Seconds as OpenAI's headers tell them: 250ms, 1.5s, 6m0s, 2h3m4s."""
    if s < 1:
        return f"{math.ceil(s * 1000)}ms"
    if s < 60:
        return f"{math.ceil(s * 10) / 10:g}s"
    whole = math.ceil(s)
    hours, minutes, seconds = whole // 3600, whole % 3600 // 60, whole % 60
    return (f"{hours}h" if hours else "") + f"{minutes}m{seconds}s"


def stranger(address: str, admin: bool) -> Caller:
    """Whoever has no key, where none is needed. He queues by his address, so that one of many takes nobody's turn."""
    return Caller(Key("anonymous", NO_HASH, admin=admin), f"address {address}")


NOBODY = stranger("", admin=True)
_current: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def current() -> Caller:
    """Who asks, of the request that is being answered."""
    return _current.get()


@contextmanager
def asks(caller: Caller) -> Iterator[None]:
    """Within, `current` is this caller."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)


# --- all of them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """What is read of a file: its stamp before it was read, and the keys."""

    stamp: tuple[int, ...] | None
    keys: tuple[Key, ...]


class Callers:
    """Those who have keys, from a file that may change, and from a setting. needed: nobody is let in without."""

    def __init__(
        self,
        file: KeyFile | None,
        api_key: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        """Raises ConfigError for a file that is not there, or is not understood."""
        self._file, self._clock, self._now = file, clock, now
        self._fixed = (Key(FROM_SETTING, digest(api_key), admin=True),) if api_key else ()
        self._known = _read(file)
        self._callers: dict[str, Caller] = {}
        self._reading = asyncio.Lock()
        self.needed = file is not None or bool(api_key)
        self._spent = Spent(file.path.with_name(file.path.name + ".used")) if file else None
        self._begun = now().date()
        self._before = self._spent.read(self._begun) if self._spent else {}

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Within, what is used of a day's sound is written down every KEEP_S, and at the end."""
        keeper = asyncio.create_task(self._keep(), name="sottovoce-quotas")
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.to_thread(self.keep)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            await asyncio.to_thread(self.keep)

    def keep(self) -> None:
        """Write down what has been used of a day's sound, where that is limited."""
        today = self._now().date()
        used_s = {c.name: c.used_s for c in list(self._callers.values()) if c.key.audio_s_per_day}
        earlier = {name: s for name, s in self._before.items() if today == self._begun and name not in self._callers}
        if self._spent is not None and (used_s or earlier):
            self._spent.write(today, earlier | used_s)

    async def by_secret(self, secret: str) -> Caller:
        """Whose key it is. Raises RequestError."""
        await self._refresh()
        key = found(secret, (*self._fixed, *self._known.keys))
        if key is None:
            raise RequestError("Incorrect API key provided; whoever runs this server gives out keys", UNKNOWN)
        if why := key.unfit(self._now()):
            raise RequestError(f"the API key of {key.name} is not accepted: {why}", UNKNOWN)
        caller = self._callers.get(key.name)
        if caller is None:
            caller = self._callers[key.name] = Caller(key, None, self._clock, self._now)
            if self._now().date() == self._begun:
                caller.goes_on_from(self._before.pop(key.name, 0.0))
        caller.key = key  # limits may have changed; what was used stays
        return caller

    async def _refresh(self) -> None:
        """Read the file again if it has changed. One that is broken or gone changes nothing, and is told once."""
        if self._file is None or self._file.stamp() == self._known.stamp:
            return
        async with self._reading:
            stamp = self._file.stamp()
            if stamp == self._known.stamp:
                return
            try:
                self._known = await asyncio.to_thread(_read, self._file)
                log.info("keys: read again, %d of them", len(self._known.keys))
            except ConfigError as e:
                self._known = _Known(stamp, self._known.keys)
                log.error("the keys that were known before go on to be accepted: %s", e)
            names = {key.name for key in (*self._fixed, *self._known.keys)}
            self._callers = {name: caller for name, caller in self._callers.items() if name in names}


def _read(file: KeyFile | None) -> _Known:
    if file is None:
        return _Known(None, ())
    stamp = file.stamp()  # before: what is written meanwhile is read the next time
    return _Known(stamp, file.read())


def bearer(headers: Mapping[str, str]) -> str:
    """The key of an Authorization header. Raises RequestError."""
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise RequestError(
            "You didn't provide an API key: give it in an Authorization header, as in 'Authorization: Bearer YOUR_KEY'",
            UNKNOWN, headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    return secret.strip()
