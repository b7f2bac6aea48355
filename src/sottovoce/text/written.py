"""The lines of a text that somebody has written down, in any usual form. Strings only; opens no file."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from sottovoce.errors import OptionError

TIMES = re.compile(r"^(?:\d+:)?\d+:\d\d[.,]\d+\s*-->\s*(?:\d+:)?\d+:\d\d[.,]\d+.*$")
TAGS = re.compile(r"</?[a-zA-Z][^>]*>|<\d[\d:.]*>|\{\\[^}]*\}")
SUFFIXES = ("txt", "srt", "vtt", "json")


def lines(text: str, suffix: str = "txt") -> list[str]:
    """Its lines, in order, without blank ones; of subtitles the texts of the cues, of a json file the segments.

    suffix: srt, vtt, json; anything else is plain text. Raises OptionError for json without segments.
    """
    text = text.removeprefix("\ufeff")
    if suffix == "json":
        return _clean(_segments(text))
    if suffix in ("srt", "vtt"):
        cues = _cues(text)
        return _clean([unescape(cue) for cue in cues] if suffix == "vtt" else cues)
    return _clean(text.splitlines())


def _clean(found: list[str]) -> list[str]:
    return [line for line in (" ".join(one.split()) for one in found) if line]


def _cues(text: str) -> list[str]:
    """The text below each line of times, up to a blank line."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if TIMES.match(line.strip()):
            found.append("")
            inside = True
        elif not line.strip():
            inside = False
        elif inside:
            found[-1] += " " + TAGS.sub("", line)
    return found


def _segments(text: str) -> list[str]:
    expected = 'a list of texts, or an object with "segments" that have "text", was expected'
    try:
        given: Any = json.loads(text)
    except ValueError as e:
        raise OptionError(f"text: no json was given ({e}); {expected}") from e
    parts = given.get("segments") if isinstance(given, dict) else given
    found = [
        part.get("text") if isinstance(part, dict) else part for part in (parts if isinstance(parts, list) else ())
    ]
    if not found or not all(isinstance(part, str) for part in found):
        raise OptionError(f"text: json without texts was given; {expected}")
    return [str(part) for part in found]
