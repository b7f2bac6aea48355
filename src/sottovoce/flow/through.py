"""A flow as another one hands it on: its events changed on the way, its windows and answers untouched."""

from __future__ import annotations

from collections.abc import Callable

from sottovoce.flow.protocol import Event, Flow, Got, Wait
from sottovoce.text.formats import Transcript
from sottovoce.types import Window


def through(flow: Flow, change: Callable[[Event], Event | None]) -> Flow:
    """The flow, with what change makes of its events; None is not handed on. Errors reach the flow as if alone."""
    got: Got | None = None
    error: Exception | None = None
    try:
        while True:
            try:
                said = flow.send(got) if error is None else flow.throw(error)
            except StopIteration as end:
                transcript: Transcript = end.value
                break
            got = error = None
            if not isinstance(said, Window | Wait):
                changed = change(said)
                if changed is None:
                    continue
                said = changed
            try:
                got = yield said
            except Exception as e:
                error = e
        return transcript
    finally:
        flow.close()
