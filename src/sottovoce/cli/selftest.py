"""A known clip through a model: do the words come out? The clip is the project's own, and lies in audio/assets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import as_file, files

from sottovoce.api import Whisper
from sottovoce.config import Config
from sottovoce.text import known


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model did. spoken, heard: the words of the clip. n_errors: words to change, add or drop between them."""

    load_s: float
    decode_s: float
    duration_s: float
    spoken: str
    heard: str

    @property
    def n_errors(self) -> int:
        return known.n_errors(self.heard)

    @property
    def passed(self) -> bool:
        return known.is_right(self.heard)


def try_out(config: Config) -> Trial:
    """Load a model and transcribe the known clip with it. Raises what Whisper raises."""
    start_s = time.monotonic()
    with Whisper(config=config) as model, as_file(files("sottovoce.audio") / "assets" / "known.ogg") as clip:
        loaded_s = time.monotonic()
        transcript = model.transcribe(clip, language="en", temperature=0.0)
    end_s = time.monotonic()
    return Trial(loaded_s - start_s, end_s - loaded_s, transcript.duration, known.SPOKEN, transcript.text.strip())
