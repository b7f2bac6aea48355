"""A request without a model: its name, its line in the log, what its end is counted as; what the log looks like."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from sottovoce import metrics as m
from sottovoce.errors import BusyError
from sottovoce.server import failures, logs
from sottovoce.server import record as records
from sottovoce.server.gpus import Gpus
from sottovoce.server.identity import Identity
from sottovoce.server.record import Record
from sottovoce.server.tracing import Traces, endpoint, open_traces
from sottovoce.server.watching import Phase, Watch
from sottovoce.text.formats import Transcript

from .asgi import Answer as Answered
from .asgi import ask
from .dolls import Clock

NO_GPUS = Gpus(SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 0))


@pytest.fixture
def watch() -> Watch:
    return Watch(gpus=NO_GPUS, clock=Clock())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of a service, as it goes to a file; the loggers are put back afterwards."""
    names = ("", "sottovoce", "sottovoce.access", "uvicorn", "uvicorn.error", "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(lg, lg.handlers[:], lg.level, lg.propagate) for lg in loggers]
    stream = io.StringIO()
    logs.start("warning", "auto", "1.2", stream)
    yield stream
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def told(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def an_app(watch: Watch) -> FastAPI:
    app = FastAPI()
    failures.install(app)

    @app.get("/models/{name}")
    async def model(name: str) -> dict[str, str]:
        return {"name": name}

    @app.get("/mine")
    async def mine() -> None:
        records.asked_by("accounting")

    @app.get("/busy")
    async def busy() -> None:
        raise BusyError("nobody is free")

    @app.get("/bug")
    async def bug() -> None:
        raise ValueError("secret")

    @app.get("/gone")
    async def gone() -> None:
        raise ClientDisconnect

    @app.get("/torn")
    async def torn() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            raise ValueError("torn")

        return StreamingResponse(pieces())

    app.add_middleware(Identity, watch=watch)
    return app


# --- requests -------------------------------------------------------------------------------------------------------


def test_every_answer_has_a_name_also_where_none_was_meant(watch: Watch, log: io.StringIO) -> None:
    async def all_of_them() -> None:
        app = an_app(watch)
        for path, status, code in (
            ("/models/a", 200, None),
            ("/nowhere", 404, "not_found"),
            ("/busy", 503, "busy"),
            ("/bug", 500, "internal_error"),
        ):
            answer = await ask(app, path, x_request_id=f"id{path}")
            assert (answer.status, answer.headers["x-request-id"]) == (status, f"id{path}"), path
            assert answer.headers["openai-processing-ms"] == "0"
            if code:
                assert json.loads(answer.body)["error"]["code"] == code
            assert b"secret" not in answer.body

    asyncio.run(all_of_them())
    lines = {line["http.request.id"]: line for line in told(log) if line["log.logger"] == "sottovoce.access"}
    assert {name: line["http.response.status_code"] for name, line in lines.items()} == {
        "id/models/a": 200, "id/nowhere": 404, "id/busy": 503, "id/bug": 500,
    }  # fmt: skip
    assert lines["id/models/a"]["http.route"] == "/models/{name}", "the pattern, not what a user wrote"
    assert lines["id/busy"]["error.code"] == "busy"
    (trace,) = [line for line in told(log) if "error.stack_trace" in line]
    assert (trace["http.request.id"], trace["error.type"]) == ("id/bug", "ValueError")
    assert watch.metrics.total(m.REJECTED, reason="busy") == 1
    assert watch.metrics.total(m.REQUESTS, status="5xx") == 2
    assert watch.n_requests == 0


def test_the_line_names_the_key_that_was_shown(watch: Watch, log: io.StringIO) -> None:
    asyncio.run(ask(an_app(watch), "/mine"))
    assert [line["user.name"] for line in told(log)] == ["accounting"]


def test_who_hangs_up_is_no_failure_of_ours(watch: Watch, log: io.StringIO) -> None:
    answer = asyncio.run(ask(an_app(watch), "/gone"))
    assert answer.messages == []
    assert watch.metrics.total(m.REQUESTS, status="4xx") == 1
    assert watch.metrics.total(m.REJECTED, reason="client_closed_request") == 1
    assert [line["http.response.status_code"] for line in told(log)] == [499]


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(watch: Watch, log: io.StringIO) -> None:
    answer = Answered()
    with pytest.raises(ValueError, match="torn"):
        asyncio.run(ask(an_app(watch), "/torn", answer=answer))
    assert (answer.status, answer.body) == (200, b"half")
    assert not any(x["type"] == "http.response.body" and not x.get("more_body") for x in answer.messages)
    assert [line["error.code"] for line in told(log) if line["log.logger"] == "sottovoce.access"] == ["internal_error"]


def test_a_cancelled_request_leaves_nothing_behind(watch: Watch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with watch.recording() as seen, seen.phase(Phase.QUEUE):
            await asyncio.Event().wait()

    async def leave() -> None:
        task = asyncio.create_task(ask(Identity(app, watch), "/"))
        while not watch.n_recordings:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert (watch.n_requests, watch.n_recordings) == (0, 0)
    assert watch.metrics.total(m.RECORDINGS, outcome="withdrawn") == 1
    assert records.current() is None


# --- lines ----------------------------------------------------------------------------------------------------------


def test_nothing_breaks_out_of_its_line(log: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("a\nb %s", '"}\n{"log.level": "forged"')
    logging.getLogger("some.library").warning("library")
    logging.getLogger("some.library").info("quiet")
    assert [(line["log.logger"], line["log.level"]) for line in told(log)] == [
        ("uvicorn.error", "warning"),
        ("some.library", "warning"),
    ]


def test_a_person_reads_lines() -> None:
    handler = logs.Human()
    record = Record("req_1", "POST", 0.0, route="/x", status=200, model="base", n_recordings=1, audio_s=9.0, work_s=0.9)
    token = records.enter(record)
    line = handler.format(logging.LogRecord("a", logging.INFO, "", 0, logs.line_of(record) + "\nforged", None, None))
    records.leave(token)
    assert line.endswith(
        "POST /x 200 in 0.000 s; base, 9.0 s of sound, waited 0.000 s, 0.100 s a second\\nforged  [req_1]"
    )


def test_who_looks_every_second_has_no_line(log: io.StringIO) -> None:
    logs.tell(Record("a", "GET", 0.0, route="/health", status=200))
    logs.tell(Record("b", "GET", 0.0, route="/ready", status=503))
    assert [line["http.request.id"] for line in told(log)] == ["b"]


def test_text_is_logged_only_where_it_was_asked_for(log: io.StringIO) -> None:
    for log_text in (False, True):
        watch = Watch(log_text=log_text, gpus=NO_GPUS, clock=Clock())
        record = Record("id", "POST", 0.0, route="/x", status=200)
        token = records.enter(record)
        with watch.recording() as seen:
            seen.named("base")
            seen.saw(Transcript(" Marzipan", (), "en", 1.0))
        logs.tell(record)
        records.leave(token)
    silent, open_ = told(log)
    assert "Marzipan" not in json.dumps(silent)
    assert open_["sottovoce.text"] == " Marzipan"


# --- traces ---------------------------------------------------------------------------------------------------------


def test_a_receiver_is_named_with_or_without_a_path() -> None:
    assert endpoint("http://collector:4318") == endpoint("http://collector:4318/") == "http://collector:4318/v1/traces"
    assert endpoint("https://x/otlp/v1/traces") == "https://x/otlp/v1/traces"
    assert type(open_traces("", "1")) is Traces
