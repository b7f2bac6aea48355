"""A warm request of a short clip, end to end by HTTP, against the same decoding in a process: python -m bench.warm.

Both in turns, so that the machine's moods fall on both. Told are the medians, their difference, and the spread.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench import machine, servers
from bench.clients import Client, Question, asked, question, where
from bench.data import commit, read
from bench.load import ROUTE
from bench.mixed import quantile

from sottovoce.api import Whisper
from sottovoce.config import Config

CLIP_S = 3.0
MOST_MS = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    clips = [c for c in read(args.data, ["english"]) if c.trusted]
    clip = min(clips, key=lambda c: abs(c.duration_s - CLIP_S))
    config = Config(model=args.model, compute=args.compute, threads=args.threads)
    with (
        servers.ours(args.model, args.compute, args.threads, args.flags.split()) as server,
        Whisper(config=config) as mine,
    ):
        fields = {"model": args.model, "language": "en"}
        q = question(clip.name, clip.path, clip.duration_s, server.address, ROUTE, fields)
        here, there = asyncio.run(in_turns(args.times, mine, clip.path, server.address, q))
    gap_ms = 1000 * (median(there) - median(here))
    print(f"{clip.name} ({clip.duration_s:.1f} s), {args.model}, {args.times} times; {machine.words()}; {commit()}")
    for name, took in (("in process", here), ("by HTTP", there)):
        ms = [1000 * quantile(took, q) for q in (0.5, 0.05, 0.95)]
        print(f"{name}: {ms[0]:.1f} ms (p5 {ms[1]:.1f}, p95 {ms[2]:.1f})")
    print(f"HTTP costs {gap_ms:.1f} ms; {MOST_MS:.0f} are allowed")
    return 0 if gap_ms <= MOST_MS else 1


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.warm", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--model", default="base")
    p.add_argument("--compute", default="int8")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--times", type=int, default=30)
    p.add_argument("--flags", default="", help="more flags for `sottovoce serve`, by space")
    return p


async def in_turns(n: int, whisper: Whisper, path: Path, address: str, q: Question) -> tuple[list[float], list[float]]:
    """(seconds in this process, seconds by HTTP), n times each; the first three are not counted."""
    client, here, there = Client(*where(address)), [], []
    for _ in range(n + 3):
        began = time.perf_counter()
        text = whisper.transcribe(path, language="en").text.strip()
        here.append(time.perf_counter() - began)
        answer = await asked(client, q)
        if answer.status != 200 or answer.text.strip() != text:
            raise SystemExit(f"the server answered {answer.status} {answer.text!r}, {text!r} was expected")
        there.append(answer.took_s)
    await client.close()
    return here[3:], there[3:]


if __name__ == "__main__":
    sys.exit(main())
