"""A real server on a free port of this machine, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from sottovoce.config import Config
from sottovoce.server.app import create_app
from sottovoce.serving import Serving


@contextmanager
def running(config: Config, serving: Serving | None = None) -> Iterator[str]:
    """The address of a server that is ready."""
    app = create_app(config, serving or Serving())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it began"
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{address}/ready").status_code == 200
        yield address
    finally:
        server.should_exit = True
        thread.join()
