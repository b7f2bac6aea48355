"""Who has left is not served, wherever in his request he leaves; and nobody else is disturbed by that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sottovoce.server.leaving import Leaving

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
GONE: Message = {"type": "http.disconnect"}
seen_outside: ContextVar[str] = ContextVar("seen_outside", default="nothing")


def part(more: bool, body: bytes = b"x") -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Line:
    """A connection: what the client sends, when the test says so; what it gets."""

    def __init__(self, handler: Handler, body: bool = True) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.got: list[Message] = []
        headers = [(b"content-length", b"9" if body else b"0")]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self.task = asyncio.create_task(Leaving(handler)(scope, self.sent.get, self.send))  # type: ignore[arg-type]

    async def send(self, message: Message) -> None:
        self.got.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.sent.put_nowait(GONE)  # as uvicorn does at the end of an answer
            await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return body


@pytest.mark.parametrize("when", ["in the body", "behind the body", "without a body"])
def test_the_handler_of_who_leaves_is_cancelled(when: str) -> None:
    ended: list[str] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if when != "without a body":
                await whole(receive)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            ended.append("cleaned up")

    async def scenario() -> None:
        line = Line(handler, body=when != "without a body")
        line.sent.put_nowait(part(when == "in the body"))
        await line.settle()
        assert not ended
        line.sent.put_nowait(GONE)
        await line.settle()
        assert line.task.done() and not line.task.cancelled() and line.task.exception() is None, "it ends in peace"
        assert line.task.cancelling() == 0
        assert len(asyncio.all_tasks()) == 1, "nobody watches any more"

    asyncio.run(scenario())
    assert ended == ["cancelled", "cleaned up"]


def test_what_a_handler_does_behind_its_answer_is_not_cut_short() -> None:
    """The end of an answer looks like a hang-up: background work and clean-up were cancelled by it."""
    done: list[str] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)
        await answer(send)
        for _ in range(5):
            await asyncio.sleep(0)
        done.append("all")

    async def scenario() -> None:
        line = Line(handler)
        line.sent.put_nowait(part(False))
        await line.task
        assert [m["type"] for m in line.got] == ["http.response.start", "http.response.body"]

    asyncio.run(scenario())
    assert done == ["all"]


def test_the_body_arrives_whole_and_in_order() -> None:
    bodies: list[bytes] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        bodies.append(await whole(receive))
        await answer(send)

    async def scenario(has_body: bool, *parts: Message) -> None:
        line = Line(handler, has_body)
        for message in parts:
            line.sent.put_nowait(message)
        await line.task

    asyncio.run(scenario(True, part(True, b"a"), part(True, b"b"), part(False, b"c")))
    asyncio.run(scenario(False, part(False, b"")))
    assert bodies == [b"abc", b""]


def test_who_asks_whether_the_client_is_there_is_told() -> None:
    """Starlette's streaming listens itself, in a task beside; both must hear of it."""
    told: list[Any] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)

        async def listen() -> None:
            told.append((await receive())["type"])

        listener = asyncio.create_task(listen())
        try:
            await asyncio.Event().wait()
        finally:
            await listener

    async def scenario() -> None:
        line = Line(handler)
        line.sent.put_nowait(part(False))
        await line.settle()
        line.sent.put_nowait(GONE)
        await line.task

    asyncio.run(scenario())
    assert told == ["http.disconnect"]


def test_a_server_that_ends_still_cancels() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        line = Line(handler, body=False)
        await line.settle()
        line.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await line.task

    asyncio.run(scenario())


def test_an_error_of_the_handler_stays_one() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            await Line(handler).task

    asyncio.run(scenario())


def test_what_is_bound_inside_is_seen_outside() -> None:
    """A log line behind the answer knows what the handler found out: both are one task."""

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        seen_outside.set("bound")
        await answer(send)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await Leaving(handler)(scope, receive, send)
        assert seen_outside.get() == "bound"

    async def scenario() -> None:
        line: asyncio.Queue[Message] = asyncio.Queue()
        line.put_nowait(part(False))

        async def send(message: Message) -> None:
            pass

        await outer({"type": "http", "path": "/", "headers": []}, line.get, send)

    asyncio.run(scenario())
