"""Transcript: what was said, as a value, as a dictionary and in every format. Knows no token, no sound, no model.

How each format is written: plain.py (whisper's bytes), captions.py (subtitles by rules), documents.py. Json is here,
because it is the dictionary.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps
from math import inf
from pathlib import Path
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.text import captions, documents, plain
from sottovoce.text.diarized import diarized
from sottovoce.text.files import write_text
from sottovoce.text.foreign import as_ours
from sottovoce.text.layout import PLAIN, Layout
from sottovoce.types import Segment, Task, Word

# In the order in which `--output_format all` writes them: whisper's own
FORMATS = ("txt", "vtt", "srt", "tsv", "json")
EVERY_FORMAT = (*FORMATS, "ass", "lrc", "csv", "md")
WRITABLE = (*EVERY_FORMAT, "diarized_json")  # the last one only where speakers are known

_WRITERS: Mapping[str, Callable[[Sequence[Segment], str, Layout], str]] = {
    "txt": lambda segments, language, layout: plain.txt(segments, layout),
    "tsv": lambda segments, language, layout: plain.tsv(segments, layout),
    "vtt": captions.vtt,
    "srt": captions.srt,
    "ass": captions.ass,
    "lrc": captions.lrc,
    "csv": documents.csv,
    "md": documents.md,
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """Speech without words. start, end: seconds. reason: the gate that it did not pass, or "no words"."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Text that was given to be aligned, and was not heard. line: counted from 0. at: seconds; where it would stand."""

    line: int
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a recording, and when.

    text: all of it. language: its code. duration: seconds of the recording. language_probability: 1.0 if the language
    was given. language_probs: probability by code if it was detected, else empty.
    coverage: share of the seconds of speech that are in segments; None where speech was not looked for (the sequential
    strategy). dropped: each span of speech that is in none, with the reason.
    languages: where segments may differ in language, the share of each of their seconds, the largest first; `language`
    is that one. missing: of a text that was aligned, what nobody spoke; its words have a probability of 0.
    """

    text: str
    segments: tuple[Segment, ...]
    language: str
    duration: float
    language_probability: float = 1.0
    language_probs: Mapping[str, float] = field(default_factory=dict, hash=False)
    task: Task = Task.TRANSCRIBE
    coverage: float | None = None
    dropped: tuple[Dropped, ...] = ()
    languages: Mapping[str, float] = field(default_factory=dict, hash=False)
    missing: tuple[Missing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The dictionary that openai-whisper's `transcribe` returns: text, segments, language.

        Where speech was looked for, also coverage and dropped (start, end, reason), the latter wherever there is any;
        where languages may differ, also languages (share by code), and the language of each segment; missing (line,
        text, at) if any is.
        """
        d: dict[str, Any] = {"text": self.text, "segments": [_segment_dict(s) for s in self.segments]}
        d["language"] = self.language
        if self.languages:
            d["languages"] = dict(self.languages)
        if self.coverage is not None:
            d["coverage"] = self.coverage
        if self.coverage is not None or self.dropped:
            d["dropped"] = [{"start": x.start, "end": x.end, "reason": x.reason} for x in self.dropped]
        if self.missing:
            d["missing"] = [{"line": x.line, "text": x.text, "at": x.at} for x in self.missing]
        return d

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], *, duration: float | None = None) -> Transcript:
        """A transcript from what `to_dict`, or a json file, holds. duration None: where the last segment ends.

        given: ours, openai-whisper's, or OpenAI's verbose_json or diarized_json.
        Raises OptionError if a field is missing or has another type.
        """
        try:
            given = as_ours(given)
            segments = tuple(_segment(s) for s in given["segments"])
            text, language, told = str(given["text"]), str(given["language"]), float(given.get("duration") or 0.0)
            languages = {str(code): float(share) for code, share in dict(given.get("languages", {})).items()}
            coverage = None if given.get("coverage") is None else float(given["coverage"])
            dropped = tuple(
                Dropped(float(d["start"]), float(d["end"]), str(d["reason"])) for d in given.get("dropped", ())
            )
            missing = tuple(Missing(int(d["line"]), str(d["text"]), float(d["at"])) for d in given.get("missing", ()))
        except (KeyError, TypeError, ValueError) as e:
            what = f"field {e} is missing" if isinstance(e, KeyError) else str(e)
            raise OptionError(
                f"transcript: {what}; a dictionary with text, segments and language was expected, as `to_dict` makes it"
            ) from e
        last = max((s.end for s in segments), default=0.0)
        seconds = told or last if duration is None else duration
        more: dict[str, Any] = {"coverage": coverage, "dropped": dropped, "languages": languages, "missing": missing}
        return cls(text, segments, language, seconds, **more)

    def render(self, format: str, layout: Layout = PLAIN) -> str:
        """The transcript as one of `WRITABLE`: txt, vtt, srt, tsv, json, ass, lrc, csv, md, diarized_json.

        layout: how srt, vtt, ass and lrc are set; of the others, only speakers and title matter.
        Raises OptionError for another format, and for diarized_json if nobody has told speakers apart.
        """
        if format not in WRITABLE:
            raise OptionError(f"format: {format!r} was given, one of {', '.join(WRITABLE)} was expected; try srt")
        if format == "json":
            return dumps(self.to_dict())  # one line of ASCII, as whisper's
        if format == "diarized_json":
            return dumps(diarized(self.text, self.segments, self.duration), ensure_ascii=False)
        return _WRITERS[format](self.segments, self.language, layout)

    def write(self, path: str | os.PathLike[str], format: str | None = None, layout: Layout = PLAIN) -> None:
        """Write the transcript to a file, whole or not at all. format None: what the file's suffix says.

        Raises OptionError for an unknown format, OutputError if the file cannot be written; then what stood there
        before still stands.
        """
        path = Path(path)
        format = format or path.suffix.removeprefix(".").lower()
        if format not in WRITABLE:
            known = ", .".join(EVERY_FORMAT)
            raise OptionError(f"{path}: {path.suffix or 'no suffix'} was given, .{known} was expected; or pass format")
        write_text(path, self.render(format, layout))


def compression_ratio(text: str) -> float:
    """How many times zlib shortens a text; high for text that repeats itself. 0 for an empty text."""
    data = text.encode("utf-8", errors="surrogatepass")
    return len(data) / len(zlib.compress(data))


# --- dictionaries ---------------------------------------------------------------------------------------------------


def _segment_dict(s: Segment) -> dict[str, Any]:
    """Keys in the order in which openai-whisper makes them: json bytes depend on it."""
    d: dict[str, Any] = {
        "id": s.id,
        "seek": s.seek,
        "start": s.start,
        "end": s.end,
        "text": s.text,
        "tokens": list(s.tokens),
        "temperature": s.temperature,
        "avg_logprob": s.avg_logprob,
        "compression_ratio": s.compression_ratio,
        "no_speech_prob": s.no_speech_prob,
    }
    if s.words is not None:
        d["words"] = [_word_dict(w) for w in s.words]
    if s.language is not None:
        d["language"] = s.language
    if s.speaker is not None:
        d["speaker"] = s.speaker
    return d


def _word_dict(w: Word) -> dict[str, Any]:
    d: dict[str, Any] = {"word": w.word, "start": w.start, "end": w.end, "probability": w.probability}
    if w.speaker is not None:
        d["speaker"] = w.speaker
    return d


def _segment(given: Mapping[str, Any]) -> Segment:
    return Segment(
        id=int(given["id"]),
        seek=int(given["seek"]),
        start=_time(given["start"]),
        end=_time(given["end"]),
        text=str(given["text"]),
        tokens=tuple(int(t) for t in given["tokens"]),
        temperature=float(given["temperature"]),
        avg_logprob=float(given["avg_logprob"]),
        compression_ratio=float(given["compression_ratio"]),
        no_speech_prob=float(given["no_speech_prob"]),
        words=_words(given.get("words")),
        language=None if given.get("language") is None else str(given["language"]),
        speaker=_speaker(given),
    )


def _words(given: Sequence[Mapping[str, Any]] | None) -> tuple[Word, ...] | None:
    if given is None:
        return None
    return tuple(
        Word(str(w["word"]), _time(w["start"]), _time(w["end"]), float(w["probability"]), _speaker(w)) for w in given
    )


def _time(given: Any) -> float:
    seconds = float(given)
    if not 0 <= seconds < inf:
        raise ValueError(f"a time of {given!r} was given, seconds from 0 on were expected")
    return seconds


def _speaker(given: Mapping[str, Any]) -> str | None:
    speaker = given.get("speaker")
    return None if speaker is None else str(speaker)
