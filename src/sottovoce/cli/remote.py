"""Recordings sent to a server: ours, which tells everything as it becomes known, or any that speaks OpenAI's API.

Imports neither sound nor models, so that a command whose server is warm answers in a fraction of a second.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from sottovoce.cli.answers import all_at_once, failure, openai_fields, parsed, said
from sottovoce.errors import AudioError, ServerError
from sottovoce.flow.protocol import Done, Event
from sottovoce.text.formats import Transcript

K = TypeVar("K")
Source = str | BinaryIO

CONNECT_S = 10.0
ANSWER_S = 60.0  # of a sottovoce, which sends a sign of life every few seconds
PATIENCE_S = 6 * 3600.0  # of another server, which is silent until all is done
BLOCK_BYTES = 1 << 18
N_TOGETHER = 4  # recordings that are sent at the same time
N_TRIES = 5  # where a server has no room now
WAIT_S = 30.0  # at most, between two tries


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. unix: the path of its socket, else host and port. path: what stands before /v1."""

    host: str
    port: int = 80
    tls: bool = False
    path: str = ""
    unix: str | None = None

    @classmethod
    def of(cls, given: str) -> Address:
        """http(s)://HOST:PORT/PATH, HOST:PORT, or unix:PATH. Raises ServerError."""
        if given.startswith("unix:"):
            return cls("localhost", unix=given.removeprefix("unix:").removeprefix("//"))
        parts = urlsplit(given if "://" in given else f"http://{given}")
        try:
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerError(
                f"server: {given!r} was given, an address was expected; pass for example http://HOST:8000"
            )
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/").removesuffix("/v1"))

    def __str__(self) -> str:
        if self.unix:
            return f"unix:{self.unix}"
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.path}"

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """An open connection, whose answers may take so long. Raises OSError."""
        if self.unix:
            connection = http.client.HTTPConnection("localhost")
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(CONNECT_S)
            connection.sock.connect(self.unix)
        else:
            kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
            connection = kind(self.host, self.port, timeout=CONNECT_S)
            connection.connect()
        connection.sock.settimeout(timeout_s)
        return connection


class Gone(ServerError):
    """A server that was there has ended, before it began with what it was asked for."""


class Busy(Exception):
    """A server has no room now. told: what is said if it has none later either."""

    def __init__(self, told: Exception, wait_s: float) -> None:
        super().__init__(str(told))
        self.told, self.wait_s = told, wait_s


class Remote:
    """A server that transcribes. revive: gives another address where the server has gone; None: there is no other."""

    def __init__(
        self, address: Address, api_key: str | None, model: str, revive: Callable[[], Address] | None = None
    ) -> None:
        self.address, self.model = address, model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._revive = revive
        self.is_ours = revive is not None  # known without being asked

    def greet(self) -> str:
        """Who it is. Raises ServerError if nobody is there, or lets us in."""
        try:
            with closing(self.address.connect(ANSWER_S)) as connection:
                connection.request("GET", self.address.path + "/v1/transcripts", headers=self._headers)
                response = connection.getresponse()
                given = parsed(response.read())
        except (OSError, http.client.HTTPException) as e:
            raise _unreachable(self.address, e) from e
        self.is_ours = response.status == 200 and "sottovoce" in given
        if response.status in (401, 403, 429) or response.status >= 500:
            raise failure(response.status, given, str(self.address))
        return f"sottovoce {given['sottovoce']}" if self.is_ours else "a server that speaks OpenAI's API"

    def transcribe_each(self, sources: Iterable[tuple[K, Source]], **options: Any) -> Iterator[tuple[K, Event | Done]]:
        """As `Whisper.transcribe_each`, on the server."""
        every = list(sources)
        told: SimpleQueue[tuple[K, Event | Done]] = SimpleQueue()

        def send(key: K, source: Source) -> None:
            for event in self._ended(source, options):
                told.put((key, event))

        with ThreadPoolExecutor(max(1, min(N_TOGETHER, len(every))), "sottovoce-sender") as senders:
            for key, source in every:
                senders.submit(send, key, source)
            n_left = len(every)
            while n_left:
                key, event = told.get()
                n_left -= isinstance(event, Done)
                yield key, event

    def _ended(self, source: Source, options: Mapping[str, Any]) -> Iterator[Event | Done]:
        """The events of a recording, and its end, whatever it is."""
        try:
            transcript = None
            for event in self._tried(source, options):
                if isinstance(event, Transcript):
                    transcript = event
                else:
                    yield event
            if transcript is None:
                raise ServerError(
                    f"{self.address}: the answer ended too early; look into the server's log, or try again"
                )
            yield Done(transcript=transcript)
        except (OSError, http.client.HTTPException) as e:
            yield Done(error=ServerError(f"{self.address}: the connection broke ({e or type(e).__name__}); try again"))
        except Exception as e:
            yield Done(error=e)

    def _tried(self, source: Source, options: Mapping[str, Any]) -> Iterator[Event | Transcript]:
        """Again where a server has gone, or has no room now, as long as nothing was said and the recording can be."""
        for n in range(1, N_TRIES + 1):
            begun = False
            try:
                for event in self._sent(source, options):
                    begun = True
                    yield event
                return
            except Gone:
                if begun or n == N_TRIES or self._revive is None or not isinstance(source, str):
                    raise
                self.address = self._revive()
            except Busy as e:
                if begun or n == N_TRIES or not isinstance(source, str):
                    raise e.told from None
                time.sleep(min(e.wait_s, WAIT_S))

    def _sent(self, source: Source, options: Mapping[str, Any]) -> Iterator[Event | Transcript]:
        if self.is_ours:
            path, fields = "/v1/transcripts", [("options", json.dumps(_sendable(options))), ("model", self.model)]
        else:
            path, fields = openai_fields(options, self.model)
        with closing(self._asked(path, fields, source)) as response:
            if response.status != 200:
                given = parsed(response.read())
                error = failure(response.status, given, str(self.address))
                if self._revive is not None and "server_ending" in str(given):
                    time.sleep(0.1)
                    raise Gone(str(error))
                wait = response.headers.get("Retry-After", "")
                if response.status in (429, 503) and wait.isdigit():
                    raise Busy(error, float(wait))
                raise error
            if self.is_ours:
                for line in response:
                    if line.strip():
                        yield said(line, str(self.address))
                return
            yield from all_at_once(Transcript.from_dict(parsed(response.read())))

    def _asked(self, path: str, fields: list[tuple[str, str]], source: Source) -> http.client.HTTPResponse:
        edge = secrets.token_hex(16)
        name = Path(source).name if isinstance(source, str) else "stdin"
        head = "".join(
            f'--{edge}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n' for field, value in fields
        )
        name = name.encode("ascii", "replace").decode().replace('"', "'").replace("\n", " ").replace("\r", " ")
        head += f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        first, last = (head + "Content-Type: application/octet-stream\r\n\r\n").encode(), f"\r\n--{edge}--\r\n".encode()
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={edge}"}
        with _opened(source) as (file, size):
            if size is None:
                headers["Transfer-Encoding"] = "chunked"
            else:
                headers["Content-Length"] = str(len(first) + size + len(last))
            try:
                connection = self.address.connect(ANSWER_S if self.is_ours else PATIENCE_S)
            except OSError as e:
                raise _unreachable(self.address, e) from e
            try:
                body = _blocks(first, file, last)
                connection.request("POST", self.address.path + path, body, headers, encode_chunked=size is None)
            except (BrokenPipeError, ConnectionResetError):
                pass  # maybe it has said why before it hung up
            except BaseException:
                connection.close()
                raise
        try:
            return connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as e:
            connection.close()
            raise Gone(f"{self.address}: the server hung up before it answered; look into its log, or try again") from e


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, int | None]]:
    """A recording as bytes, and how many; None where that shows at its end. Raises AudioError."""
    if not isinstance(source, str):
        yield source, None
        return
    if source.startswith(("http://", "https://")):
        from urllib.request import urlopen  # slow to import, and seldom needed

        try:
            with urlopen(source, timeout=ANSWER_S) as page:
                yield page, None
        except (OSError, http.client.HTTPException) as e:
            raise AudioError(f"{source}: the URL could not be opened ({e}); check it in a browser") from e
        return
    try:
        file = open(source, "rb")  # noqa: SIM115  (closed below; what goes wrong while it is read is no fault of open)
    except OSError as e:
        raise AudioError(f"{source}: cannot be read ({e.strerror}); check the path") from e
    with file:
        size = os.fstat(file.fileno()).st_size
        yield file, size if os.path.isfile(source) else None


def _blocks(first: bytes, file: BinaryIO, last: bytes) -> Iterator[bytes]:
    yield first
    while block := file.read(BLOCK_BYTES):
        yield block
    yield last


def _sendable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON can hold them; recordings of known speakers come along. Raises AudioError."""
    sent = {name: value for name, value in options.items() if value is not None}
    known = sent.pop("known_speakers", None)
    if known:
        pairs = known.items() if isinstance(known, Mapping) else known
        sent["known_speakers"] = {}
        for name, path in pairs:
            with _opened(str(path)) as (file, _):
                sent["known_speakers"][name] = base64.b64encode(file.read()).decode()
    return sent


def _unreachable(address: Address, error: Exception) -> Gone:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Gone(f"{address}: no server answers there ({reason}); start one: sottovoce serve")
