"""Every request has a name, and is told of once: its id, its time, its line in the log. Outermost of all.

Pure ASGI: bodies pass through as they are.
"""

from __future__ import annotations

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sottovoce.server import failures, logs
from sottovoce.server import record as records
from sottovoce.server.record import Record
from sottovoce.server.watching import Watch

log = logging.getLogger(__name__)

SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=+-]{0,127}")
UNMATCHED = "unmatched"  # the route of what no route answers
HUNG_UP = 499  # the status, in log and metrics, of a request whose client left before an answer began
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Identity:
    """Names requests, times them, and answers for what fails inside. log_requests: whether they have lines."""

    def __init__(self, app: ASGIApp, watch: Watch, log_requests: bool = True) -> None:
        self.app, self.watch, self.log_requests = app, watch, log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = self._record(scope)
        token = records.enter(record)
        watch = self.watch
        watch.n_requests += 1

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = record.id
                headers["openai-processing-ms"] = str(round((watch.clock() - record.began_s) * 1000))
                watch.formatted(record)
            await send(message)

        try:
            await self._answered(record, scope, receive, named)
        finally:
            watch.n_requests -= 1
            self._end(record, scope)
            records.leave(token)

    async def _answered(self, record: Record, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as e:
            record.code = record.code or "internal_error"
            if record.status:
                log.error("an answer broke off", exc_info=e)
                raise  # its connection is closed, so that nobody takes what came for all
            log.error("a request failed", exc_info=e)
            await failures.answer(e)(scope, receive, send)

    def _record(self, scope: Scope) -> Record:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        method = scope["method"] if scope["method"] in METHODS else "other"
        record = Record(
            id=given if SANE.fullmatch(given) else f"req_{uuid.uuid4().hex}",
            method=method,
            began_s=self.watch.clock(),
            client=scope["client"][0] if scope.get("client") else "",
        )
        record.span = self.watch.traces.begin("request", headers=headers)
        record.trace_id = self.watch.traces.id_of(record.span)
        return record

    def _end(self, record: Record, scope: Scope) -> None:
        record.took_s = self.watch.clock() - record.began_s
        record.route = _route_of(scope)
        record.status = record.status or HUNG_UP
        self.watch.answered(record)
        attributes = {name: v for name, v in logs.fields_of(record).items() if name != logs.TEXT}
        failed = record.code or str(record.status) if record.status >= 500 else ""
        self.watch.traces.end(record.span, attributes, failed=failed)
        if self.log_requests:
            logs.tell(record)


def _route_of(scope: Scope) -> str:
    """The pattern of a request's path, never the path itself, unless it is one that has no parts to fill in."""
    if (path := getattr(scope.get("route"), "path", None)) is not None:
        return str(path)
    return scope["path"] if scope.get("endpoint") is not None and not scope.get("path_params") else UNMATCHED
