"""`sottovoce serve`: the service, until it is told to stop."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import click

from sottovoce import __version__
from sottovoce.cli.options import config_of, settings
from sottovoce.serving import Serving


def serving_flags(command: Any) -> Any:
    """A flag for every field of Serving."""
    for f in reversed(fields(Serving)):
        name = "--" + f.name.replace("_", "-")
        command = click.option(name, f.name, type=type(f.default), default=None, help=f.metadata["help"])(command)
    return command


@click.command(options_metavar="[FLAGS]")
@serving_flags
@settings("model", "model_dir", "sources", "offline", "device", "compute", "threads", "log_level")
def serve(**given: Any) -> int:
    """Serve OpenAI's audio routes, and others, over HTTP.

    \b
      sottovoce serve --model base
      curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@talk.mp3 -F model=whisper-1
    """
    names = {f.name for f in fields(Serving)}
    serving = Serving.from_env(os.environ, **{name: value for name, value in given.items() if name in names})
    config = config_of({name: value for name, value in given.items() if name not in names})
    import uvicorn

    from sottovoce.server import logs
    from sottovoce.server.app import create_app

    logs.start(config.log_level, serving.log_format, __version__)
    app = create_app(config, serving, __version__)
    uvicorn.run(app, host=serving.host, port=serving.port, log_config=None, access_log=False)
    return 0
