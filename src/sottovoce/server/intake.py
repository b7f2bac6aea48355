"""How much may come in, and how slowly: a request's body is counted and timed while it comes. Knows no form, no route.

One ASGI layer for all routes. What is refused is refused as soon as it is known, and answered even if the route has
made something else of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sottovoce.server import failures
from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.serving import MB, Serving

SLOW = Kind(408, code="request_timeout")
TOO_LARGE = BY_STATUS[413]
NO_LENGTH = Kind(400, code="invalid_request")
LEAST_BYTES_PER_S = 1000.0  # of a body on the whole: as slow as the slowest modem that still carries speech
TEXT_BYTES = 16 * MB  # of a body that is read into memory: JSON, and forms without files
TEXTS = ("application/json", "application/x-www-form-urlencoded")
SHORT_BYTES = 1 << 16  # of a body that comes in one piece, whether somebody reads it or not
LINGER_S = 10.0  # a client that is refused while it sends is read on, or it would never read the answer
LINGER_BYTES = 1000 * MB  # asynchronous clients send all they have before they read
CLOSE = (b"connection", b"close")


class Intake:
    """The layer."""

    def __init__(self, app: ASGIApp, serving: Serving, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._serving, self._clock = app, serving, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self._serving, self._clock)
        if body.refusal is None:
            await self._app(scope, body.receive, body.send)
        if body.refusal is not None and not body.answers:
            await body.refuse()


class _Body:
    """One request's body, and whether somebody has begun to answer."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, serving: Serving, clock: Callable[[], float]
    ) -> None:
        self._receive, self._send, self._clock = receive, send, clock
        self._idle_s = serving.body_idle_s
        headers = dict(scope["headers"])
        is_text = headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower() in TEXTS
        most = round(serving.max_upload_mb * MB)
        self._most_bytes = min(most, TEXT_BYTES) if is_text else most
        self._n_bytes = 0
        self._waited_s = 0.0  # for the client, and for nobody else
        self._is_whole = False
        self.answers = False
        self.refusal: RequestError | None = None
        length = headers.get(b"content-length", b"0")
        self._is_long = b"transfer-encoding" in headers or int(length if length.isdigit() else 0) > SHORT_BYTES
        if not length.isdigit():
            self.refusal = RequestError("Content-Length: a number of bytes was expected; leave it out", NO_LENGTH)
        elif int(length) > self._most_bytes:
            self.refusal = self._too_large(f"{int(length) / MB:.1f} MB")

    def _too_large(self, given: str) -> RequestError:
        what = f"the request has {given}, at most {self._most_bytes / MB:g} MB were expected"
        return RequestError(f"{what}; send less, or compress the sound (opus, mp3)", TOO_LARGE)

    async def receive(self) -> Message:
        if self.refusal is not None:
            raise self.refusal
        if self._is_whole:
            return await self._receive()  # which waits until the client leaves
        start = self._clock()
        left_s = self._idle_s + self._n_bytes / LEAST_BYTES_PER_S - self._waited_s
        try:
            async with asyncio.timeout(max(0.0, min(self._idle_s, left_s))):
                message = await self._receive()
        except TimeoutError as e:
            what = f"{self._n_bytes} bytes of the request came, and no more for {self._idle_s:g} s, or too slowly"
            self.refusal = RequestError(f"{what}; send it again", SLOW)
            raise self.refusal from e
        self._waited_s += self._clock() - start
        if message["type"] == "http.request":
            self._n_bytes += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._n_bytes > self._most_bytes:
                self.refusal = self._too_large(f"more than {self._n_bytes / MB:.1f} MB")
                raise self.refusal
        return message

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.answers:
            return  # refuse() says it
        self.answers = True
        if self._is_whole or not self._is_long:
            await self._send(message)
        elif message["type"] == "http.response.start":
            await self._send({**message, "headers": [*message.get("headers", ()), CLOSE]})
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._read_on()
            await self._send({"type": "http.response.body", "body": b""})

    async def refuse(self) -> None:
        """Say why, and close."""
        assert self.refusal is not None
        response = failures.answer(self.refusal)
        head: Message = {"type": "http.response.start", "status": response.status_code}
        await self._send({**head, "headers": [*response.raw_headers, CLOSE]})
        await self._send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        if self.refusal.kind is not SLOW:
            await self._read_on()
        await self._send({"type": "http.response.body", "body": b""})

    async def _read_on(self) -> None:
        """Drop what the client still sends, for a moment: one that is cut off while it sends never reads the answer."""
        n_bytes = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while n_bytes < LINGER_BYTES:
                    message = await self._receive()
                    n_bytes += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
