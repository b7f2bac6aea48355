"""Clients that hang up at random moments: are slots, permits, tasks and files all back, and is memory flat?

python -m bench.hangups --clients 200 --rounds 5        (a server of its own, in a child process)

A moment is: within the head, within the body, waiting or being decoded, or after the first bytes of a streamed answer.
After each round the server is let come to rest, is looked into, and must answer one whole request rightly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

PAUSE_S = 0.1  # between two looks at a server that is to come to rest
N_LOOKS = 300  # counted, not timed: a machine may stop both for a while
ROUTE = "/v1/audio/transcriptions"
KEY = "of the bench alone"
BOUNDARY = "----------hangup"


@dataclass(frozen=True, slots=True)
class State:
    """What a server holds. memory_mb: resident."""

    n_working: int
    n_waiting: int
    n_asking: int
    n_permits: int
    n_tasks: int
    n_files: int
    n_descriptors: int
    engine_idle: bool
    memory_mb: float

    @property
    def at_rest(self) -> bool:
        held = self.n_working, self.n_waiting, self.n_asking, self.n_files
        return self.engine_idle and held == (0, 0, 0, 0) and self.n_permits <= 1


def look(app: Any, folder: str) -> State:
    """The state of an app, from within its event loop. folder: where its uploads lie."""
    house = app.state.house
    house.turnstile.check()
    entries = house.pool._all()
    loops = [loop for entry in entries if entry.awake for loop in entry.awake.loops._loops]
    with open("/proc/self/statm") as file:
        n_pages = int(file.read().split()[1])
    return State(
        n_working=house.turnstile.n_working,
        n_waiting=house.turnstile.n_waiting,
        n_asking=sum(caller.n_asking for caller in app.state.callers._callers.values()),
        n_permits=sum(entry.n_held for entry in entries),
        n_tasks=len(asyncio.all_tasks()),
        n_files=sum(1 for path in Path(folder).rglob("*") if path.is_file()),
        n_descriptors=len(os.listdir("/proc/self/fd")),
        engine_idle=all(loop.engine.idle and not loop._inbox for loop in loops),
        memory_mb=n_pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
    )


# --- the clients ----------------------------------------------------------------------------------------------------


def request(sound: bytes, streams: bool) -> tuple[bytes, bytes]:
    """(head, body) of a form with a recording."""
    values = {"model": "whisper-1", **({"stream": "true"} if streams else {})}
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in values.items()
    )
    body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.ogg"\r\n\r\n'.encode()
    body += sound + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        "Cache-Control: no-store\r\n"  # each is decoded by itself
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    return head, body


async def hang_up(port: int, sound: bytes, draw: random.Random, longest_s: float) -> str:
    """One client that leaves; gives the moment in which it did."""
    moment = draw.choice(("head", "body", "body", "answer", "answer", "answer", "stream"))
    head, body = request(sound, moment == "stream")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if moment == "head":
            writer.write(head[: draw.randrange(len(head))])
        elif moment == "body":
            writer.write(head + body[: draw.randrange(len(body))])
        else:
            writer.write(head + body)
        await writer.drain()
        if moment == "stream":
            async with asyncio.timeout(longest_s):
                await reader.read(200)
        else:
            await asyncio.sleep(draw.uniform(0, longest_s))
    except (TimeoutError, OSError):
        pass
    finally:
        if draw.random() < 0.5:
            writer.transport.abort()
        writer.close()
    return moment


async def crowd(port: int, sound: bytes, n_clients: int, draw: random.Random, longest_s: float) -> Counter[str]:
    """Many that leave; the moments in which they did."""

    async def one() -> str:
        await asyncio.sleep(draw.uniform(0, longest_s))
        return await hang_up(port, sound, draw, longest_s)

    return Counter(await asyncio.gather(*(one() for _ in range(n_clients))))


# --- the server -----------------------------------------------------------------------------------------------------


def serve(model: str) -> None:
    """A server whose state is told, a line of JSON for each line that it is sent; it ends with its input."""
    import uvicorn

    from sottovoce.config import Config
    from sottovoce.server.app import create_app
    from sottovoce.serving import Serving

    loops: list[asyncio.AbstractEventLoop] = []
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def ready() -> None:
        loops.append(asyncio.get_running_loop())
        print(listening.getsockname()[1], flush=True)

    app = create_app(Config(model=model, device="cpu"), Serving(api_key=KEY), on_ready=ready)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))

    async def state() -> State:
        return look(app, tempfile.gettempdir())

    def answer() -> None:
        for _ in sys.stdin:
            found = asyncio.run_coroutine_threadsafe(state(), loops[0]).result()
            print(json.dumps({name: getattr(found, name) for name in State.__slots__}), flush=True)
        server.should_exit = True

    threading.Thread(target=answer, daemon=True).start()
    server.run(sockets=[listening])


def rested(child: subprocess.Popen[str]) -> State:
    """The state at rest, or what is left of unrest after N_LOOKS."""
    for _ in range(N_LOOKS):
        assert child.stdin and child.stdout
        child.stdin.write("\n")
        child.stdin.flush()
        state = State(**json.loads(child.stdout.readline()))
        if state.at_rest:
            break
        time.sleep(PAUSE_S)
    return state


def heard(port: int, sound: bytes) -> str:
    """What a client that stays is answered."""
    head, body = request(sound, streams=False)
    with socket.create_connection(("127.0.0.1", port), 600) as connection:
        connection.sendall(head.replace(b"Host:", b"Connection: close\r\nHost:") + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=200, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--longest-s", type=float, default=3.0, help="before a client leaves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.model)
        return
    draw = random.Random(given.seed)
    sound = (files("sottovoce.audio") / "assets" / "known.ogg").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.hangups", "--serve", "--model", given.model],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": folder},
        )  # fmt: skip
        assert child.stdin and child.stdout
        port = int(child.stdout.readline())
        expected = heard(port, sound)
        print("round     left  " + "  ".join(f"{name:>13}" for name in State.__slots__))
        failed = False
        for number in range(given.rounds + 1):
            left = asyncio.run(crowd(port, sound, given.clients, draw, given.longest_s)) if number else Counter()
            state = rested(child)
            right = heard(port, sound) == expected
            failed |= not (state.at_rest and right)
            cells = (getattr(state, name) for name in State.__slots__)
            row = "  ".join(f"{c:13.1f}" if isinstance(c, float) else f"{c!s:>13}" for c in cells)
            print(f"{number:5d} {left.total():8d}  {row}  {dict(left)}{'' if right else '  WRONG ANSWER'}", flush=True)
        child.stdin.close()
        child.wait(60)
        failed |= bool(os.listdir(folder))
        sys.exit("something was left" if failed else 0)


if __name__ == "__main__":
    main()
