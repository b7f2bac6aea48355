"""Sealed results in a Redis that several servers share. What goes when it is full, Redis decides (maxmemory-policy)."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

PREFIX = "sottovoce:result:"
TIMEOUT_S = 0.5  # of connecting, and of every answer: transcribing again costs little more
N_CONNECTIONS = 16


class Redis:
    """url: redis://, rediss:// or unix://, with user, password and database as redis-py reads them."""

    def __init__(self, url: str, n_bytes: int, most_s: float, timeout_s: float = TIMEOUT_S) -> None:
        """n_bytes: of one result. most_s: how long it is kept. Raises ValueError for a URL that is none."""
        self._limit_bytes, self._most_s, self._timeout_s = n_bytes, most_s, timeout_s
        self._redis: Any = client.Redis.from_pool(
            client.BlockingConnectionPool.from_url(
                url, max_connections=N_CONNECTIONS, timeout=timeout_s, socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0),
            )
        )  # fmt: skip

    async def get(self, name: str) -> bytes | None:
        sealed: bytes | None = await self._asked(self._redis.get(PREFIX + name))
        return sealed

    async def put(self, name: str, sealed: bytes) -> None:
        if len(sealed) <= self._limit_bytes:
            await self._asked(self._redis.set(PREFIX + name, sealed, px=max(1, round(self._most_s * 1000))))

    async def drop(self, name: str) -> None:
        await self._asked(self._redis.delete(PREFIX + name))

    async def close(self) -> None:
        await self._asked(self._redis.aclose())

    async def _asked(self, answer: Any) -> Any:
        try:
            async with asyncio.timeout(2 * self._timeout_s):
                return await answer
        except (RedisError, TimeoutError) as e:
            raise OSError(str(e) or type(e).__name__) from e
