"""Who has left is not served: when a client hangs up, the task that answers him is cancelled. Pure ASGI.

Starlette notices a hang-up only while it streams an answer. Here the connection is watched from the end of the
request's body on; before that, whoever reads the body finds out.

NOTE: the handler runs in the server's own task, so that what it binds to the context is seen outside.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)


class Leaving:
    """The middleware. Cancelling closes generators, frees slots and permits, and removes files, as each promises."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        watch = _Watch(receive)
        if not _has_body(scope):
            watch.begin()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                watch.end()  # what a handler does behind its answer is not for the client
            await send(message)

        try:
            await self.app(scope, watch.receive, sent)
        except asyncio.CancelledError:
            if not watch.left or watch.task.uncancel() > 0:
                raise
            log.debug("the client has left: %s", scope["path"])
        finally:
            watch.end()


class _Watch:
    """One request's connection. left: the client has hung up, and the task was cancelled for that."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None, "a request is answered in a task"
        self.task = task
        self.left = False
        self._receive = receive
        self._kept: list[Message] = []  # read by the watcher, and not yet by the handler
        self._gone, self._arrived = asyncio.Event(), asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._ended = False

    def begin(self) -> None:
        """Watch from now on; what is left of the request is kept for the handler."""
        if self._watcher is None and not self._ended:
            self._watcher = asyncio.create_task(self._look(), name="sottovoce-watch")

    def end(self) -> None:
        self._ended = True
        if self._watcher is not None:
            self._watcher.cancel()

    async def receive(self) -> Message:
        """As the server's, for the handler."""
        if self._watcher is None:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                await asyncio.sleep(0)  # the handler's own task ends here; one that it started hears of it
            elif not message.get("more_body", False):
                self.begin()
            return message
        if not self._kept:
            await self._arrived.wait()  # the watcher may not have run yet
        if self._kept:
            return self._kept.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _look(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                return
            self._kept.append(message)
            self._arrived.set()

    def _leave(self) -> None:
        self._gone.set()
        self._arrived.set()
        if not self.left and not self._ended:
            self.left = True
            self.task.cancel("the client has left")


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
