"""A real server on a free port of this machine, in a thread of this process, so that tests can look inside."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI

from sottovoce.config import Config
from sottovoce.server.app import create_app
from sottovoce.server.house import House
from sottovoce.serving import Serving

T = TypeVar("T")
SMALL = Config(model="tiny.en", device="cpu", skip_warm_up=True)


@dataclass(frozen=True, slots=True)
class Inhouse:
    """url: without a slash at its end."""

    app: FastAPI
    url: str
    port: int
    loop: asyncio.AbstractEventLoop

    def call(self, ask: Callable[[], T]) -> T:
        """What a function gives back that runs on the server's event loop."""

        async def run() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    @property
    def house(self) -> House:
        house: House = self.app.state.house
        return house

    def client(self, key: str | None = None, **more: Any) -> httpx.Client:
        headers = {"Cache-Control": "no-store"}  # each request is work of its own
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False, **more)


@contextmanager
def served(serving: Serving | None = None, config: Config = SMALL) -> Iterator[Inhouse]:
    """A server that is ready, until the block ends; then nothing of it is left."""
    loops: list[asyncio.AbstractEventLoop] = []
    app = create_app(
        config, replace(serving or Serving(), cache="none"), on_ready=lambda: loops.append(asyncio.get_running_loop())
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=10))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="inhouse")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 120)
        assert server.started, f"it did not start: {app.state.failed}"
        port = listening.getsockname()[1]
        yield Inhouse(app, f"http://127.0.0.1:{port}", port, loops[0])
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive(), "the server ends when it is told to"


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Until a claim holds, or a failure."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not come to be so"
        time.sleep(0.01)
