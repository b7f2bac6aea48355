"""`sottovoce align`: a text that is there already gets the times of its recording."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sottovoce.cli.exits import Exit
from sottovoce.cli.job import make_folder
from sottovoce.cli.layout import Formats, formats_of, layout_of, subtitle_rules, whispers_layout
from sottovoce.cli.options import Language, Maybe, config_of, settings, start_log
from sottovoce.cli.pace import Pace, hms
from sottovoce.cli.recordings import Recording, find
from sottovoce.cli.render import is_same
from sottovoce.cli.screen import Screen
from sottovoce.config import Config
from sottovoce.errors import AudioError, OptionError
from sottovoce.text.clock import format_timestamp
from sottovoce.text.formats import Transcript
from sottovoce.text.written import SUFFIXES, lines

if TYPE_CHECKING:
    from sottovoce.api import Whisper

MOST_SHOWN = 5  # passages that were not spoken


@click.command(options_metavar="[FLAGS]")
@click.argument("recording", type=click.Path(allow_dash=True))
@click.argument("text", type=click.Path(allow_dash=True))
@settings("model", "revision", "model_dir", "sources", "offline", "device", "compute")
@settings("kv", "threads", "rows", "memory_share", "encode_windows")
@click.option("--output-dir", "-o", default=".", show_default=True, type=click.Path(), help="folder for the files")
@click.option(
    "--output-format", "-f", type=Formats("none"), default="all", show_default=True,
    help="files to write: txt, vtt, srt, tsv, json, ass, lrc, csv, md; several with commas between; all: the first "
    "five; none: lines on stdout only",
)  # fmt: skip
@click.option("--times", is_flag=True, help="with times, also where stdout is no terminal")
@click.option("--quiet", "-q", is_flag=True, help="nothing on stderr but errors")
@click.option("--language", "-l", type=Language(), default=None, help="code or English name; detected if left out")
@click.option("--stream", type=int, default=0, show_default=True, help="audio stream of the file, counted from 0")
@click.option("--channel", type=int, default=None, help="channel to hear, counted from 0; all are mixed if left out")
@click.option("--beam-size", type=Maybe(int), default=1, show_default=True, help="beams of what is heard first")
@whispers_layout
@subtitle_rules
@settings("log_level")
def align(recording: str, text: str, **given: Any) -> int:
    """Find when each word of a text is spoken in a recording of any length.

    RECORDING is an audio or video file, an http(s) URL, or - for the standard input. TEXT is a text file, each line of
    which becomes a segment, or an srt, vtt or json file, whose texts do; - reads lines from the standard input. The
    text may differ from what is said: what of it nobody spoke is named on stderr and in the json file (missing), and
    so is speech that it lacks (dropped).

    \b
    stdout   the lines; with times if stdout is a terminal
    stderr   progress, notes, errors
    files    <output-dir>/<name of the recording>.<format>, with the times of words
    """
    config = config_of(given)
    screen = Screen(quiet=given.pop("quiet"))
    start_log(config, screen.write)
    (found,), wanted = _recording(recording, text), _read(text)
    formats = formats_of(given.pop("output_format"))
    layout = layout_of(given, formats)
    folder, times = Path(given.pop("output_dir")), given.pop("times")
    paths = _paths(folder, found.stem, formats, text)
    for path in paths.values():
        make_folder(path.parent)
    given["beam_size"] = given["beam_size"] or 1
    transcript = _aligned(config, screen, found, wanted, given)
    for segment in transcript.segments:
        span = f"[{format_timestamp(segment.start)} --> {format_timestamp(segment.end)}] "
        shown = segment.text if times or screen.read_by_person else segment.text.strip()
        screen.text(f"{span if times or screen.read_by_person else ''}{shown}")
    for format, path in paths.items():
        transcript.write(path, format, layout)
    if len(paths) < len(formats):
        screen.note(f"{text}: left as it is, for it is the text that was given")
    _report(screen, found.name, transcript, list(paths.values()))
    if screen.stdout_failed:
        return Exit.OUTPUT
    return Exit.PIPE if screen.stdout_gone and not formats else Exit.DONE


def _recording(recording: str, text: str) -> list[Recording]:
    if recording == text == "-":
        raise click.UsageError("- was given for the recording and for its text, a file was expected for one of them")
    found, refused, _ = find([recording])
    if refused:
        raise refused[0].error
    if len(found) != 1:
        raise AudioError(f"{recording}: {len(found)} recordings were given, one was expected; align them one by one")
    return found


def _paths(folder: Path, stem: str, formats: tuple[str, ...], text: str) -> dict[str, Path]:
    """Where each format goes; never over the text that is read. Raises UsageError, OptionError."""
    if "diarized_json" in formats:
        raise click.UsageError("--output-format diarized_json was given, align knows no speakers; leave it out")
    every = {format: folder / f"{stem}.{format}" for format in formats}
    free = {format: path for format, path in every.items() if text == "-" or not is_same(path, text)}
    if every and not free:
        raise OptionError(f"{text}: it would be written over, and it is read; choose another folder with --output-dir")
    return free


def _read(text: str) -> list[str]:
    """The lines of the text. Raises OptionError if there are none."""
    try:
        data = sys.stdin.buffer.read() if text == "-" else Path(text).read_bytes()
        found = lines(data.decode("utf-8"), Path(text).suffix.lower().removeprefix("."))
    except OSError as e:
        raise OptionError(f"{text}: the text cannot be read ({e.strerror or e}); check the path") from e
    except UnicodeDecodeError as e:
        kinds = ", ".join(f".{suffix}" for suffix in SUFFIXES)
        raise OptionError(f"{text}: no text in UTF-8 was given, {kinds} was expected; the recording comes first") from e
    if not found:
        raise OptionError(f"{text}: an empty text was given, the words of the recording were expected")
    return found


def _aligned(
    config: Config, screen: Screen, recording: Recording, wanted: list[str], options: dict[str, Any]
) -> Transcript:
    from sottovoce.api import Whisper  # the engine: what fails before, fails at once

    with screen.fetching(config.model) as on_download:
        model = Whisper(config=config, on_download=on_download)
    screen.note(f"{model.name} ({model.files.form} from {model.files.source}) on {model.choice.reason}")
    return _driven(model, screen, recording, wanted, options)


def _driven(
    model: Whisper, screen: Screen, recording: Recording, wanted: list[str], options: dict[str, Any]
) -> Transcript:
    pace = Pace(1, (), screen.clock)
    with screen.transcribing(pace) as tell:

        def go_on(position_s: float, duration_s: float) -> None:
            if pace.all_s is None:
                pace.opened(0, duration_s)
            pace.at(0, position_s)
            tell()

        return model.align(recording.source, wanted, on_progress=go_on, **options)


def _report(screen: Screen, name: str, transcript: Transcript, paths: list[Path]) -> None:
    for one in transcript.missing[:MOST_SHOWN]:
        screen.note(f"line {one.line + 1}, at {hms(one.at)}: nobody says {one.text!r}")
    if len(transcript.missing) > MOST_SHOWN:
        screen.note(
            f"{len(transcript.missing) - MOST_SHOWN} more passages of the text are not spoken: see the json file"
        )
    lost_s = sum(d.end - d.start for d in transcript.dropped)
    lost = f", {lost_s:.1f} s of speech are in no line" if lost_s else ""
    where = f" -> {', '.join(map(str, paths))}" if paths else ""
    screen.note(f"{name}: {hms(transcript.duration)}, {len(transcript.segments)} lines{lost}{where}")
