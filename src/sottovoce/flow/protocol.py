"""What a flow may say and be told. A flow is a generator without I/O: it yields what it needs or what it knows.

yield Window   it is to be decoded; several may be in flight                 -> None is sent
yield WAIT     nothing more can be done before an answer                     -> Got is sent, whichever came first
yield Opened   the recording has been read                                   -> None is sent
yield Heard    the language is known                                         -> None is sent
yield Known    these segments are final                                      -> None is sent
return         the transcript
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from sottovoce.text.formats import Transcript
from sottovoce.types import Answer, Segment, Window


class Wait(Enum):
    WAIT = "wait"


WAIT = Wait.WAIT


@dataclass(frozen=True, slots=True, eq=False)
class Got:
    """The answer to a window of this flow."""

    window: Window
    answer: Answer


@dataclass(frozen=True, slots=True)
class Opened:
    """The recording has been read. duration_s: of all the sound that was read."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """The language of the recording. probability: 1.0 where it was given. probs: by code, where it was detected."""

    language: str
    probability: float
    probs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """Segments that are final; none where silence was skipped. position_s: how far the flow has come."""

    segments: tuple[Segment, ...]
    position_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """A flow's last word: its transcript, or the error that ended it."""

    transcript: Transcript | None = None
    error: Exception | None = None


Event = Opened | Heard | Known
Flow = Generator[Window | Wait | Event, Got | None, Transcript]
