"""Recordings on their way to files and text, whoever transcribes them. Imports no sound, no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from sottovoce.cli.exits import Exit, Stopped
from sottovoce.cli.job import Job, make_folder, report
from sottovoce.cli.layout import SUFFIXES
from sottovoce.cli.pace import Pace, hms
from sottovoce.cli.recordings import Recording
from sottovoce.cli.screen import Screen
from sottovoce.flow.protocol import Done, Event, Heard, Known, Opened
from sottovoce.request import Request
from sottovoce.text.clock import format_timestamp
from sottovoce.text.formats import Transcript
from sottovoce.text.languages import LANGUAGES
from sottovoce.text.turns import labelled
from sottovoce.types import Segment


class Transcriber(Protocol):
    """A Whisper, or a server that has one."""

    def transcribe_each(
        self, sources: Iterable[tuple[int, Any]], **options: Any
    ) -> Iterator[tuple[int, Event | Done]]: ...


def done(run: Run, model: Transcriber) -> list[Exit]:
    """Drive a run to its end; the exit codes of what failed."""
    try:
        exits = run.all(model)
    except Stopped as stopped:
        stopped.add_note(f"{run.n_done} of {len(run.recordings)} recordings were done")
        raise
    if run.screen.stdout_failed:
        exits.append(Exit.OUTPUT)
    elif run.screen.stdout_gone and not run.job.formats:
        exits.append(Exit.PIPE)
    return exits


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

    def all(self, model: Transcriber) -> list[Exit]:
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
            return [report(self.screen, recording.name, done.error)]
        assert done.transcript is not None, "a flow without error has a transcript"
        self.pace.ended(i)
        try:
            self._write(recording, done.transcript)
        except Exception as e:  # also a bug of ours must not keep the other recordings from being done
            return [report(self.screen, recording.name, e)]
        self.n_done += 1
        self.screen.note(self._summary(i, done.transcript))
        return []

    def _write(self, recording: Recording, transcript: Transcript) -> None:
        for path, format in zip(self.job.paths(recording), self.job.formats, strict=True):
            make_folder(path.parent)
            transcript.write(path, format, self.job.layout)

    def _summary(self, i: int, transcript: Transcript) -> str:
        language = _spoken(transcript)
        recording = self.recordings[i]
        lost_s = sum(d.end - d.start for d in transcript.dropped)
        lost = f", {lost_s:.1f} s of speech without words" if lost_s else ""
        where = ""
        if self.job.formats:
            suffixes = ",".join(SUFFIXES.get(format, format) for format in self.job.formats)
            stem = self.job.output_dir / recording.stem
            where = f" -> {stem}.{suffixes}" if len(self.job.formats) == 1 else f" -> {stem}.{{{suffixes}}}"
        return f"{recording.name}: {hms(transcript.duration)}, {language}{lost}{where}"

    # --- text -------------------------------------------------------------------------------------------------------

    def _print(self, i: int, segments: tuple[Segment, ...]) -> None:
        if self.job.verbose and segments:
            self._waiting.setdefault(i, []).extend(self._line(segment) for segment in segments)
            self._turn_over()

    def _line(self, segment: Segment) -> str:
        if not (self.screen.read_by_person or self.job.times):
            return labelled(segment.text.strip(), segment.speaker)
        times = f"[{format_timestamp(segment.start)} --> {format_timestamp(segment.end)}]"
        return f"{times} {labelled(segment.text, segment.speaker)}"

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


def _spoken(transcript: Transcript) -> str:
    """Which language is spoken, how sure that is; of a recording that switches, how much of each."""
    if len(transcript.languages) > 1:
        return ", ".join(f"{_name(code)} {share:.0%}" for code, share in transcript.languages.items())
    sure = transcript.language_probability
    return _name(transcript.language) + (f" ({sure:.0%} sure)" if sure < 1 and not transcript.languages else "")


def _name(code: str) -> str:
    return LANGUAGES.get(code, code).title()
