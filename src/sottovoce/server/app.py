"""The service as one ASGI application: its routes, its failures, its beginning and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from sottovoce.config import Config
from sottovoce.server import failures, health, openai, stats
from sottovoce.server.house import House
from sottovoce.server.identity import Identity
from sottovoce.serving import Serving


def create_app(config: Config, serving: Serving, version: str = "0") -> FastAPI:
    """An application that loads its model when it starts, and gives everything back when it ends."""
    house = House(config, serving, version)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await house.open()
        try:
            yield
        finally:
            await house.close()

    app = FastAPI(title="sottovoce", version=version, lifespan=life)
    app.state.house = house
    failures.install(app)
    app.include_router(health.router)
    app.include_router(openai.router)
    app.include_router(stats.router)
    app.add_middleware(Identity, watch=house.watch, log_requests=serving.log_requests)  # the last one is outermost
    return app
