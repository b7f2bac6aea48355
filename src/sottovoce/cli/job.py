"""One run of `sottovoce transcribe` as it was asked for, and what can be settled before a model is loaded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from sottovoce.cli.exits import Exit, exit_of, said
from sottovoce.cli.layout import SUFFIXES, formats_of, layout_of
from sottovoce.cli.recordings import Recording, find
from sottovoce.cli.screen import Screen
from sottovoce.config import Config
from sottovoce.errors import OutputError
from sottovoce.request_terms import keywords, replacements
from sottovoce.text.layout import Layout


@dataclass(frozen=True, slots=True)
class Job:
    """One run. options: keywords of `Whisper.transcribe_each`. formats: files to write for each recording."""

    arguments: tuple[str, ...]
    config: Config
    options: dict[str, Any]
    layout: Layout
    output_dir: Path
    formats: tuple[str, ...]
    verbose: bool
    times: bool
    quiet: bool
    resume: bool

    @classmethod
    def of(cls, arguments: tuple[str, ...], config: Config, flags: dict[str, Any]) -> Job:
        """From the flags of the command. Raises OptionError for a value that cannot be honoured."""
        o = dict(flags)
        formats = formats_of(o.pop("output_format"))
        layout = layout_of(o, formats)
        job = {name: o.pop(name) for name in ("verbose", "times", "quiet", "resume")}
        output_dir = Path(o.pop("output_dir"))
        o["temperature"] = ladder(o["temperature"], o.pop("temperature_increment_on_fallback"))
        for name, plain in (("beam_size", 1), ("best_of", 1), ("patience", 1.0)):
            o[name] = plain if o[name] is None else o[name]
        terms, pairs = o.pop("keywords_file"), o.pop("replacements_file")
        o["keywords"] = [term for given in o["keywords"] for term in given]
        o["keywords"] += keywords("--keywords-file", terms) if terms else ()
        o["replacements"] = [*(replacements("--replacements", pairs) if pairs else ()), *o["replacements"]]
        stamps = o.pop("clip_timestamps")
        if o["clips"]:
            o["clips"] = tuple(sorted(o["clips"], key=lambda clip: clip[0]))
            ends = [end for _, end in o["clips"]]
            o["end_s"] = None if None in ends else max(ends)
        elif stamps != "0":
            # NOTE: read to its end all the same: Whisper normalises by the loudest sound of the whole recording
            o["clips"] = stamps
        channels, names = o.pop("channels", False), o.pop("channel_names", None)
        if channels or names:
            o["channels"] = tuple(name.strip() for name in names.split(",")) if names else True
        return cls(arguments, config, o, layout, output_dir, formats, **job)

    def paths(self, recording: Recording) -> list[Path]:
        return [self.output_dir / f"{recording.stem}.{SUFFIXES.get(format, format)}" for format in self.formats]


def ladder(first: float, step: float | None) -> tuple[float, ...]:
    """The temperatures of the `whisper` command; its very floats, since they are written to the json files.

    Source: openai/whisper transcribe.py:cli, where numpy.arange makes them (20250625).
    """
    if step is None:
        return (first,)
    n = ceil((1.0 + 1e-6 - first) / step)
    delta = (first + step) - first
    return tuple(first + i * delta for i in range(n)) or (first,)


def prepare(job: Job, screen: Screen) -> tuple[list[Recording], list[Exit]]:
    """The recordings that are to be transcribed, and the exit codes of what is none, which is said on the screen.

    Raises OutputError if the output folder cannot be written: now rather than after an hour's work.
    """
    recordings, refused, notes = find(job.arguments)
    for line in notes:
        screen.note(line)
    exits = [report(screen, one.name, one.error) for one in refused]
    recordings = list(_unfinished(job, screen, recordings))
    if recordings:
        if job.formats:
            _check_folder(job.output_dir)
        _warn(job, screen)
    return recordings, exits


def report(screen: Screen, name: str, error: Exception) -> Exit:
    """Say what is wrong with a recording, and return its exit code."""
    screen.error(said(error, name))
    return exit_of(error)


def _unfinished(job: Job, screen: Screen, recordings: list[Recording]) -> Iterator[Recording]:
    """Those that --resume does not skip."""
    for recording in recordings:
        if job.resume and job.formats and _is_finished(job, recording):
            screen.note(f"{recording.name}: skipped, its files are there and newer (--resume)")
        else:
            yield recording


def _is_finished(job: Job, recording: Recording) -> bool:
    if not isinstance(recording.source, str):
        return False
    try:
        made = min(path.stat().st_mtime_ns for path in job.paths(recording))
        return made >= os.stat(recording.source).st_mtime_ns
    except OSError:
        return False


def _warn(job: Job, screen: Screen) -> None:
    """What has no effect is said, in whisper's cases and in ours."""
    if job.layout.max_line_count and not job.layout.max_line_width:
        screen.note("warning: --max-line-count has no effect without --max-line-width")
    if job.layout.max_words_per_line and job.layout.max_line_width:
        screen.note("warning: --max-words-per-line has no effect with --max-line-width")
    if job.options["hallucination_silence_threshold"] is not None and not job.options["word_timestamps"]:
        screen.note("warning: --hallucination-silence-threshold has no effect without --word-timestamps True")
    if job.resume and not job.formats:
        screen.note("warning: --resume has no effect with --output-format none")


def _check_folder(folder: Path) -> None:
    """Make the output folder, and write to it. Raises OutputError."""
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise OutputError(
            f"{folder}: the output folder cannot be written ({e.strerror}); choose another with --output-dir"
        ) from e


def make_folder(folder: Path) -> None:
    """Make a folder of outputs. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        in_the_way = isinstance(e, FileExistsError | NotADirectoryError)
        what = "a file is in the way, a folder was expected" if in_the_way else f"cannot be made ({e.strerror})"
        raise OutputError(f"{folder}: {what}; choose another with --output-dir") from e
