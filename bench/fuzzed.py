"""Recordings damaged in many ways, through the children that decode them or through HTTP. (python -m bench.fuzzed)

Every container and codec that FFmpeg writes here, and playlists that point where they should not, are changed by
chance: bits flipped, bytes drawn, cut short, spliced with another, numbers of the header made extreme, pieces doubled,
taken out or put in. Each must be heard, or be refused by name (4xx): no crash of the server, no hang, no leak, no call
of an inner address. What else becomes of one is kept in --keep, by its number; the same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
from bench import containers

from sottovoce.audio import decode
from sottovoce.audio.apart import Channels
from sottovoce.errors import AudioError, OptionError
from sottovoce.request import Request
from sottovoce.server.failures import RequestError
from sottovoce.server.media import UNKNOWN, Media
from sottovoce.serving import Serving

HEAD_BYTES = 600
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
SLOW_S = 10.0
EVERY = 1000  # inputs between two looks at the memory


def mutants(seeds: dict[str, bytes], n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """n damaged recordings with the names of what was done to which."""
    chance = random.Random(seed)
    names = sorted(seeds)
    for _ in range(n):
        name = chance.choice(names)
        data, done = bytearray(seeds[name]), [name]
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            way = chance.choice(WAYS)
            way(data, chance, seeds)
            done.append(way.__name__)
        yield " ".join(done), bytes(data)


def flip(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    for _ in range(chance.choice((1, 2, 8, 64, 512))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def draw(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    at, n = _piece(data, chance)
    data[at : at + n] = chance.randbytes(n)


def cut(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def behead(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    del data[: chance.randrange(min(len(data), HEAD_BYTES) + 1)]


def splice(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    other = seeds[chance.choice(sorted(seeds))]
    at = chance.randrange(len(data) + 1)
    data[at:] = other[chance.randrange(len(other)) :]


def exaggerate(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    """A number of the header is as large or small as numbers get."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        form = chance.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
        size = struct.calcsize(form)
        top = min(len(data), HEAD_BYTES) - size
        if top > 0:
            at = chance.randrange(top)
            data[at : at + size] = struct.pack(form, chance.choice(EXTREMES) & ((1 << 8 * size) - 1))


def double(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    at, n = _piece(data, chance)
    data[at:at] = data[at : at + n]


def drop(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    at, n = _piece(data, chance)
    del data[at : at + n]


def blank(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    at, n = _piece(data, chance)
    data[at : at + n] = bytes([chance.choice((0, 255))]) * n


def insert(data: bytearray, chance: random.Random, seeds: dict[str, bytes]) -> None:
    at, n = _piece(data, chance)
    data[at:at] = chance.randbytes(n)


WAYS: tuple[Callable[[bytearray, random.Random, dict[str, bytes]], None], ...] = (
    *(flip, flip, draw, cut, behead, splice, exaggerate, exaggerate, exaggerate, double, drop, blank, insert),
)


def _piece(data: bytearray, chance: random.Random) -> tuple[int, int]:
    at = chance.randrange(len(data) + 1)
    return at, min(len(data) - at, chance.choice((1, 4, 16, 256, 4096)))


# --- where they go ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """What became of all. bad: what should not be, by input."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    bad: list[str] = field(default_factory=list)
    memory_mb: list[tuple[int, float, float]] = field(default_factory=list)  # after so many: here, the largest child


Ask = Callable[[Path], Awaitable[str]]


async def of_children(media: Media, path: Path, request: Request) -> str:
    """How a child of the pool answers: "200", or a refusal. Raises what no recording may cause."""
    try:
        read = await media.read(path, request)
    except RequestError as e:
        if e.kind.status >= 500:
            raise
        return f"{e.kind.status} {e.kind.code}"
    except OptionError:
        return "400 option"
    except AudioError as e:
        if str(e) == UNKNOWN:
            raise
        return "400 crashed" if "crashed" in str(e) else "400 audio"
    sounds = read.sound.sounds if isinstance(read.sound, Channels) else (read.sound,)
    assert all(np.isfinite(sound).all() for sound in sounds)
    return "200"


async def all_of(inputs: Iterator[tuple[str, bytes]], ask: Ask, n_at_once: int, pids: Pids, keep: Path | None) -> Found:
    """Every input asked about, so many at once."""
    found = Found()
    numbered = enumerate(inputs)

    async def work(folder: Path, me: int) -> None:
        path = folder / str(me)
        for i, (name, data) in numbered:
            path.write_bytes(data)
            start = time.monotonic()
            try:
                outcome = await ask(path)
            except Exception as e:
                outcome = f"BAD {type(e).__name__}: {e}"
            took_s = time.monotonic() - start
            found.slowest_s = max(found.slowest_s, took_s)
            found.outcomes[outcome[:60]] += 1
            if outcome.startswith("BAD") or took_s > SLOW_S:
                found.bad.append(f"{i} ({name}): {outcome} after {took_s:.1f} s")
                if keep is not None:
                    (keep / str(i)).write_bytes(data)
            if i % EVERY == 0:
                found.memory_mb.append((i, *pids()))

    with tempfile.TemporaryDirectory() as folder:
        await asyncio.gather(*(work(Path(folder), me) for me in range(n_at_once)))
    return found


Pids = Callable[[], tuple[float, float]]


def rss_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


async def through_children(inputs: Iterator[tuple[str, bytes]], serving: Serving, keep: Path | None) -> Found:
    media = Media(serving)
    await media.open()
    requests = [Request.of({}), Request.of({}), Request.of({"clean": ["denoise"]}), Request.of({"channels": True})]
    chance = random.Random(0)
    try:
        return await all_of(
            inputs,
            lambda path: of_children(media, path, chance.choice(requests)),
            serving.decoders,
            lambda: (rss_mb(os.getpid()), max((rss_mb(pid) for pid in media.pids), default=0.0)),
            keep,
        )
    finally:
        await media.close()


async def through_http(inputs: Iterator[tuple[str, bytes]], model: str, n_at_once: int, keep: Path | None) -> Found:
    with free_port() as sock:
        port = sock.getsockname()[1]
    program = "from sottovoce.cli import main; main()"
    flags = ["--port", str(port), "--model", model, "--max-duration-s", "120", "--log-level", "error"]
    server = subprocess.Popen([sys.executable, "-c", program, "serve", *flags])
    try:
        while True:
            await asyncio.sleep(0.2)
            if server.poll() is not None:
                raise SystemExit("the server did not start")
            try:
                if await asyncio.to_thread(_get, port, "/ready") == 200:
                    break
            except OSError:
                continue

        async def ask(path: Path) -> str:
            status, body = await asyncio.to_thread(_post, port, path.read_bytes())
            if status == 200:
                return "200"
            error = json.loads(body)["error"]
            return f"{'' if 400 <= status < 500 else 'BAD '}{status} {error['code']}"

        found = await all_of(inputs, ask, n_at_once, lambda: (rss_mb(server.pid), _largest_child(server.pid)), keep)
        if server.poll() is not None or await asyncio.to_thread(_get, port, "/health") != 200:
            found.bad.append("the server is gone")
        return found
    finally:
        server.terminate()
        server.wait()


def _largest_child(pid: int) -> float:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return max((rss_mb(int(child)) for each in children for child in each.read_text().split()), default=0.0)


def _get(port: int, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def _post(port: int, data: bytes) -> tuple[int, bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + data + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
        connection.request("POST", "/v1/audio/transcriptions", body, headers)
        response = connection.getresponse()
        return response.status, response.read()


@contextmanager
def free_port() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        yield sock


def calls(sock: socket.socket) -> int:
    """How many have called an address that nobody should call."""
    n = 0
    try:
        while True:
            sock.accept()[0].close()
            n += 1
    except BlockingIOError:
        return n


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.fuzzed", description=__doc__)
    p.add_argument("--n", type=int, default=20_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--http", metavar="MODEL", help="through a server with this model, instead of the children alone")
    p.add_argument("--at-once", type=int, default=2)
    p.add_argument("--keep", type=Path, help="folder for inputs that did what they should not")
    given = p.parse_args(argv)
    logging.basicConfig(level=logging.ERROR)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    clip = decode.load(Path(str(files("sottovoce.audio") / "assets" / "known.ogg")), end_s=1.5)
    with free_port() as trap:
        seeds = containers.corpus((clip * 32767).astype(np.int16), trap.getsockname()[1])
        inputs = mutants(seeds, given.n, given.seed)
        start = time.monotonic()
        if given.http:
            found = asyncio.run(through_http(inputs, given.http, given.at_once, given.keep))
        else:
            serving = Serving(decoders=given.at_once, max_duration_s=120.0, decode_s=60.0)
            found = asyncio.run(through_children(inputs, serving, given.keep))
        n_calls = calls(trap)
    print(
        f"{given.n} inputs of {len(seeds)} seeds in {time.monotonic() - start:.0f} s; slowest {found.slowest_s:.2f} s"
    )
    for outcome, n in found.outcomes.most_common():
        print(f"{n:7d}  {outcome}")
    for i, here, child in found.memory_mb:
        print(f"after {i:6d}: {here:6.1f} MB here, {child:6.1f} MB in the largest child")
    print(f"calls of an inner address: {n_calls}")
    print("\n".join(found.bad) or "nothing that should not be")
    return 1 if found.bad or n_calls else 0


if __name__ == "__main__":
    sys.exit(main())
