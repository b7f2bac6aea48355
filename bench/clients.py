"""Clients of a transcription server, light enough to run beside it: bodies made beforehand, sockets kept open.

A client asks, waits for the answer, and asks again (a closed loop). Knows no server's name.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

BOUNDARY = "sottovoce-bench-7f1c"
TIMEOUT_S = 600.0  # that of OpenAI's clients


@dataclass(frozen=True, slots=True)
class Question:
    """One request, ready to be sent. name: of its clip. duration_s: of its sound."""

    name: str
    duration_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """began_s, took_s: by the clock of this process. status: of HTTP; 0 if there was no answer."""

    name: str
    duration_s: float
    began_s: float
    took_s: float
    status: int
    text: str


@dataclass(slots=True)
class Client:
    """One connection, opened when it is needed."""

    host: str
    port: int
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None, repr=False)

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """(status, body) of a request. Raises OSError, EOFError, ValueError if that is no answer."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self.host, self.port)
            reader, writer = self._streams
            writer.write(data)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
            body = await _body(reader, fields)
            if fields.get("connection", "").lower() == "close":
                await self.close()
            return int(first.split()[1]), body
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def question(name: str, path: Path, duration_s: float, address: str, route: str, fields: dict[str, str]) -> Question:
    """A multipart request with a file, as OpenAI's clients send it."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = "".join(parts).encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {route} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nAuthorization: Bearer bench\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Question(name, duration_s, head.encode() + body)


async def ask_in_turn(address: str, questions: Sequence[Question], n_clients: int, seconds: float) -> list[Answered]:
    """What clients were answered who asked for so many seconds; whoever has asked then is waited for.

    Every client begins at another question, and all go through them in one shuffled order.
    """
    order = list(questions)
    random.Random(1).shuffle(order)
    until_s = time.perf_counter() + seconds
    found: list[Answered] = []

    async def one(client: Client, mine: Iterator[Question]) -> None:
        for q in mine:
            if time.perf_counter() >= until_s:
                break
            found.append(await asked(client, q))
        await client.close()

    host, port = where(address)
    firsts = [i * len(order) // n_clients for i in range(n_clients)]
    await asyncio.gather(*(one(Client(host, port), cycle(order[i:] + order[:i])) for i in firsts))
    return found


async def asked(client: Client, q: Question) -> Answered:
    """The answer to a question, or that there was none."""
    began_s = time.perf_counter()
    try:
        status, body = await asyncio.wait_for(client.ask(q.data), TIMEOUT_S)
        text = said(body) if status == 200 else body[:300].decode("utf-8", "replace")
    except (OSError, EOFError, ValueError, TimeoutError) as e:
        status, text = 0, f"{type(e).__name__}: {e}"
    return Answered(q.name, q.duration_s, began_s, time.perf_counter() - began_s, status, text)


def said(body: bytes) -> str:
    """The text of an answer in JSON; of one in another form, all of it."""
    try:
        found = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
    return str(found["text"]) if isinstance(found, dict) and "text" in found else ""


async def probe(address: str, every_s: float, done: asyncio.Event) -> tuple[list[float], list[float]]:
    """(seconds until /health answers, seconds by which this loop itself woke too late), again and again until done."""
    host, port = where(address)
    client, took, late = Client(host, port), [], []
    request = f"GET /health HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n\r\n".encode()
    while not done.is_set():
        began = time.perf_counter()
        await client.ask(request)
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
        await asyncio.sleep(every_s)
        late.append(time.perf_counter() - began - every_s)
    await client.close()
    return took, late


def where(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return parts.hostname or "127.0.0.1", parts.port or 80


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    if fields.get("transfer-encoding", "").lower() != "chunked":
        raise ValueError(f"an answer of unknown length: {fields}")
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
