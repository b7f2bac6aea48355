"""The service as one ASGI application: its routes, its failures, its beginning and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from sottovoce.config import Config
from sottovoce.server import document, failures, health, models, openai, peers, simple, sounds
from sottovoce.server.house import House
from sottovoce.serving import Serving


def create_app(config: Config, serving: Serving, version: str = "0") -> FastAPI:
    """An application that loads its model when it starts, and gives everything back when it ends."""
    house = House(config, serving)

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
    app.include_router(models.router)
    app.include_router(simple.router)
    app.include_router(sounds.router)
    app.include_router(peers.router)
    document.install(app)
    return app
