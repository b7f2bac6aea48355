"""An orderly end: nothing new is begun, what runs may end, who must wait too long is told. Knows no route's work.

SIGTERM, SIGINT   answers 503 to what is new (/ready too), waits for what runs, at most drain_s; then ends with 0
again             ends at once
idle_exit_s       without a request for so long: ends with 0
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.datastructures import MutableHeaders

from sottovoce.server.failures import Kind, RequestError, answer
from sottovoce.serving import Serving

log = logging.getLogger(__name__)

LEAVING = Kind(503, "server_error", "server_ending", retry_after_s=5)
TOLD = "the server ends; ask again, it or another will answer"
CUT = "the server ends and could not wait for this request any longer; ask again"
STILL_ANSWERED = ("/health", "/metrics", "/v1/stats")  # while it leaves
LAST_WORDS_S = 5  # for answers that are being sent when the time is over


class Door:
    """Who is inside; once it is closed, nobody new."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.closed = False
        self.n_inside = 0
        self._clock = clock
        self._since_s = clock()

    @property
    def idle_s(self) -> float:
        """For how long nobody has been inside."""
        return 0.0 if self.n_inside else self._clock() - self._since_s

    def rest(self) -> None:
        """Nobody could come until now."""
        self._since_s = self._clock()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.n_inside += 1
        try:
            yield
        finally:
            self.n_inside -= 1
            self.rest()


class Doorkeeper:
    """Middleware: lets requests through the door, and says to those that come too late that they do."""

    def __init__(self, app: Any, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in STILL_ANSWERED:
            await self.app(scope, receive, send)
            return

        async def last(message: Any) -> None:
            if self.door.closed and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        if self.door.closed:
            await answer(RequestError(TOLD, LEAVING))(scope, receive, last)
            return
        with self.door.held():
            await self.app(scope, receive, last)


class Server(uvicorn.Server):
    """uvicorn's, that ends as above. cut: is given the error with which what still runs ends, when time is over."""

    def __init__(
        self, config: uvicorn.Config, door: Door, cut: Callable[[BaseException], None], serving: Serving
    ) -> None:
        super().__init__(config)
        config.timeout_graceful_shutdown = LAST_WORDS_S
        self._door, self._cut, self._serving = door, cut, serving
        self._until_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._until_s is not None:
            log.warning("asked to end a second time (%s): now", signal.Signals(sig).name)
            os._exit(128 + sig)
        self._until_s = time.monotonic() + self._serving.drain_s
        self._door.closed = True
        if not self.started:
            self.should_exit = True
        log.info("asked to end (%s): %d requests are running", signal.Signals(sig).name, self._door.n_inside)

    async def on_tick(self, counter: int) -> bool:
        if counter == 0:
            self._door.rest()  # a model was loaded, which is no idleness
        if self._until_s is not None and not self.should_exit:
            is_late = time.monotonic() >= self._until_s
            if self._door.n_inside and is_late:
                drain_s = self._serving.drain_s
                log.warning("%d requests have not ended within %g s; they are cut", self._door.n_inside, drain_s)
                self._cut(RequestError(CUT, LEAVING))
            self.should_exit = is_late or not self._door.n_inside
        elif self._serving.idle_exit_s and self._door.idle_s > self._serving.idle_exit_s:
            log.info("no request for %g s: the server ends", self._serving.idle_exit_s)
            self._door.closed = self.should_exit = True
        return await super().on_tick(counter)


def run(app: Any, serving: Serving, sockets: list[socket.socket] | None = None, **options: Any) -> None:
    """Serve an application of `create_app` until its end, which is an orderly one. options: of uvicorn.Config."""
    config = uvicorn.Config(app, **options)
    Server(config, app.state.door, app.state.house.results.end, serving).run(sockets)
