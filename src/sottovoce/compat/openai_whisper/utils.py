"""openai-whisper's `whisper.utils` over ours: results to files, and small helpers that programs import.

Results are dictionaries here, as `transcribe` returns them. Source: openai/whisper utils.py (20250625).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sottovoce.errors import OptionError
from sottovoce.text.clock import format_timestamp
from sottovoce.text.foreign import DEFAULTS
from sottovoce.text.formats import FORMATS, Transcript, compression_ratio
from sottovoce.text.layout import Layout
from sottovoce.text.plain import cues

__all__ = [
    "ResultWriter",
    "SubtitlesWriter",
    "WriteJSON",
    "WriteSRT",
    "WriteTSV",
    "WriteTXT",
    "WriteVTT",
    "compression_ratio",
    "exact_div",
    "format_timestamp",
    "get_end",
    "get_start",
    "get_writer",
    "make_safe",
    "optional_float",
    "optional_int",
    "str2bool",
]

# What a segment or word must hold for the writers; programs also pass their own, with little more than times and text
SEGMENT_DEFAULTS: Mapping[str, Any] = {"id": 0, **DEFAULTS}
WORD_DEFAULTS: Mapping[str, Any] = {"probability": 0.0}
LAYOUT = ("max_line_width", "max_line_count", "highlight_words", "max_words_per_line")


def make_safe(string: str) -> str:
    """The text with what the system's encoding cannot write replaced by question marks."""
    encoding = sys.getdefaultencoding()
    return string.encode(encoding, errors="replace").decode(encoding)


def exact_div(x: int, y: int) -> int:
    """x / y, which must leave nothing."""
    assert x % y == 0, f"{y} does not divide {x}"
    return x // y


def str2bool(string: str) -> bool:
    """True of "True", False of "False"; anything else is a ValueError."""
    if string not in ("True", "False"):
        raise ValueError(f"Expected one of True, False, got {string}")
    return string == "True"


def optional_int(string: str) -> int | None:
    return None if string == "None" else int(string)


def optional_float(string: str) -> float | None:
    return None if string == "None" else float(string)


def get_start(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """Start of the first word; without any word, of the first segment."""
    starts = (w["start"] for s in segments for w in s["words"])
    return next(starts, segments[0]["start"] if segments else None)


def get_end(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """End of the last word; without any word, of the last segment."""
    ends = (w["end"] for s in reversed(segments) for w in reversed(s["words"]))
    return next(ends, segments[-1]["end"] if segments else None)


# --- writers --------------------------------------------------------------------------------------------------------


class ResultWriter:
    """Writes a result beside others: writer(result, audio_path) makes output_dir/name.extension."""

    extension: str

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = output_dir

    def __call__(
        self,
        result: Mapping[str, Any],
        audio_path: str | os.PathLike[str],
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        stem, _ = os.path.splitext(os.path.basename(audio_path))
        path = Path(self.output_dir) / f"{stem}.{self.extension}"
        with path.open("w", encoding="utf-8") as f:
            self.write_result(result, file=f, options=options, **kwargs)

    def write_result(
        self, result: Mapping[str, Any], file: TextIO, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """options, kwargs: max_line_width, max_line_count, highlight_words, max_words_per_line."""
        file.write(_transcript(result).render(self.extension, _layout(options, kwargs)))


class WriteTXT(ResultWriter):
    extension = "txt"


class SubtitlesWriter(ResultWriter):
    """What srt and vtt share."""

    always_include_hours: bool
    decimal_marker: str

    def iterate_result(
        self, result: Mapping[str, Any], options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Iterator[tuple[str, str, str]]:
        """(start, end, text) of each subtitle, times as this format writes them."""
        for cue in cues(_transcript(result).segments, _layout(options, kwargs)):
            yield self.format_timestamp(cue.start), self.format_timestamp(cue.end), cue.text

    def format_timestamp(self, seconds: float) -> str:
        return format_timestamp(seconds, self.always_include_hours, self.decimal_marker)


class WriteVTT(SubtitlesWriter):
    extension = "vtt"
    always_include_hours = False
    decimal_marker = "."


class WriteSRT(SubtitlesWriter):
    extension = "srt"
    always_include_hours = True
    decimal_marker = ","


class WriteTSV(ResultWriter):
    extension = "tsv"


class WriteJSON(ResultWriter):
    extension = "json"

    def write_result(
        self, result: Mapping[str, Any], file: TextIO, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """The result as it is, with whatever else a program has put into it."""
        json.dump(result, file)


WRITERS: Mapping[str, type[ResultWriter]] = {
    w.extension: w for w in (WriteTXT, WriteVTT, WriteSRT, WriteTSV, WriteJSON)
}
assert list(WRITERS) == list(FORMATS), "a format has no writer"


def get_writer(output_format: str, output_dir: str | os.PathLike[str]) -> Callable[..., None]:
    """What writes a result as txt, vtt, srt, tsv, json or all of them: writer(result, audio_path, options)."""
    if output_format == "all":
        writers = [writer(output_dir) for writer in WRITERS.values()]

        def write_all(
            result: Mapping[str, Any],
            file: str | os.PathLike[str],
            options: Mapping[str, Any] | None = None,
            **kwargs: Any,
        ) -> None:
            for writer in writers:
                writer(result, file, options, **kwargs)

        return write_all
    if output_format not in WRITERS:
        raise OptionError(f"output_format: {output_format!r} was given, one of {', '.join(WRITERS)}, all was expected")
    return WRITERS[output_format](output_dir)


def _layout(options: Mapping[str, Any] | None, given: Mapping[str, Any]) -> Layout:
    unknown = sorted(set(given) - set(LAYOUT))
    if unknown:
        raise TypeError(f"{unknown[0]}: there is no such option of the writers; known are {', '.join(LAYOUT)}")
    values = {name: given.get(name) or (options or {}).get(name) for name in LAYOUT}
    given = {name: value for name, value in values.items() if value is not None}
    return Layout(speakers="none", **given)  # whisper's bytes, also where a program put speakers into its result


def _transcript(result: Mapping[str, Any]) -> Transcript:
    segments = [{**SEGMENT_DEFAULTS, **s, **_words(s)} for s in result["segments"]]
    return Transcript.from_dict(
        {"text": result.get("text", ""), "language": result.get("language") or "", "segments": segments}
    )


def _words(segment: Mapping[str, Any]) -> dict[str, Any]:
    return {"words": [{**WORD_DEFAULTS, **w} for w in segment["words"]]} if "words" in segment else {}
