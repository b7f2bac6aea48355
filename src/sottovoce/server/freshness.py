"""What a request says about remembered answers (Cache-Control), and its answer about where it came from."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from starlette.datastructures import MutableHeaders

HEADER = "x-sottovoce-cache"


class Origin(StrEnum):
    """Where a transcript came from."""

    HIT = "hit"  # it was known
    SHARED = "shared"  # somebody had asked for the same, and it was being decoded
    MISS = "miss"  # it was decoded for this request
    BYPASS = "bypass"  # the request wanted it decoded, or has no name that lasts


@dataclass(slots=True)
class Freshness:
    """One request's. reads: a remembered answer will do; else it is decoded anew. keeps: it may be remembered.

    origin: filled in by who answers; None where nothing was transcribed.
    """

    reads: bool = True
    keeps: bool = True
    origin: Origin | None = None

    @classmethod
    def of(cls, cache_control: str) -> Freshness:
        """no-cache: decode it anew. no-store: nor keep it. max-age=0: as no-cache. Source: RFC 9111, 5.2.1."""
        told = {part.strip().lower() for part in cache_control.split(",")}
        keeps = "no-store" not in told
        return cls(keeps and not told & {"no-cache", "max-age=0"}, keeps)


_CURRENT: ContextVar[Freshness | None] = ContextVar("freshness", default=None)


def current() -> Freshness:
    """Of the request that is being answered; outside of any, one that takes and keeps."""
    return _CURRENT.get() or Freshness()


class ByHeader:
    """Middleware: reads Cache-Control, and tells where the transcript came from, if that is known when headers go."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = ", ".join(v.decode("latin-1") for name, v in scope["headers"] if name == b"cache-control")
        freshness = Freshness.of(given)
        _CURRENT.set(freshness)

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start" and freshness.origin is not None:
                MutableHeaders(scope=message)[HEADER] = freshness.origin
            await send(message)

        await self.app(scope, receive, told)
