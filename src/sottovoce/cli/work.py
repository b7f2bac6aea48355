"""What `sottovoce transcribe` does: recordings together through one Whisper, files as each is done. Reads no flag."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.api import Request, Whisper
from sottovoce.cli.exits import Exit, Stopped, exit_of, said, worst
from sottovoce.cli.options import start_log
from sottovoce.cli.pace import Pace, hms
from sottovoce.cli.recordings import Recording, find
from sottovoce.cli.screen import Screen
from sottovoce.config import Config
from sottovoce.errors import OutputError
from sottovoce.flow.drive import Done
from sottovoce.flow.protocol import Heard, Known, Opened
from sottovoce.text.formats import FORMATS, Layout, Transcript, format_timestamp
from sottovoce.text.languages import LANGUAGES
from sottovoce.types import Segment


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
    quiet: bool
    resume: bool

    @classmethod
    def of(cls, arguments: tuple[str, ...], config: Config, flags: dict[str, Any]) -> Job:
        """From the flags of the command. Raises OptionError for a value that cannot be honoured."""
        o = dict(flags)
        layout = Layout(
            **{n: o.pop(n) for n in ("max_line_width", "max_line_count", "highlight_words", "max_words_per_line")}
        )
        wanted = o.pop("output_format")
        formats = {"all": tuple(FORMATS), "none": ()}.get(wanted, (wanted,))
        job = {name: o.pop(name) for name in ("verbose", "quiet", "resume")}
        output_dir = Path(o.pop("output_dir"))
        o["temperature"] = _ladder(o["temperature"], o.pop("temperature_increment_on_fallback"))
        for name, plain in (("beam_size", 1), ("best_of", 1), ("patience", 1.0)):
            o[name] = plain if o[name] is None else o[name]
        stamps = o.pop("clip_timestamps")
        if o["clips"]:
            o["clips"] = tuple(sorted(o["clips"]))
            o["end_s"] = o["clips"][-1][1]
        elif stamps != "0":
            # NOTE: read to its end all the same: Whisper normalises by the loudest sound of the whole recording
            o["clips"] = stamps
        Request.of(o)
        return cls(arguments, config, o, layout, output_dir, formats, **job)

    def paths(self, recording: Recording) -> list[Path]:
        return [self.output_dir / f"{recording.stem}.{format}" for format in self.formats]


def _ladder(first: float, step: float | None) -> tuple[float, ...]:
    if step is None:
        return (first,)
    # openai/whisper transcribe.py:cli; its very floats, since they are written to the json files
    return tuple(float(t) for t in np.arange(first, 1.0 + 1e-6, step)) or (first,)


def work(job: Job) -> int:
    """Transcribe all that was asked for, say on the screen what happens, and return the exit code."""
    screen = Screen(quiet=job.quiet)
    start_log(job.config, screen.write)
    recordings, refused, notes = find(job.arguments)
    for line in notes:
        screen.note(line)
    exits = [_report(screen, one.name, one.error) for one in refused]
    recordings = list(_unfinished(job, screen, recordings))
    if not recordings:
        return worst(exits)
    if job.formats:
        _check_folder(job.output_dir)
    _warn(job, screen)
    with screen.fetching(job.config.model) as on_download:
        model = Whisper(config=job.config, on_download=on_download)
    if job.verbose:
        screen.note(f"{model.name} ({model.files.form} from {model.files.source}) on {model.choice.reason}")
    run = Run(job, screen, recordings, _for_model(job, screen, model))
    try:
        exits += run.all(model)
    except Stopped as stopped:
        stopped.add_note(f"{run.n_done} of {len(recordings)} recordings were done")
        raise
    if screen.stdout_gone and not job.formats:
        exits.append(Exit.PIPE)
    return worst(exits)


class Run:
    """The recordings of a job on their way. Text comes out in the order in which they were given, whoever is faster."""

    def __init__(self, job: Job, screen: Screen, recordings: list[Recording], options: dict[str, Any]) -> None:
        self.job = job
        self.screen = screen
        self.recordings = recordings
        self.options = options
        self.n_done = 0
        self.pace = Pace(len(recordings), Request.of(options).options.clips, screen.clock)
        self._heard: dict[int, Heard] = {}
        self._turn = 0  # whose text is being printed
        self._headed = -1  # whose text has its name above it
        self._waiting: dict[int, list[str]] = {}  # text of those whose turn has not come
        self._ended: set[int] = set()

    def all(self, model: Whisper) -> list[Exit]:
        """Drive every recording to its end; the exit codes of those that failed."""
        exits = []
        sources = ((i, recording.source) for i, recording in enumerate(self.recordings))
        with self.screen.transcribing(self.pace) as tell:
            events = model.transcribe_each(sources, **self.options)
            for i, event in events:
                if isinstance(event, Opened):
                    self.pace.opened(i, event.duration_s)
                elif isinstance(event, Heard):
                    self._heard[i] = event
                elif isinstance(event, Known):
                    self.pace.at(i, event.position_s)
                    self._print(i, event.segments)
                else:
                    exits += self._end(i, event)
                tell()
                if self.screen.stdout_gone and not self.job.formats:
                    break  # nobody is left who wants it
        if len(self.recordings) > 1 and self.pace.done_s:
            speed = f"{self.pace.done_s / self.pace.elapsed_s:.1f} x real time"
            what = f"{self.n_done} of {len(self.recordings)} recordings, {hms(self.pace.done_s)} of sound"
            self.screen.note(f"{what} in {hms(self.pace.elapsed_s)} ({speed})")
        return exits

    def _end(self, i: int, done: Done) -> list[Exit]:
        recording = self.recordings[i]
        self._ended.add(i)
        self._turn_over()
        if done.error is not None:
            self.pace.failed(i)
            return [_report(self.screen, recording.name, done.error)]
        assert done.transcript is not None, "a flow without error has a transcript"
        self.pace.ended(i)
        try:
            self._write(recording, done.transcript)
        except OutputError as e:
            return [_report(self.screen, recording.name, e)]
        self.n_done += 1
        self.screen.note(self._summary(i, done.transcript))
        return []

    def _write(self, recording: Recording, transcript: Transcript) -> None:
        for path, format in zip(self.job.paths(recording), self.job.formats, strict=True):
            _make_folder(path.parent)
            transcript.write(path, format, self.job.layout)

    def _summary(self, i: int, transcript: Transcript) -> str:
        language = LANGUAGES.get(transcript.language, transcript.language).title()
        if transcript.language_probability < 1:
            language += f" ({transcript.language_probability:.0%} sure)"
        recording = self.recordings[i]
        where = ""
        if self.job.formats:
            suffixes = ",".join(self.job.formats)
            stem = self.job.output_dir / recording.stem
            where = f" -> {stem}.{suffixes}" if len(self.job.formats) == 1 else f" -> {stem}.{{{suffixes}}}"
        return f"{recording.name}: {hms(transcript.duration)}, {language}{where}"

    # --- text -------------------------------------------------------------------------------------------------------

    def _print(self, i: int, segments: tuple[Segment, ...]) -> None:
        if self.job.verbose and segments:
            self._waiting.setdefault(i, []).extend(self._line(segment) for segment in segments)
            self._turn_over()

    def _line(self, segment: Segment) -> str:
        if not self.screen.read_by_person:
            return segment.text.strip()
        return f"[{format_timestamp(segment.start)} --> {format_timestamp(segment.end)}] {segment.text}"

    def _turn_over(self) -> None:
        """Print what waits of the one whose turn it is, and of the next ones if it has ended."""
        while self._turn < len(self.recordings):
            lines = self._waiting.pop(self._turn, [])
            if lines and len(self.recordings) > 1 and self._headed != self._turn:
                self._headed = self._turn
                self.screen.note(f"--- {self.recordings[self._turn].name}")
            for line in lines:
                self.screen.text(line)
            if self._turn not in self._ended:
                return
            self._turn += 1


def _report(screen: Screen, name: str, error: Exception) -> Exit:
    screen.error(said(error, name))
    return exit_of(error)


def _unfinished(job: Job, screen: Screen, recordings: list[Recording]) -> Iterator[Recording]:
    """Those that --resume does not skip."""
    n_skipped = 0
    for recording in recordings:
        if job.resume and job.formats and _is_finished(job, recording):
            n_skipped += 1
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


def _for_model(job: Job, screen: Screen, model: Whisper) -> dict[str, Any]:
    """The options as this model can honour them: one that knows English only takes English, and says so."""
    language = job.options["language"]
    if model.is_multilingual or language in (None, "en"):
        return job.options
    screen.note(f"warning: {model.name} knows English only, but --language {language} was given; using English")
    return job.options | {"language": "en"}


def _check_folder(folder: Path) -> None:
    """Make the output folder, and write to it, now rather than after an hour's work. Raises OutputError."""
    _make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise OutputError(
            f"{folder}: the output folder cannot be written ({e.strerror}); choose another with --output-dir"
        ) from e


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        in_the_way = isinstance(e, FileExistsError | NotADirectoryError)
        what = "a file is in the way, a folder was expected" if in_the_way else f"cannot be made ({e.strerror})"
        raise OutputError(f"{folder}: {what}; choose another with --output-dir") from e
