"""diarized_json: segments with speakers, in the shape of OpenAI's transcriptions. Values only; knows no file.

Source: openai-python types/audio/transcription_diarized.py, transcription_diarized_segment.py (3.3.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, product
from string import ascii_uppercase
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.types import Segment

UNNAMED = re.compile(r"SPEAKER_\d+")


def diarized(text: str, segments: Sequence[Segment], duration_s: float) -> dict[str, Any]:
    """The object of diarized_json. Speakers without a name are A, B, ... as they come.

    Raises OptionError if nobody has told speakers apart.
    """
    letters = Letters(s.speaker for s in segments if s.speaker)
    rows = []
    for i, s in enumerate(segments):
        if s.speaker is None:
            raise OptionError(
                f"diarized_json: segment {s.id} was given without a speaker, segments with speakers were expected; "
                "pass diarize=True (--diarize), or channels=True (--channels) for a speaker a channel"
            )
        rows.append(
            {
                "type": "transcript.text.segment",
                "id": f"seg_{i:03d}",
                "start": s.start,
                "end": s.end,
                "text": s.text,
                "speaker": letters.of(s.speaker),
            }
        )
    return {"task": "transcribe", "duration": duration_s, "text": text, "segments": rows}


class Letters:
    """What speakers are called: by name, or A, B, ... as they come, but for what is somebody's name."""

    def __init__(self, names: Iterable[str]) -> None:
        self._free = _letters(set(names))
        self._by_speaker: dict[str, str] = {}

    def of(self, speaker: str) -> str:
        if speaker not in self._by_speaker:
            self._by_speaker[speaker] = next(self._free) if UNNAMED.fullmatch(speaker) else speaker
        return self._by_speaker[speaker]


def _letters(taken: set[str]) -> Iterator[str]:
    """A to Z, AA to ZZ, and so on, but for what is somebody's name."""
    for n in count(1):
        for letters in product(ascii_uppercase, repeat=n):
            if (name := "".join(letters)) not in taken:
                yield name
