"""A real server as a child process, requests to it, and recordings that differ."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..commands import COMMAND, environ, samples, write_wav

READY_S = 120.0
ANSWER_S = 120.0
PLAIN = '{"temperature": 0, "language": "en"}'  # repeated speech fails a gate, again and again


class Child:
    """A running `sottovoce serve`. log: what it writes."""

    def __init__(self, folder: Path, *arguments: object, model: str = "tiny.en", **more: Any) -> None:
        self.port = free_port()
        self.log = folder / f"serve-{self.port}.log"
        command = [str(COMMAND), "serve", "--port", str(self.port), "--model", model, "--log-level", "info"]
        command += [str(argument) for argument in arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ(), cwd=folder, **more
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> Child:
        until_s = time.monotonic() + READY_S
        while self.get("/ready")[0] != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until_s, self.log.read_text()
            time.sleep(0.05)
        return self

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body); status 0 where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, _headers(response), response.read()
        except OSError:
            return 0, {}, b""
        finally:
            connection.close()

    def post(self, sound: Path, path: str = "/v1/transcripts", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body). Raises OSError, HTTPException where the server goes meanwhile."""
        with self.posted(sound, path, **headers) as response:
            return response.status, _headers(response), response.read()

    @contextmanager
    def posted(self, sound: Path, path: str = "/v1/transcripts", **headers: str) -> Iterator[http.client.HTTPResponse]:
        edge = secrets.token_hex(8)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="options"\r\n\r\n{PLAIN}\r\n'
        head += f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        body = head.encode() + sound.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            given = {"Content-Type": f"multipart/form-data; boundary={edge}", **headers}
            connection.request("POST", path, body, given)
            yield connection.getresponse()
        finally:
            connection.close()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextmanager
def serve(folder: Path, *arguments: object, **more: Any) -> Iterator[Child]:
    """A server that is ready, until the end of the block."""
    child = Child(folder, *arguments, **more)
    try:
        yield child.ready()
    finally:
        if child.process.poll() is None:
            child.process.kill()
        child.process.wait(30)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines() if line.strip()]


def text_of(body: bytes) -> str:
    """The transcript of our own route's lines; words only."""
    last = lines(body)[-1]
    return re.sub(r"[^a-z ]", "", last["transcript"]["text"].strip().lower()) if "transcript" in last else ""


def recording(folder: Path, n: int, repeats: int = 1) -> Path:
    """The known clip, so many times, with a whisper of noise that makes it another recording for each n."""
    sound = np.tile(samples(), repeats).astype(np.float32) / 32768
    sound += np.random.default_rng(n).normal(0, 1e-4, len(sound)).astype(np.float32)
    return write_wav(folder / f"{n}-{repeats}.wav", sound)


def files_open(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
