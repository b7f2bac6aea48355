"""Driving a flow by hand: a list of answers instead of an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sottovoce.flow.protocol import WAIT, Flow, Got, Heard, Known
from sottovoce.text.formats import Transcript
from sottovoce.types import Answer, Window


@dataclass
class Played:
    """What a flow asked and said. known: one entry a window."""

    transcript: Transcript
    windows: list[Window] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)


def play(flow: Flow, answer: Callable[[Window], Answer]) -> Played:
    """Run a flow to its end; answer says what the engine would."""
    windows: list[Window] = []
    heard: list[Heard] = []
    known: list[Known] = []
    said = next(flow)
    waiting: list[Window] = []
    while True:
        try:
            if isinstance(said, Window):
                windows.append(said)
                waiting.append(said)
                said = flow.send(None)
            elif said is WAIT:
                window = waiting.pop(0)
                said = flow.send(Got(window, answer(window)))
            elif isinstance(said, Heard):
                heard.append(said)
                said = flow.send(None)
            else:
                assert isinstance(said, Known)
                known.append(said)
                said = flow.send(None)
        except StopIteration as end:
            return Played(end.value, windows, heard, known)
