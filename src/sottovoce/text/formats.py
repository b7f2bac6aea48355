"""Transcript, and its written forms: txt vtt srt tsv json. Strings and files; knows no token, no sound, no model.

The bytes are those of openai-whisper's writers (whisper/utils.py, 20250625) on the same transcript: its choices of
where a line breaks are kept even where one would choose otherwise. Frozen: tests/null/test_writer_bytes.py.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from json import dumps
from pathlib import Path
from typing import Any

from sottovoce.errors import OptionError, OutputError
from sottovoce.types import Segment, Task, Word

LONG_PAUSE_S = 3.0  # from the start of one word to the start of the next; openai/whisper utils.py:iterate_subtitles
NO_LIMIT = 1000  # characters or words of a line when none is set; openai/whisper utils.py:iterate_subtitles


@dataclass(frozen=True, slots=True)
class Layout:
    """How words are set in srt and vtt. It takes words with times: without word_timestamps only segments are written.

    max_line_width: characters of a line. max_line_count: lines of a subtitle; it acts only together with a width, and
    then subtitles run across segments. max_words_per_line: words of a subtitle; no effect with width and count.
    highlight_words: every word once underlined while it is spoken. None and 0 are no limit.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    highlight_words: bool = False
    max_words_per_line: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            n = getattr(self, name)
            if n is not None and n < 0:
                raise OptionError(
                    f"{name}: {n} was given, a whole number above 0 was expected; leave it out for no limit"
                )


PLAIN = Layout()


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
    strategy). dropped: each span of speech that is in none, with the reason. missing: of a text that was aligned, what
    nobody spoke; its words have a probability of 0.
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
    missing: tuple[Missing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The dictionary that openai-whisper's `transcribe` returns: text, segments, language.

        Where speech was looked for, also coverage and dropped (start, end, reason); missing (line, text, at) if any is.
        """
        d: dict[str, Any] = {"text": self.text, "segments": [_segment_dict(s) for s in self.segments]}
        d["language"] = self.language
        if self.coverage is not None:
            d["coverage"] = self.coverage
            d["dropped"] = [{"start": x.start, "end": x.end, "reason": x.reason} for x in self.dropped]
        if self.missing:
            d["missing"] = [{"line": x.line, "text": x.text, "at": x.at} for x in self.missing]
        return d

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], *, duration: float | None = None) -> Transcript:
        """A transcript from what `to_dict`, or a json file, holds. duration None: where the last segment ends.

        Raises OptionError if a field is missing or has another type.
        """
        try:
            segments = tuple(_segment(s) for s in given["segments"])
            text, language = str(given["text"]), str(given["language"])
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
        seconds = last if duration is None else duration
        return cls(text, segments, language, seconds, coverage=coverage, dropped=dropped, missing=missing)

    def render(self, format: str, layout: Layout = PLAIN) -> str:
        """The transcript as txt, vtt, srt, tsv or json. Raises OptionError for another format."""
        if format not in FORMATS:
            raise OptionError(f"format: {format!r} was given, one of {', '.join(FORMATS)} was expected; try srt")
        return FORMATS[format](self, layout)

    def write(self, path: str | os.PathLike[str], format: str | None = None, layout: Layout = PLAIN) -> None:
        """Write the transcript to a file, whole or not at all. format None: what the file's suffix says.

        Raises OptionError for an unknown format, OutputError if the file cannot be written; then what stood there
        before still stands.
        """
        path = Path(path)
        format = format or path.suffix.removeprefix(".").lower()
        if format not in FORMATS:
            raise OptionError(
                f"{path}: {path.suffix or 'no suffix'} was given, .{', .'.join(FORMATS)} was expected; or pass format"
            )
        text = self.render(format, layout)
        try:
            _write(path, text)
        except OSError as e:
            remedy = _REMEDIES.get(e.errno or 0, "choose another place")
            raise OutputError(f"{path} cannot be written: {e.strerror or e}; {remedy}") from e
        except UnicodeEncodeError as e:
            raise OutputError(f"{path} cannot be written: {e}; write json, where every character has an escape") from e


def compression_ratio(text: str) -> float:
    """How many times zlib shortens a text; high for text that repeats itself. 0 for an empty text."""
    data = text.encode("utf-8", errors="surrogatepass")
    return len(data) / len(zlib.compress(data))


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """[HH:]MM:SS.mmm, rounded to the millisecond; hours if there are any, or always."""
    assert seconds >= 0, "a time in a recording is not negative"
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours:02d}:" if hours or always_include_hours else ""
    return f"{head}{minutes:02d}:{ms // 1000:02d}{decimal_marker}{ms % 1000:03d}"


# --- the formats ----------------------------------------------------------------------------------------------------


def txt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """One segment per line."""
    return "".join(f"{s.text.strip()}\n" for s in transcript.segments)


def vtt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """WebVTT."""
    blocks = (f"{_vtt_time(c.start)} --> {_vtt_time(c.end)}\n{c.text}\n\n" for c in cues(transcript, layout))
    return "WEBVTT\n\n" + "".join(blocks)


def srt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """SubRip."""
    numbered = enumerate(cues(transcript, layout), start=1)
    return "".join(f"{i}\n{_srt_time(c.start)} --> {_srt_time(c.end)}\n{c.text}\n\n" for i, c in numbered)


def tsv(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Tab-separated: start and end in whole milliseconds, text; one head line."""
    rows = (
        f"{round(1000 * s.start)}\t{round(1000 * s.end)}\t{s.text.strip().replace(chr(9), ' ')}\n"
        for s in transcript.segments
    )
    return "start\tend\ttext\n" + "".join(rows)


def json(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """`to_dict` in one line of ASCII."""
    return dumps(transcript.to_dict())


# In the order in which `--output_format all` writes them
FORMATS: Mapping[str, Callable[[Transcript, Layout], str]] = {
    "txt": txt,
    "vtt": vtt,
    "srt": srt,
    "tsv": tsv,
    "json": json,
}


def _vtt_time(seconds: float) -> str:
    return format_timestamp(seconds)


def _srt_time(seconds: float) -> str:
    return format_timestamp(seconds, always_include_hours=True, decimal_marker=",")


# --- subtitles ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle. start, end: seconds."""

    start: float
    end: float
    text: str


def cues(transcript: Transcript, layout: Layout = PLAIN) -> Iterator[Cue]:
    """The subtitles that srt and vtt write."""
    segments = [s.words for s in transcript.segments if s.words is not None]
    if not segments or len(segments) < len(transcript.segments):
        # no word times; a segment that was blanked for having no sound carries an empty list of words all the same
        for s in transcript.segments:
            yield Cue(s.start, s.end, s.text.strip().replace("-->", "->"))
        return
    for words in _subtitles(segments, transcript.segments[0].start, layout):
        text = "".join(w.word for w in words)
        if layout.highlight_words:
            yield from _highlighted(words, text)
        else:
            yield Cue(words[0].start, words[-1].end, text)


def _highlighted(words: Sequence[Word], text: str) -> Iterator[Cue]:
    """Each word underlined while it is spoken; between words the plain text."""
    last = words[0].start
    for i, word in enumerate(words):
        if _vtt_time(last) != _vtt_time(word.start):
            yield Cue(last, word.start, text)
        marked = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", word.word)
        before, after = ("".join(w.word for w in part) for part in (words[:i], words[i + 1 :]))
        yield Cue(word.start, word.end, before + marked + after)
        last = word.end


def _subtitles(segments: Sequence[Sequence[Word]], start: float, layout: Layout) -> Iterator[list[Word]]:
    """Words gathered into subtitles. A word that begins a line is stripped; one that folds it carries the break.

    Two ways: without width and count together a subtitle ends with its segment (or with max_words_per_line), and a
    width only folds it; with both, subtitles flow across segments and end when the lines are full or after a pause.
    """
    flowing = bool(layout.max_line_count) and bool(layout.max_line_width)
    width = layout.max_line_width or NO_LIMIT
    subtitle: list[Word] = []
    n_lines, line_width = 1, 0
    last = next((w.start for words in segments for w in words), start)
    for word, is_first in _with_group_starts(segments, layout.max_words_per_line or NO_LIMIT):
        pause = flowing and word.start - last > LONG_PAUSE_S
        group_ends = is_first and bool(subtitle) and not flowing
        last = word.start
        if 0 < line_width <= width - len(word.word) and not pause and not group_ends:
            subtitle.append(word)
            line_width += len(word.word)
            continue
        text = word.word.strip()
        full = bool(subtitle) and bool(layout.max_line_count) and (pause or n_lines >= (layout.max_line_count or 0))
        if full or group_ends:
            yield subtitle
            subtitle, n_lines, folded = [], 1, False
        else:
            folded = line_width > 0
            n_lines += folded
        subtitle.append(replace(word, word="\n" + text if folded else text))
        line_width = len(text)
    if subtitle:
        yield subtitle


def _with_group_starts(segments: Sequence[Sequence[Word]], n_words: int) -> Iterator[tuple[Word, bool]]:
    for words in segments:
        for i, word in enumerate(words):
            yield word, i % n_words == 0


# --- dictionaries and files -----------------------------------------------------------------------------------------


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
        d["words"] = [{"word": w.word, "start": w.start, "end": w.end, "probability": w.probability} for w in s.words]
    return d


def _segment(given: Mapping[str, Any]) -> Segment:
    return Segment(
        id=int(given["id"]),
        seek=int(given["seek"]),
        start=float(given["start"]),
        end=float(given["end"]),
        text=str(given["text"]),
        tokens=tuple(int(t) for t in given["tokens"]),
        temperature=float(given["temperature"]),
        avg_logprob=float(given["avg_logprob"]),
        compression_ratio=float(given["compression_ratio"]),
        no_speech_prob=float(given["no_speech_prob"]),
        words=_words(given.get("words")),
    )


def _words(given: Sequence[Mapping[str, Any]] | None) -> tuple[Word, ...] | None:
    if given is None:
        return None
    return tuple(Word(str(w["word"]), float(w["start"]), float(w["end"]), float(w["probability"])) for w in given)


_REMEDIES = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EFBIG: "choose another disk, or raise the limit on a file's size",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "what stands before the last slash must be a folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a disk that is not read-only",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def _write(path: Path, text: str) -> None:
    if path.exists() and not path.is_file():
        # a pipe, a terminal, a device: there is nothing to replace, and it must not be replaced
        with path.open("w", encoding="utf-8") as f:
            f.write(text)
        return
    path = path.resolve()  # a link stays a link
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        # line ends as the platform writes them, like the reference
        with part.open("x", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
