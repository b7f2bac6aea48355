"""The service as one ASGI application: its routes, its failures, its beginning and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from sottovoce.config import Config
from sottovoce.errors import SottovoceError
from sottovoce.server import document, failures, gate, health, models, native, openai, peers, simple, sounds, stats
from sottovoce.server.ending import Door, Doorkeeper
from sottovoce.server.freshness import ByHeader
from sottovoce.server.house import House
from sottovoce.server.identity import Identity
from sottovoce.server.intake import Intake
from sottovoce.serving import Serving


def create_app(
    config: Config, serving: Serving, version: str = "0", on_ready: Callable[[], None] = lambda: None
) -> FastAPI:
    """An application that loads its model when it starts, and gives everything back when it ends.

    on_ready is called when it may be asked; what kept it from that stands in `state.failed`.
    Raises ConfigError for keys that cannot be read.
    """
    house = House(config, serving, version)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        try:
            await house.open()
        except SottovoceError as e:
            app.state.failed = e
            raise
        on_ready()
        try:
            async with app.state.callers.kept():
                yield
        finally:
            await house.close()

    app = FastAPI(title="sottovoce", version=version, lifespan=life)
    app.state.house, app.state.failed = house, None
    failures.install(app)
    app.add_middleware(Intake, serving=serving)
    app.add_middleware(ByHeader)
    app.state.door = Door()
    app.add_middleware(Doorkeeper, door=app.state.door)
    gate.install(app, serving)
    app.include_router(health.router)
    app.include_router(openai.router)
    app.include_router(models.router)
    app.include_router(native.router)
    app.include_router(simple.router)
    app.include_router(sounds.router)
    app.include_router(peers.router)
    app.include_router(stats.router)
    document.install(app)
    app.add_middleware(Identity, watch=house.watch, log_requests=serving.log_requests)  # the last one is outermost
    return app
