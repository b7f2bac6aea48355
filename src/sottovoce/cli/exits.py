"""How a run ends: the one table from errors to exit codes, and the one line that is said about each error."""

from __future__ import annotations

import logging
import traceback
from enum import IntEnum

from sottovoce.errors import (
    AudioError,
    ConfigError,
    EngineError,
    ModelError,
    OptionError,
    OutputError,
    ServerError,
    SottovoceError,
)


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    BUG = 1
    USAGE = 2
    AUDIO = 3
    MODEL = 4
    OUTPUT = 5
    ENGINE = 6
    UNFIT = 7
    SERVER = 8
    INTERRUPTED = 130  # 128 + SIGINT, as shells count
    PIPE = 141  # 128 + SIGPIPE
    TERMINATED = 143  # 128 + SIGTERM


MEANINGS = {
    Exit.DONE: "all is done",
    Exit.BUG: "a bug of sottovoce's own",
    Exit.USAGE: "an argument, an option or a SOTTOVOCE_* variable cannot be honoured",
    Exit.AUDIO: "a recording cannot be read, or holds no sound",
    Exit.MODEL: "a model is unknown, damaged, or no source serves it",
    Exit.OUTPUT: "a file cannot be written",
    Exit.ENGINE: "the engine failed: memory, device",
    Exit.UNFIT: "sottovoce doctor found something that fails",
    Exit.SERVER: "a server cannot be reached, or does not serve this",
    Exit.INTERRUPTED: "stopped by Ctrl-C; what was finished stays",
    Exit.PIPE: "whoever read the standard output has left",
    Exit.TERMINATED: "stopped by SIGTERM; what was finished stays",
}

# Subclasses stand under their base: a DownloadError is a ModelError.
TABLE: tuple[tuple[type[SottovoceError], Exit], ...] = (
    (OptionError, Exit.USAGE),
    (ConfigError, Exit.USAGE),
    (AudioError, Exit.AUDIO),
    (ModelError, Exit.MODEL),
    (OutputError, Exit.OUTPUT),
    (EngineError, Exit.ENGINE),
    (ServerError, Exit.SERVER),
)


class Stopped(BaseException):
    """A signal asked the run to end. exit: its code. Whoever unwinds may add_note() what was finished."""

    def __init__(self, exit: Exit) -> None:
        super().__init__(MEANINGS[exit])
        self.exit = exit


def exit_of(error: BaseException) -> Exit:
    """The exit code of an error."""
    return next((code for kind, code in TABLE if isinstance(error, kind)), Exit.BUG)


def worst(exits: list[Exit]) -> Exit:
    """The code of a run whose parts ended in several ways: a bug before all else, then the highest."""
    return Exit.BUG if Exit.BUG in exits else max(exits, default=Exit.DONE)


def said(error: BaseException, name: str | None = None) -> str:
    """What a person is told: one line for what he can mend, all there is to know for a bug of ours.

    name: the recording or model at which it happened, unless the message names it itself.
    """
    if isinstance(error, SottovoceError):
        line = " ".join(str(error).split())
        if name is not None and name not in line:
            line = f"{name}: {line}"
        if logging.getLogger("sottovoce").isEnabledFor(logging.DEBUG):
            line += "\n" + "".join(traceback.format_exception(error)).rstrip()
        return line
    trace = "".join(traceback.format_exception(error)).rstrip()
    where = f"{name}: " if name is not None else ""
    return f"{where}this is a bug in sottovoce, please report it with these lines\n{trace}"
