"""A real server in a process of its own, on a free port of this machine, for tests that ask it by HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0  # for a model to be loaded while other tests keep the machine busy


@dataclass(frozen=True, slots=True)
class Service:
    """A server that is ready. url: without a slash at its end."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def serving(folder: Path, *flags: str, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """`sottovoce serve` with these flags, until the block ends. folder: where its log goes."""
    log = folder / "serve.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from sottovoce.cli import main; main()", "serve", f"--port={port}", *flags]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})})
    service = Service(f"http://127.0.0.1:{port}", log, process)
    try:
        _await(service)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(service: Service) -> None:
    """Return when it is ready. Raises AssertionError, with its log, if it ends instead, or takes too long."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        assert service.process.poll() is None, service.log.read_text(errors="replace")
        try:
            with urllib.request.urlopen(f"{service.url}/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"it is not ready after {PATIENCE_S} s: {service.log.read_text(errors='replace')}")
