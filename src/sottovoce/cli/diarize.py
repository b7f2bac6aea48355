"""`sottovoce diarize`: who speaks when, without words; and the flags about speakers, which `transcribe` has as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sottovoce.cli.exits import Exit, exit_of, said, worst
from sottovoce.cli.job import make_folder
from sottovoce.cli.options import config_of, settings, start_log
from sottovoce.cli.recordings import find
from sottovoce.cli.screen import Screen
from sottovoce.options import Options
from sottovoce.text.files import write_text
from sottovoce.text.turns import FORMS

F = TypeVar("F", bound=Callable[..., Any])
if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic in newer releases of click only


class Known(_Type):
    """NAME=FILE: what a speaker is called, and where he is heard alone."""

    name = "name=file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, file = value.partition("=")
        if not (equals and name.strip() and file):
            self.fail(f"{value!r} was given, NAME=FILE was expected, such as Anna=anna.wav", param, ctx)
        return name.strip(), file


def speaker_flags(command: F) -> F:
    """How many speakers there are, and who they are."""
    known = "a speaker's name and a recording of him alone, some seconds at least; repeatable"
    for flag in (
        click.option("--known-speaker", "known_speakers", type=Known(), multiple=True, help=known),
        click.option("--max-speakers", type=int, default=None, help="at most so many speakers"),
        click.option("--min-speakers", type=int, default=None, help="at least so many speakers"),
        click.option("--speakers", type=int, default=None, help="so many speakers; as are told apart if left out"),
    ):
        command = flag(command)
    return command


@click.command(options_metavar="[FLAGS]")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@speaker_flags
@click.option("--stream", type=int, default=0, show_default=True, help="audio stream of the file, counted from 0")
@click.option("--channel", type=int, default=None, help="channel to hear, counted from 0; all are mixed if left out")
@click.option(
    "--output-format", "-f", type=click.Choice(tuple(FORMS)), default="rttm", show_default=True,
    help="rttm: NIST's; json: turns, and seconds of each speaker; txt: for people",
)  # fmt: skip
@click.option("--output-dir", "-o", default=None, type=click.Path(), help="folder for files; stdout if left out")
@click.option("--quiet", "-q", is_flag=True, help="nothing on stderr but errors")
@settings("model_dir", "sources", "offline", "threads", "log_level")
def diarize(files: tuple[str, ...], **given: Any) -> int:
    """Tell who speaks when in recordings.

    FILE is what `sottovoce transcribe` takes. Two small networks are fetched at first use, 23 MB, without any account.
    For words with their speakers: sottovoce transcribe --diarize.
    """
    config = config_of(given)
    screen = Screen(quiet=given["quiet"])
    start_log(config, screen.write)
    wishes = {name: given[name] for name in ("speakers", "min_speakers", "max_speakers", "known_speakers")}
    options = Options(diarize=True, **wishes)
    recordings, refused, notes = find(files)
    for line in notes:
        screen.note(line)
    exits: list[Exit] = []
    for one in refused:
        screen.error(said(one.error, one.name))
        exits.append(exit_of(one.error))
    if not recordings:
        return worst(exits)
    from sottovoce.audio import decode  # PyAV and onnxruntime: what fails before, fails at once
    from sottovoce.speakers import Diarizer

    with screen.fetching("the networks that tell speakers apart") as on_download:
        diarizer = Diarizer(config, on_download)
    diarizer.known(options)  # an error of theirs is not each recording's
    form = given["output_format"]
    for recording in recordings:
        try:
            samples = decode.load(recording.source, stream=given["stream"], channel=given["channel"])
            turns = diarizer.of(samples, options)
            text = FORMS[form](turns, recording.stem)
            if given["output_dir"] is None:
                screen.text(text.rstrip("\n")) if text else None
            else:
                path = Path(given["output_dir"]) / f"{recording.stem}.{form}"
                make_folder(path.parent)
                write_text(path, text)
        except Exception as e:  # one that fails does not touch the others
            screen.error(said(e, recording.name))
            exits.append(exit_of(e))
            continue
        n = len({turn.speaker for turn in turns})
        n, m = len({turn.speaker for turn in turns}), len(turns)
        screen.note(f"{recording.name}: {n} speaker{'' if n == 1 else 's'}, {m} turn{'' if m == 1 else 's'}")
        if screen.stdout_gone or screen.stdout_failed:
            break  # nobody is left who wants them
    if screen.stdout_failed:
        exits.append(Exit.OUTPUT)
    elif screen.stdout_gone:
        exits.append(Exit.PIPE)
    return worst(exits)
