"""How flags are spelt and read: whisper's values, models, languages, ranges; the settings of Config. Runs nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from sottovoce.config import COMPUTES, KVS, Config
from sottovoce.errors import OptionError
from sottovoce.options import clean_steps
from sottovoce.text.languages import LANGUAGES, TO_LANGUAGE_CODE, language_tag
from sottovoce.types import Clean

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic in newer releases of click only

F = TypeVar("F", bound=Callable[..., Any])

LEVELS = ("debug", "info", "warning", "error")
# --output_format and --output-format are one flag
CONTEXT: dict[str, Any] = {
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


class Bool(_Type):
    """True or False, as the `whisper` command wants it; the flag alone means True."""

    name = "true|false"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "false": False}
        if value.lower() not in words:
            remedy = "if that is a file, put the files before the flags"
            self.fail(f"{value!r} was given, True or False was expected; {remedy}", param, ctx)
        return words[value.lower()]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _offer(("True", "False"), incomplete)


class Maybe(_Type):
    """A number, or None, which switches a gate off."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind
        self.name = "integer|none" if kind is int else "number|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float | None:
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        try:
            return self.kind(value)
        except ValueError:
            what = "a whole number" if self.kind is int else "a number"
            self.fail(f"{value!r} was given, {what} or None was expected", param, ctx)


class Language(_Type):
    """A language by code or by name."""

    name = "language"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | None:
        try:
            return language_tag(value)
        except OptionError as e:
            self.fail(str(e).removeprefix("language: "), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if incomplete[:1].isupper():
            return _offer(sorted(name.title() for name in TO_LANGUAGE_CODE), incomplete)
        return [CompletionItem(code, help=LANGUAGES[code]) for code in sorted(LANGUAGES) if code.startswith(incomplete)]


class Languages(_Type):
    """Several languages, by comma."""

    name = "languages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        try:
            tags = tuple(dict.fromkeys(language_tag(part) for part in value.split(",") if part.strip()))
        except OptionError as e:
            self.fail(str(e).removeprefix("language: "), param, ctx)
        if not tags or None in tags:
            self.fail(f"{value!r} was given, languages by comma were expected, such as de,en", param, ctx)
        return tuple(tag for tag in tags if tag)


class Cleaning(_Type):
    """Steps of the clean-up, by comma."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Clean, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return clean_steps("clean", value)
        except OptionError as e:
            self.fail(str(e).removeprefix("clean: "), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        done, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{done}{comma}{step}") for step in Clean if step.startswith(last)]


class ModelName(_Type):
    """A model; names of the catalogue complete, then files and folders."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from sottovoce.model.catalogue import CATALOGUE
        from sottovoce.model.networks import NETWORKS

        names = [name for card in CATALOGUE for name in (card.name, *card.aliases)]
        names += [network.name for network in NETWORKS]
        return _offer(names, incomplete) or [CompletionItem(incomplete, type="file")]


class Clip(_Type):
    """START-END in seconds or [hh:]mm:ss, the end after the start; either may be left out."""

    name = "start-end"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float | None]:
        if isinstance(value, tuple):
            return value
        start, dash, end = value.partition("-")
        try:
            if not dash:
                raise ValueError
            first, last = seconds(start) if start else 0.0, seconds(end) if end else None
            if last is not None and last <= first:
                raise ValueError
            return first, last
        except ValueError:
            expected = "START-END in seconds or [hh:]mm:ss was expected, END after START, such as 90-120 or 1:30-2:00"
            self.fail(f"{value!r} was given, {expected}", param, ctx)


def seconds(text: str) -> float:
    """Seconds of 12.5, mm:ss or hh:mm:ss. Raises ValueError for anything else."""
    parts = [float(part) for part in text.split(":")]
    if len(parts) > 3 or any(part < 0 for part in parts) or any(part >= 60 for part in parts[1:]):
        raise ValueError(text)
    total = 0.0
    for part in parts:
        total = total * 60 + part
    return total


def _offer(words: Any, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


# --- settings of the process ----------------------------------------------------------------------------------------

_HELP = {f.name: f.metadata["help"] for f in fields(Config)}
_TYPES: dict[str, Any] = {
    "model": ModelName(),
    "compute": click.Choice(COMPUTES),
    "kv": click.Choice(KVS),
    "log_level": click.Choice(LEVELS),
    "model_dir": click.Path(),
}
_DEFAULTS = {f.name: f.default for f in fields(Config)}
SETTINGS = tuple(_HELP)


def setting(name: str) -> Callable[[F], F]:
    """The flag of a field of Config; what it does is said there."""
    default = _DEFAULTS[name]
    shown = "" if default in (None, False, "") else f"  [default: {default}]"
    more: dict[str, Any] = {"is_flag": True} if isinstance(default, bool) else {}
    if not more:
        more["type"] = _TYPES.get(name, type(default) if isinstance(default, int | float) else str)
    return click.option(f"--{name.replace('_', '-')}", name, default=None, help=_HELP[name] + shown, **more)


def settings(*names: str) -> Callable[[F], F]:
    """The flags of several fields of Config, in this order."""

    def add(command: F) -> F:
        for name in reversed(names):
            command = setting(name)(command)
        return command

    return add


def config_of(given: dict[str, Any]) -> Config:
    """The process's settings: SOTTOVOCE_* variables, and over them the flags, which are taken out of what is given.

    Raises ConfigError.
    """
    flags = {name: given.pop(name) for name in SETTINGS if name in given}
    return Config.from_env(os.environ, **flags)


class _Lines(logging.Handler):
    """Records as lines, through whoever owns the terminal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write
        self.setFormatter(logging.Formatter("sottovoce: %(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        record.levelname = record.levelname.lower()
        self._write(self.format(record))


def start_log(config: Config, write: Callable[[str], None]) -> None:
    """Send the log to stderr, from the configured level on. The one place where logging is set up."""
    logger = logging.getLogger("sottovoce")
    logger.handlers[:] = [_Lines(write)]
    logger.setLevel(config.log_level.upper())
    logger.propagate = False
