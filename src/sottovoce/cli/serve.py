"""`sottovoce serve`: the service, until it is told to stop."""

from __future__ import annotations

import errno
import logging
import os
import socket
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from sottovoce import __version__
from sottovoce.cli.options import settings
from sottovoce.errors import ConfigError
from sottovoce.serving import Serving, read_settings

if TYPE_CHECKING:
    import uvicorn

    from sottovoce.config import Config

PIP = "pip install 'sottovoce[server]'"
BACKLOG = 2048  # connections that the system keeps until they are accepted; as uvicorn's
OF_CONFIG = (
    *("model", "revision", "model_dir", "sources", "offline", "device", "compute", "kv", "threads", "rows"),
    *("memory_gb", "idle_s", "preload", "pins", "skip_warm_up", "log_level"),
)


def serving_flags(command: Any) -> Any:
    """A flag for every field of Serving."""
    for f in reversed(fields(Serving)):
        shown = "" if f.default in ("", False) else f"  [default: {_plain(f.default)}]"
        more: dict[str, Any] = {"is_flag": True} if isinstance(f.default, bool) else {"type": type(f.default)}
        flag = f"--{f.name.replace('_', '-')}"
        command = click.option(flag, f.name, default=None, help=f.metadata["help"] + shown, **more)(command)
    return command


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@click.command(options_metavar="[FLAGS]")
@serving_flags
@settings(*OF_CONFIG)
def serve(**given: Any) -> int:
    """Serve OpenAI's audio routes, and others, over HTTP.

    \b
      sottovoce serve --model base
      curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@talk.mp3 -F model=whisper-1

    On this machine no key is needed; beyond it, keys are:

    \b
      sottovoce keys add team-a --keys keys.toml
      sottovoce serve --host 0.0.0.0 --keys keys.toml --tls-cert cert.pem --tls-key key.pem

    Every flag is also a variable (--port: SOTTOVOCE_SERVE_PORT, --model: SOTTOVOCE_MODEL) and a line of the file
    that --config names: the service's in its table [serve], the model's above it. Flags win over variables, and
    variables over the file.
    """
    config, serving = read_settings(os.environ, given)
    try:
        from sottovoce.server import ending, logs
        from sottovoce.server.app import create_app
    except ModuleNotFoundError as e:
        if (e.name or "").startswith("sottovoce"):
            raise
        raise ConfigError(f"serve: the package {e.name} is not installed; the service needs: {PIP}") from e
    logs.start(config.log_level, serving.log_format, __version__)
    listening = _listening(serving)
    try:
        app = create_app(config, serving, __version__, lambda: logs.announce(_greeting(config, serving, listening)))
        _run(
            app,
            ending.Server(_of_uvicorn(app, config, serving), app.state.door, app.state.house.results.end, serving),
            listening,
        )
    finally:
        listening.close()
    return 0


def _run(app: Any, server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve until the end. Raises what kept the app from starting."""
    logging.getLogger("uvicorn.error").addFilter(lambda _: app.state.failed is None)  # it is told once, and by us
    try:
        server.run(sockets=[listening])
    except SystemExit:  # newer releases of uvicorn leave so when an app does not start
        if app.state.failed is None:
            raise
    if app.state.failed is not None:
        raise app.state.failed


def _of_uvicorn(app: Any, config: Config, serving: Serving) -> uvicorn.Config:
    import uvicorn

    for name in ("tls_cert", "tls_key"):
        path = getattr(serving, name)
        if path and not os.access(path, os.R_OK):
            raise ConfigError(f"{name}: {path} was given, a file that can be read was expected")
    from sottovoce.server.wire import patient

    try:
        made = uvicorn.Config(
            app,
            http=patient(serving.body_idle_s),
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=bool(serving.proxies),
            forwarded_allow_ips=serving.proxies,
            ssl_certfile=serving.tls_cert or None,
            ssl_keyfile=serving.tls_key or None,
        )
        made.load()
    except OSError as e:  # ssl.SSLError is one
        raise ConfigError(f"tls_cert: {serving.tls_cert} cannot be used: {e.strerror or e}; PEM was expected") from e
    return made


def _listening(serving: Serving) -> socket.socket:
    """A socket that listens already, before seconds go into loading a model. Raises ConfigError."""
    host, port = serving.host.strip("[]"), serving.port
    try:
        kind = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        made = socket.create_server((host, port), family=kind, backlog=BACKLOG)
    except OSError as e:
        match e.errno:
            case errno.EADDRINUSE:
                what = f"port: {port} was given, but another program has it; pass another, or 0 for any that is free"
            case errno.EACCES | errno.EPERM:
                what = f"port: {port} was given, which this user may not take; pass one from 1024 on"
            case _:
                what = f"host: {serving.host!r} was given, an address of this machine was expected ({e.strerror or e})"
        raise ConfigError(f"{what}; nothing was started") from e
    made.set_inheritable(False)
    return made


def _greeting(config: Config, serving: Serving, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http{'s' if serving.tls_cert else ''}://{host}:{port}"
    who = "with a key" if serving.has_keys else "everybody, without keys" if serving.is_public else "this machine"
    return f"serving {config.model} on {address} (answers: {who}; routes: {address}/docs; to end: Ctrl-C)"
