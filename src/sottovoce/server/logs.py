"""The service's log: a line a request, JSON in the names of the Elastic Common Schema, or lines for a person.

No sound, no text and no file name of a user is in it, but for the transcript where it was asked for (`log_text`).
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from sottovoce.server import record as records
from sottovoce.server.record import Record

ECS_VERSION = "8.11.0"
TEXT = "sottovoce.text"
QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics", "/v1/stats"})  # asked every few seconds; only debug has them
Value = str | int | float | bool

access = logging.getLogger("sottovoce.access")


def fields_of(record: Record) -> dict[str, Value]:
    """What is known of a request, by the names of ECS where it has any, of ours where it has none."""
    known: dict[str, Value | None] = {
        "http.request.id": record.id,
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "event.duration": round(record.took_s * 1e9),  # nanoseconds, as ECS has it
        "client.address": record.client or None,
        "user.name": record.caller or None,
        "error.code": record.code or None,
        "sottovoce.took_s": round(record.took_s, 4),
        "sottovoce.model": record.model or None,
        "sottovoce.cache": record.cache or None,
    }
    if record.n_recordings:
        known |= {
            "sottovoce.recordings": record.n_recordings,
            "sottovoce.audio_s": round(record.audio_s, 3),
            "sottovoce.wait_s": round(record.wait_s, 4),
            "sottovoce.first_segment_s": None if record.first_s is None else round(record.first_s, 4),
            "sottovoce.rtf": None if record.factor is None else round(record.factor, 5),
            TEXT: record.text,
        }
    return {name: value for name, value in known.items() if value is not None}


def line_of(record: Record) -> str:
    """A request in one line, for a person."""
    parts = [f"{record.method} {record.route} {record.status} in {record.took_s:.3f} s"]
    if record.code:
        parts.append(record.code)
    if record.n_recordings:
        factor = "" if record.factor is None else f", {record.factor:.3f} s a second"
        cache = f", cache {record.cache}" if record.cache else ""
        parts.append(f"{record.model}, {record.audio_s:.1f} s of sound, waited {record.wait_s:.3f} s{factor}{cache}")
    if record.caller:
        parts.append(f"for {record.caller}")
    if record.text is not None:
        parts.append(json.dumps(record.text, ensure_ascii=False))
    return "; ".join(parts)


def tell(record: Record) -> None:
    """Write a request's line."""
    quiet = record.route in QUIET_ROUTES and record.status < 400
    access.log(logging.DEBUG if quiet else logging.INFO, line_of(record), extra={"fields": fields_of(record)})


def announce(line: str) -> None:
    """Write what whoever runs the service is to know, at every level."""
    access.info("%s", line)


class Json(logging.Formatter):
    """One JSON object a line, whatever is logged: nothing in it can break out of its line."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "@timestamp": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "message": record.getMessage(),
            "ecs.version": ECS_VERSION,
            "service.name": "sottovoce",
            "service.version": self.version,
            "log.logger": record.name,
            "process.pid": record.process,
            "process.thread.name": record.threadName,
        }
        if (request := records.current()) is not None:
            told["http.request.id"] = request.id
            if request.trace_id:
                told["trace.id"] = request.trace_id
        told |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            told["error.type"] = record.exc_info[0].__name__
            told["error.message"] = str(record.exc_info[1])
            told["error.stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class Human(logging.Formatter):
    """Lines for a terminal: time, level, what, and the request's id."""

    def format(self, record: logging.LogRecord) -> str:
        request = records.current()
        name = f"  [{request.id}]" if request is not None else ""
        message = "\\n".join(record.getMessage().splitlines())
        line = f"{_time(record).astimezone():%H:%M:%S} {record.levelname.lower():7} {message}{name}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def start(level: str, format: str, version: str, stream: TextIO | None = None) -> None:
    """Send every log of this process, libraries' too, to stderr. format: json, human or auto. Called by the command.

    Libraries speak from warnings on; a line a request is written at every level.
    """
    out = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(Json(version) if as_json else Human())
    root, ours = logging.getLogger(), logging.getLogger("sottovoce")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if level == "debug" else logging.WARNING)
    ours.handlers.clear()
    ours.propagate = True
    ours.setLevel(level.upper())
    access.setLevel(logging.DEBUG if level == "debug" else logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # theirs go the same way
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.captureWarnings(True)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
