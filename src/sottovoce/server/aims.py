"""What may be wanted of a recording: its words, its language, or the times of words that are known."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from sottovoce.api import Left, Whisper
from sottovoce.audio.apart import Channels
from sottovoce.flow.protocol import Flow
from sottovoce.request import Request


class Aim(StrEnum):
    """TRANSCRIPT: words. LANGUAGE: an empty transcript, with its language. ALIGNMENT: a given text, with its times."""

    TRANSCRIPT = "transcript"
    LANGUAGE = "language"
    ALIGNMENT = "alignment"


def flow_of(whisper: Whisper, sound: np.ndarray | Channels, request: Request, aim: Aim, text: str, left: Left) -> Flow:
    """The flow that reaches an aim. It may compute: not for the event loop; left: whoever asked has.

    Raises OptionError.
    """
    if aim is Aim.TRANSCRIPT:
        return whisper.opened(sound, request, left)[1]
    assert isinstance(sound, np.ndarray), "channels by themselves are transcribed, and nothing else"
    if aim is Aim.LANGUAGE:
        return whisper.language_flow(sound, request.options)
    return whisper.align_flow(sound, text, request.options)
