"""What was typed -> recordings, each with the name of its outputs. Reads folders, opens no recording."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from sottovoce.errors import AudioError

# What is taken out of a folder. A file that is named itself may have any suffix.
SUFFIXES = frozenset(
    "." + suffix
    for line in (
        "3g2 3gp aac ac3 aif aifc aiff amr ape asf au avi caf dts flac flv m2ts m4a m4b m4v mka mkv mov mp2 mp3 mp4",
        "mpeg mpg mpga mts mxf oga ogg ogv opus ra sph spx ts tta vob wav weba webm wma wmv wv",
    )
    for suffix in line.split()
)
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording to be transcribed. name: as messages call it. stem: of its outputs, below the output folder."""

    name: str
    source: str | BinaryIO
    stem: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that was typed and is no recording, and why."""

    name: str
    error: AudioError


def find(arguments: Iterable[str]) -> tuple[list[Recording], list[Refused], list[str]]:
    """The recordings that arguments mean, in their order; what is none; and notes about what was done with names.

    An argument is a file, a folder (searched with all below it), a pattern that the shell did not expand, an http(s)
    URL, or - for the standard input. Outputs are called like the recording, without its suffix; what comes from a
    folder keeps its place below that folder. Where two would share a name, the later one gets a number.
    """
    found: list[Recording] = []
    refused: list[Refused] = []
    notes: list[str] = []
    seen: set[str] = set()
    taken: set[str] = set()
    for argument in arguments:
        try:
            for path, stem in _expand(argument):
                key = path if _is_url(path) or path == STDIN else os.path.realpath(path)
                if key in seen:
                    notes.append(f"{path}: given twice, transcribed once")
                    continue
                seen.add(key)
                free = _free(stem, taken)
                if free != stem:
                    notes.append(f"{path}: another recording is called {stem} too; this one's outputs are {free}.*")
                taken.add(free.casefold())
                name = "standard input" if path == STDIN else _public(path) if _is_url(path) else path
                source = sys.stdin.buffer if path == STDIN else path
                found.append(Recording(name, source, free))
        except AudioError as e:
            refused.append(Refused(argument, e))
    return found, refused, notes


def _expand(argument: str) -> Iterator[tuple[str, str]]:
    """(path, stem) of each recording that an argument means."""
    if argument == STDIN:
        if sys.stdin.isatty():
            raise AudioError(
                "-: the standard input is a terminal, a recording was expected; "
                "send one into it: sottovoce transcribe - < talk.mp3"
            )
        yield STDIN, "stdin"
    elif _is_url(argument):
        try:
            parts = urlsplit(argument)
            yield argument, _stem(parts.path) or parts.hostname or "url"
        except ValueError as e:
            raise AudioError(f"{_public(argument)}: no address that can be read was given; check it ({e})") from e
    elif os.path.isdir(argument):
        yield from _in_folder(argument)
    elif os.path.exists(argument):
        yield argument, _stem(argument)
    elif not glob.has_magic(argument):
        raise AudioError(f"{argument}: there is no such file, a recording was expected; check the path")
    else:
        paths = sorted(path for path in glob.glob(argument, recursive=True) if not os.path.isdir(path))
        if not paths:
            raise AudioError(f"{argument}: no file matches, a recording was expected; check the pattern")
        for path in paths:
            yield path, _stem(path)


def _in_folder(folder: str) -> Iterator[tuple[str, str]]:
    paths = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]
    if not paths:
        raise AudioError(
            f"{folder}: a folder without recordings was given, files such as .wav, .mp3 or .mp4 were expected in it; "
            "name a file itself if it has another suffix"
        )
    for path in sorted(paths):
        yield str(path), str(path.relative_to(folder).with_suffix(""))


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _public(url: str) -> str:
    """A URL without its user and query, which hold secrets."""
    from sottovoce.audio.source import name_of  # PyAV: not loaded where there is no URL

    return name_of(url)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _free(stem: str, taken: set[str]) -> str:
    """The stem, or the stem with the first number that nobody has. Case does not count: on some disks it does not."""
    free, n = stem, 1
    while free.casefold() in taken:
        n += 1
        free = f"{stem}-{n}"
    return free
