"""`sottovoce resident`, and the process that it is about: a server on a socket that it was handed."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from typing import NoReturn

import click

from sottovoce.cli.exits import Exit
from sottovoce.cli.pace import hms


@click.group()
def resident() -> None:
    """The server that `sottovoce transcribe --resident` leaves behind, so that the next command loads no model."""


@resident.command()
def status() -> int:
    """Who runs: process, since when, its log."""
    from sottovoce.cli.resident import residents

    found = residents()
    for one in found:
        click.echo(f"running  pid {one.pid}, for {hms(time.time() - one.since_s)}, {one.socket}, log: {one.log}")
    if not found:
        click.echo("no resident server is running")
    return Exit.DONE


@resident.command()
def stop() -> int:
    """End it now, if it runs; requests that it is answering are answered first."""
    from sottovoce.cli.resident import end, residents

    found = residents()
    for one in found:
        ended = end(one)
        click.echo(f"{'ended' if ended else 'still answers requests'}  pid {one.pid}")
    if not found:
        click.echo("no resident server is running")
    return Exit.DONE


def main() -> NoReturn:
    """Be the server. Argument: the number of an open socket. Standard input: JSON with config, idle_s and socket."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is closed ends its commands, not what stays
    told = json.loads(sys.stdin.buffer.read())
    from sottovoce import __version__
    from sottovoce.cli.resident import forget
    from sottovoce.config import Config
    from sottovoce.server import ending
    from sottovoce.server.app import create_app
    from sottovoce.serving import Serving

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    config = Config(**told["config"])
    most = 1e6  # the user may do so himself
    idle_s = told["idle_s"]
    serving = Serving(cache="none", lazy=True, idle_exit_s=idle_s, max_upload_mb=most, max_duration_s=most)
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        try:
            app = create_app(config, serving, __version__)
            ending.run(app, serving, [listening], log_level="warning", log_config=None)
        finally:
            forget(told["socket"])
    logging.shutdown()
    os._exit(0)  # nobody waits for a thread of the engine
