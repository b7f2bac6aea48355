"""A server under moderate load for hours: does its memory stay? python -m bench.soak. Prints the verdict.

Requests come at random moments, as many a second as half of what the machine can decode or as --rate says, of every
kind: clips of all lengths in all formats, streams, hang-ups, broken files, unknown models. Memory of the server and
its children is read every 10 s; after the first minutes its median may grow by 2 %, the first tenth against the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import machine, servers
from bench.clients import Client, Question, asked, question, where
from bench.data import Clip, commit, read
from bench.load import ROUTE
from bench.servers import Server

SAMPLE_EVERY_S = 10.0
MOST_GROWTH = 0.02
SHARE_LEAVING, SHARE_BROKEN = 0.05, 0.05
MOST_WAITING = 40  # requests in flight: above, the machine is too slow for the rate, and a turn is left out
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    clips = [c for c in read(args.data, args.sets.split(",")) if 1 <= c.duration_s <= args.longest_s]
    with servers.ours(args.model, args.compute, args.threads, args.flags.split()) as server:
        memory, statuses = asyncio.run(soaked(server, clips, args))
        alive = server.process.poll() is None
        said = server.said()
    settled = [(t, n) for t, n in memory if t >= args.settle_s]
    growth = grown([n for _, n in settled])
    if args.out:
        args.out.write_text(json.dumps({"memory": memory, "statuses": statuses}) + "\n", "utf-8")
    first, last = memory[0][1] / 1e6, memory[-1][1] / 1e6
    print(f"{args.minutes:g} minutes, {args.rate:g} requests/s, {args.model}; {machine.words()}; {commit()}")
    print(f"answers by status (0: hung up, as meant): {dict(sorted(statuses.items()))}")
    print(f"memory: {first:.0f} MB at first, {last:.0f} at last; {100 * growth:+.2f} % after {args.settle_s:g} s")
    good = alive and growth <= MOST_GROWTH and not any(s >= 500 for s in statuses)
    print("stays" if good else f"does not stay; it said:\n{said}")
    return 0 if good else 1


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--sets", default="english,multilingual,containers")
    p.add_argument("--longest-s", type=float, default=60)
    p.add_argument("--minutes", type=float, default=120)
    p.add_argument("--settle-s", type=float, default=600, help="what is not counted")
    p.add_argument("--rate", type=float, default=2.0, help="requests a second")
    p.add_argument("--model", default="base")
    p.add_argument("--compute", default="int8")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--flags", default="", help="more flags for `sottovoce serve`, by space")
    p.add_argument("--out", type=Path, help="samples as JSON")
    return p


async def soaked(
    server: Server, clips: Sequence[Clip], args: argparse.Namespace
) -> tuple[list[tuple[float, int]], dict[int, int]]:
    """((seconds, bytes) every 10 s, answers by status)."""
    chance = random.Random(1)
    began_s, statuses = time.monotonic(), Counter[int]()
    memory: list[tuple[float, int]] = []
    running: set[asyncio.Task[None]] = set()
    until_s, sample_s, ask_s = began_s + 60 * args.minutes, began_s, began_s
    while (now_s := time.monotonic()) < until_s:
        if now_s >= sample_s:
            memory.append((now_s - began_s, server.rss_bytes()))
            sample_s += SAMPLE_EVERY_S
        if now_s >= ask_s:
            ask_s += chance.expovariate(args.rate)
            if len(running) < MOST_WAITING:
                task = asyncio.ensure_future(one(server, drawn(clips, server, args, chance), chance, statuses))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                ask_s = now_s + 1 / args.rate
        await asyncio.sleep(max(0.0, min(sample_s, ask_s) - time.monotonic()))
    await asyncio.gather(*running)
    memory.append((time.monotonic() - began_s, server.rss_bytes()))
    return memory, dict(statuses)


def drawn(clips: Sequence[Clip], server: Server, args: argparse.Namespace, chance: random.Random) -> Question:
    """A request of a random kind; some are broken."""
    clip = chance.choice(clips)
    fields = {"model": args.model, "response_format": chance.choice(FORMATS)}
    if chance.random() < 0.2:
        fields |= {"stream": "true", "response_format": "json"}
    q = question(clip.name, clip.path, clip.duration_s, server.address, ROUTE, fields)
    if chance.random() < SHARE_BROKEN:
        noise = bytes(chance.randrange(256) for _ in range(64))
        head = q.data.index(b"octet-stream\r\n\r\n") + 16  # of the recording: what is broken there is no media any more
        at = chance.choice((head, len(q.data) // 2))
        q = replace(q, data=q.data[:at] + noise + q.data[at + len(noise) :])
    return q


async def one(server: Server, q: Question, chance: random.Random, statuses: Counter[int]) -> None:
    """Ask on a connection of its own; some hang up before they are answered."""
    client = Client(*where(server.address))
    leaves = chance.random() < SHARE_LEAVING
    try:
        if leaves:
            await asyncio.wait_for(client.ask(q.data), chance.random())
            statuses[200] += 1
        else:
            statuses[(await asked(client, q)).status] += 1
    except (TimeoutError, OSError, EOFError, ValueError):
        statuses[0] += 1
    finally:
        await client.close()


def grown(samples: Sequence[int]) -> float:
    """By which share the last tenth of samples is above the first; 0 for fewer than 20."""
    n = len(samples) // 10
    return median(samples[-n:]) / median(samples[:n]) - 1 if n >= 2 else 0.0


if __name__ == "__main__":
    sys.exit(main())
