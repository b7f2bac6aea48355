"""What becomes known of a request on its way: one Record, that every task and thread of the request can reach."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Record:
    """One request. Times are seconds; began_s and answered_s (a transcript was there) are of the watch's clock.

    status: 0 until an answer has begun. code: of its error. cache: hit, miss, shared, bypass. text: of the transcript,
    only where logs may have it. None: not known, or there is none.
    """

    id: str
    method: str
    began_s: float
    span: Any = None
    trace_id: str = ""
    route: str = ""
    status: int = 0
    code: str = ""
    caller: str = ""
    client: str = ""
    model: str = ""
    cache: str = ""
    n_recordings: int = 0
    audio_s: float = 0.0
    wait_s: float = 0.0
    first_s: float | None = None
    work_s: float | None = None
    answered_s: float | None = None
    took_s: float = 0.0
    text: str | None = None

    @property
    def factor(self) -> float | None:
        """Seconds of work for a second of sound."""
        return self.work_s / self.audio_s if self.work_s is not None and self.audio_s > 0 else None


# The one of this request, wherever it is asked: tasks and threads that it starts have a copy of the reference
_RECORD: ContextVar[Record | None] = ContextVar("sottovoce_record", default=None)


def current() -> Record | None:
    """The record of the request under way; None outside of any."""
    return _RECORD.get()


def enter(record: Record) -> Token[Record | None]:
    """From here on this is the request under way; `leave` with what is given back."""
    return _RECORD.set(record)


def leave(token: Token[Record | None]) -> None:
    _RECORD.reset(token)


def asked_by(name: str) -> None:
    """The request under way shows the key of this name."""
    if (record := _RECORD.get()) is not None:
        record.caller = name


def failed(code: str) -> None:
    """The request under way is answered with an error of this code."""
    if (record := _RECORD.get()) is not None:
        record.code = code
