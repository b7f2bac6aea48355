"""`sottovoce render`: transcripts that were written as json, in other formats and by other rules. Decodes nothing."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sottovoce.cli.exits import Exit, exit_of, said, worst
from sottovoce.cli.layout import SUFFIXES, Formats, formats_of, layout_of, subtitle_rules, whispers_layout
from sottovoce.cli.options import Language
from sottovoce.errors import OptionError

if TYPE_CHECKING:
    from sottovoce.text.formats import Transcript
    from sottovoce.text.layout import Layout

STANDARD = "-"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@click.option(
    "--output-format", "-f", type=Formats(), default="srt", show_default=True,
    help="txt, vtt, srt, tsv, json, ass, lrc, csv, md; several with commas between; all: the first five, as whisper's",
)  # fmt: skip
@click.option(
    "--output-dir", "-o", type=click.Path(allow_dash=True), default=None,
    help="folder for the files; -: the standard output. Left out: this folder; the standard output, where FILE is -",
)  # fmt: skip
@click.option("--language", "-l", type=Language(), default=None, help="whose rules hold; left out: what FILE says")
@subtitle_rules
@whispers_layout
def render(files: tuple[str, ...], **given: Any) -> int:
    """Write transcripts in other formats, and subtitles by other rules, without decoding again.

    FILE is a json file of sottovoce's, of whisper's, or an answer of OpenAI's API (verbose_json, diarized_json); -
    is the standard input. Where FILE has times of words, subtitles follow them; else the time of each segment is
    shared out among its characters.

    \b
      sottovoce render talk.json -f srt,vtt --subtitles broadcast
      sottovoce render talk.json -f ass --word-cues -o - > karaoke.ass
      curl ... -F response_format=verbose_json | sottovoce render - -f md
    """
    formats = formats_of(given.pop("output_format"))
    layout = layout_of(given, formats)
    places = _places(files, formats, given["output_dir"])
    if given["output_dir"] not in (None, STANDARD):
        from sottovoce.cli.job import make_folder

        make_folder(Path(given["output_dir"]))
    exits: list[Exit] = []
    for file, paths in zip(files, places, strict=True):
        try:
            transcript = _read(file)
            if given["language"]:
                code = given["language"].partition("-")[0]  # rules are a language's, in whichever characters
                transcript = replace(transcript, language=code)
            _write(transcript, formats, paths, layout)
        except Exception as e:  # one that fails does not touch the others
            click.echo(f"sottovoce: {said(e, _name(file))}", err=True)
            exits.append(exit_of(e))
    return worst(exits)


def _places(files: tuple[str, ...], formats: tuple[str, ...], folder: str | None) -> list[list[Path | None]]:
    """Where each file's formats go; None: the standard output. Raises UsageError, OptionError."""
    if files.count(STANDARD) > 1:
        raise click.UsageError("- was given twice, the standard input can be read once; leave one out")
    places: list[list[Path | None]] = []
    taken: set[str] = set()
    for file in files:
        if folder == STANDARD or (folder is None and file == STANDARD):
            places.append([None for _ in formats])
            continue
        stem = "stdin" if file == STANDARD else os.path.splitext(os.path.basename(file))[0]
        free, n = stem, 1
        while free.casefold() in taken:
            n += 1
            free = f"{stem}-{n}"
        taken.add(free.casefold())
        paths = [Path(folder or ".") / f"{free}.{SUFFIXES.get(format, format)}" for format in formats]
        for path in paths:
            if any(other != STANDARD and is_same(path, other) for other in files):
                raise OptionError(
                    f"{path}: it would be written over, and it is read; choose another folder with --output-dir"
                )
        places.append([*paths])
    if sum(path is None for paths in places for path in paths) > 1:
        raise click.UsageError(
            "several texts for the standard output, one was expected; name a folder with --output-dir"
        )
    return places


def is_same(path: Path, other: str) -> bool:
    """Both are one file, which is there."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _name(file: str) -> str:
    return "the standard input" if file == STANDARD else file


def _read(file: str) -> Transcript:
    from sottovoce.text.formats import Transcript

    name = _name(file)
    try:
        data = sys.stdin.buffer.read() if file == STANDARD else Path(file).read_bytes()
    except OSError as e:
        raise OptionError(f"{name} cannot be read: {e.strerror or e}; a json file was expected") from e
    try:
        given = json.loads(data)
    except ValueError as e:
        remedy = "transcribe with -f json, or ask an API for verbose_json"
        raise OptionError(f"{name}: it is no json ({e}); {remedy}") from e
    try:
        return Transcript.from_dict(given)
    except OptionError as e:
        raise OptionError(f"{name}: {e}") from e


def _write(transcript: Transcript, formats: tuple[str, ...], paths: list[Path | None], layout: Layout) -> None:
    for format, path in zip(formats, paths, strict=True):
        if path is None:
            sys.stdout.write(transcript.render(format, layout))
        else:
            transcript.write(path, format, layout)
