"""A known clip through a model: do the words come out? The clip is the project's own, and lies in audio/assets."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from importlib.resources import as_file, files

from sottovoce.api import Whisper
from sottovoce.config import Config

SPOKEN = "The old house listens to the sea, and the sea whispers back."  # scripts/make_examples.py:KNOWN
ALLOWED = 0.25  # share of the words that the smallest model may mishear


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
        return distance(words(self.spoken), words(self.heard))

    @property
    def passed(self) -> bool:
        return self.n_errors <= ALLOWED * len(words(self.spoken))


def try_out(config: Config) -> Trial:
    """Load a model and transcribe the known clip with it. Raises what Whisper raises."""
    start_s = time.monotonic()
    with Whisper(config=config) as model, as_file(files("sottovoce.audio") / "assets" / "known.ogg") as clip:
        loaded_s = time.monotonic()
        transcript = model.transcribe(clip, language="en", temperature=0.0)
    end_s = time.monotonic()
    return Trial(loaded_s - start_s, end_s - loaded_s, transcript.duration, SPOKEN, transcript.text.strip())


def words(text: str) -> list[str]:
    """Lower-case words without marks."""
    return re.findall(r"\w+", text.lower().replace("'", ""))


def distance(a: list[str], b: list[str]) -> int:
    """The fewest words to change, add or drop to make one list the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
