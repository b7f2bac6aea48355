"""How every failure is answered: one table from errors to statuses, one shape of JSON. Nothing internal leaks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sottovoce.errors import (
    AudioError,
    BusyError,
    ConfigError,
    EngineError,
    ModelError,
    OptionError,
    SottovoceError,
)
from sottovoce.server import record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a failure is told. type, code: as OpenAI's. retry_after_s: when it may be tried again."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None
    retry_after_s: int | None = None


# Subclasses stand before their base
TABLE: tuple[tuple[type[SottovoceError], Kind], ...] = (
    (OptionError, Kind(400)),
    (ConfigError, Kind(400)),
    (AudioError, Kind(400, code="invalid_audio")),
    (BusyError, Kind(503, "server_error", "busy", retry_after_s=5)),
    (EngineError, Kind(503, "server_error", "engine_failed", retry_after_s=5)),
    (ModelError, Kind(404, code="model_not_found")),
)
BUG = Kind(500, "server_error", "internal_error")
BY_STATUS = {
    401: Kind(401, code="invalid_api_key"),
    403: Kind(403, code="permission_denied"),
    404: Kind(404, code="not_found"),
    405: Kind(405, code="method_not_allowed"),
    413: Kind(413, code="request_too_large"),
    415: Kind(415, code="unsupported_media_type"),
    422: Kind(422, code="invalid_request"),
    429: Kind(429, "rate_limit_error", "rate_limit_exceeded", retry_after_s=1),
}


class RequestError(SottovoceError):
    """A request that is answered with a status of its own. param: the field that is wrong."""

    def __init__(
        self, message: str, kind: Kind, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.param, self.headers = kind, param, dict(headers or {})


def told(error: BaseException) -> tuple[Kind, str, str | None]:
    """The kind of an error, its message, and the field it is about."""
    if isinstance(error, RequestError):
        return error.kind, str(error), error.param
    for known, kind in TABLE:
        if isinstance(error, known):
            message = str(error)
            name, colon, _ = message.partition(":")
            is_field = isinstance(error, OptionError) and bool(colon) and name.isidentifier()
            return kind, message, name if is_field else None
    return BUG, "something went wrong here; the log has it under the id of this request", None


def body(kind: Kind, message: str, param: str | None = None) -> dict[str, Any]:
    """The JSON of OpenAI's errors. Source: openai-python _exceptions.py (3.3.1)."""
    return {"error": {"message": message, "type": kind.type, "param": param, "code": kind.code}}


def answer(error: BaseException) -> JSONResponse:
    """The response to an error."""
    kind, message, param = told(error)
    record.failed(kind.code or kind.type)
    headers = dict(error.headers) if isinstance(error, RequestError) else {}
    if kind.retry_after_s is not None:
        headers.setdefault("Retry-After", str(kind.retry_after_s))
    return JSONResponse(body(kind, message, param), kind.status, headers)


def log_if_bug(error: BaseException) -> None:
    """Write down what nobody expected; what a client or its recording has done is told to the client alone."""
    if told(error)[0] is BUG:
        log.error("a request failed on its way", exc_info=error)


def install(app: FastAPI) -> None:
    """Every failure of an app is answered by this file."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return answer(error)

    async def status(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        kind = BY_STATUS.get(error.status_code, Kind(error.status_code, code="invalid_request"))
        message = f"{request.method} {request.url.path}: {error.detail}"
        return answer(RequestError(message, kind, headers=error.headers or {}))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = str(first["loc"][-1]) if first.get("loc") else None
        return answer(RequestError(f"{field}: {first['msg']}", BY_STATUS[422], field))

    async def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("a request failed: %s %s", request.method, request.url.path, exc_info=error)
        return answer(error)

    app.add_exception_handler(SottovoceError, ours)
    app.add_exception_handler(HTTPException, status)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, bug)
