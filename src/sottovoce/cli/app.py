"""The command `sottovoce`: its parts, and how every run ends. Knows no flag of theirs."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from sottovoce import __version__
from sottovoce.cli.align import align
from sottovoce.cli.completion import completion
from sottovoce.cli.diarize import diarize
from sottovoce.cli.doctor import doctor
from sottovoce.cli.exits import MEANINGS, Exit, Stopped, exit_of, said
from sottovoce.cli.keys import keys
from sottovoce.cli.models import models
from sottovoce.cli.options import CONTEXT
from sottovoce.cli.render import render
from sottovoce.cli.serve import serve
from sottovoce.cli.stay import resident
from sottovoce.cli.top import top
from sottovoce.cli.transcribe import transcribe

log = logging.getLogger(__name__)

EXITS = "\b\nExit codes:\n" + "\n".join(f"  {code:3d}  {meaning}" for code, meaning in MEANINGS.items())


@click.group("sottovoce", context_settings=CONTEXT, epilog=EXITS)
@click.version_option(__version__, prog_name="sottovoce", message="%(prog)s %(version)s")
def cli() -> None:
    """OpenAI's Whisper on your own machine: recordings become text.

    \b
      sottovoce transcribe talk.mp3                  text here, and talk.txt, .srt, .vtt, .tsv, .json
      sottovoce transcribe talk.mp3 -f none | less   text only
      sottovoce align talk.mp3 talk.txt              times for a text that is there already
      sottovoce doctor                               is everything there?

    Every setting is also a variable: SOTTOVOCE_MODEL, SOTTOVOCE_DEVICE, ... Flags win.
    """


cli.add_command(transcribe)
cli.add_command(render)
cli.add_command(diarize)
cli.add_command(align)
cli.add_command(serve)
cli.add_command(keys)
cli.add_command(resident)
cli.add_command(top)
cli.add_command(models)
cli.add_command(doctor)
cli.add_command(completion)


def main() -> NoReturn:
    """Run the command line, and end the process with the code that says how it went."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as nohup, or a shell's &, wants it
            signal.signal(signum, _stop)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed: nor shall a file of ours be opened in its place
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows another, and goes on
    try:
        code = run()
    except Stopped as e:
        _leave(e)
    except BrokenPipeError:
        code = Exit.PIPE
    try:
        sys.stdout.flush()
    except (
        OSError
    ):  # its reader has left, or its disk is full, and the command knew; nor shall the interpreter's own flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line (None: what the process was given) and return its exit code."""
    out = sys.stdout
    try:
        code = cli.main(arguments, prog_name="sottovoce", standalone_mode=False)
    except NoArgsIsHelpError as e:
        e.show()
        return Exit.USAGE
    except click.ClickException as e:
        context = getattr(e, "ctx", None)
        hint = f"; see: {context.command_path} --help" if context else ""
        _say(f"{' '.join(e.format_message().split()).removesuffix('.')}{hint}")
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):  # Ctrl-C, where signals were not taken over
        raise Stopped(Exit.INTERRUPTED) from None
    except SystemExit:
        if sys.stdout is not out:  # click wraps it, and leaves, when a pipe breaks
            return Exit.PIPE
        raise
    except Exception as e:
        _say(said(e))
        return exit_of(e)
    return code if isinstance(code, int) else Exit.DONE


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)  # asked twice, the process goes at once
    raise Stopped(Exit.INTERRUPTED if signum == signal.SIGINT else Exit.TERMINATED)


def _leave(stopped: Stopped) -> NoReturn:
    """End now: waiting for the step that the engine is in could take as long as a window."""
    _say("; ".join([str(stopped), *getattr(stopped, "__notes__", ())]))
    try:
        sys.stdout.flush()
    except OSError as e:
        log.debug("what was left for the standard output is lost: %s", e)
    os._exit(stopped.exit)


def _say(line: str) -> None:
    click.echo(f"sottovoce: {line}", err=True)
