"""Keywords and replacements in any usual spelling: lists, dictionaries, text, files. Knows no recording, no model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.text.replacing import rule


def keywords(name: str, given: Any) -> tuple[tuple[str, float], ...]:
    """Terms with their weights: a dictionary, a list of pairs or of terms, or terms with commas; "term:2" has one too.

    A path is a file with a term on each line.
    """
    if given is None:
        return ()
    if isinstance(given, os.PathLike):
        given = list(lines(name, Path(given)))
    if isinstance(given, str):
        given = given.split(",")
    try:
        items = given.items() if isinstance(given, Mapping) else given
        return tuple(_keyword(item) for item in items if not isinstance(item, str) or item.strip())
    except (TypeError, ValueError) as e:
        what = "terms, pairs of a term and its weight, or a dictionary of weights were expected"
        raise OptionError(f"{name}: {given!r} was given, {what}; pass for example ['Sottovoce', 'Ada:2']") from e


def replacements(name: str, given: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of what is replaced, and by what: a dictionary, a list of pairs or of "from=to", the path of such lines.

    Raises OptionError also for a regular expression that is none.
    """
    if given is None:
        return ()
    if isinstance(given, str | os.PathLike):
        given = list(lines(name, Path(given)))
    try:
        items = given.items() if isinstance(given, Mapping) else given
        found = tuple(pair(name, item) for item in items)
    except (TypeError, ValueError) as e:
        what = "pairs, a dictionary, texts 'from=to' or the path of a file of them were expected"
        raise OptionError(f"{name}: {given!r} was given, {what}; pass for example ['colour=color']") from e
    for sought, becomes in found:
        rule(sought, becomes)
    return found


def pair(name: str, given: Any) -> tuple[str, str]:
    """A replacement as it is written: from=to, or /regular expression/=to; or a pair. Raises OptionError."""
    if not isinstance(given, str):
        sought, becomes = given
        return str(sought), str(becomes)
    ends = [i for i in range(len(given)) if given[i] == "="]
    if given.startswith("/"):  # an expression may hold equals signs: it ends at a slash, and flags
        ends = [i for i in ends if given[1:i].rstrip("isx").endswith("/")]
    if not ends or not given[: ends[0]].strip():
        raise OptionError(f"{name}: {given!r} was given, from=to was expected, such as colour=color")
    return given[: ends[0]].strip(), given[ends[0] + 1 :].strip()


def lines(name: str, path: Path) -> Iterator[str]:
    """The lines of a text file without blank ones and comments (#). Raises OptionError if it cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as e:  # a name with a null in it is a ValueError
        what = e.strerror if isinstance(e, OSError) else "it is no UTF-8" if isinstance(e, UnicodeError) else e
        raise OptionError(f"{name}: {path} cannot be read: {what}; pass a text file with an entry on each line") from e
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _keyword(given: Any) -> tuple[str, float]:
    if not isinstance(given, str):
        term, weight = given
        return str(term).strip(), float(weight)
    term, _, weight = given.rpartition(":")
    try:
        if any(c.isalpha() for c in term):
            return term.strip(), float(weight)
    except ValueError:
        pass
    return given.strip(), 1.0  # a colon of its own, as in 12:30
