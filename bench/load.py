"""A server under load, beside a peer's on the same weights: python -m bench.load. Prints a table.

Clients ask in closed loops with clips of 3 to 20 s. Sides are measured one after another, in rounds; told are seconds
of sound a second, requests, how long answers took, failures, word errors, how long /health took meanwhile (the event
loop), memory and CPU. Our cache of results is off: every request is decoded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import machine, servers
from bench.clients import Answered, Question, ask_in_turn, probe, question
from bench.data import Clip, commit, read
from bench.edits import Edits, edits
from bench.mixed import quantile
from bench.servers import Server
from whisper_normalizer.english import EnglishTextNormalizer

ROUTE = "/v1/audio/transcriptions"
SHORTEST_S, LONGEST_S = 3.0, 20.0
PROBE_EVERY_S = 0.02
SIDES = ("ours", "peer")


@dataclass(slots=True)
class Loaded:
    """One side in one round. seconds: from the first question to the last answer."""

    side: str
    seconds: float = 0.0
    n_answered: int = 0
    audio_s: float = 0.0
    took_s: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wer: float = 0.0
    health_s: list[float] = field(default_factory=list)
    own_lag_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    cpu_s: float = 0.0
    lag: str = ""

    @property
    def speed(self) -> float:
        return self.audio_s / self.seconds if self.seconds else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    clips = [c for c in read(args.data, ["english"]) if c.trusted and SHORTEST_S <= c.duration_s <= LONGEST_S]
    print(
        f"{len(clips)} clips, {sum(c.duration_s for c in clips):.0f} s; {machine.words()}; {commit()}", file=sys.stderr
    )
    rounds = []
    for _ in range(args.rounds):
        for side in args.sides.split(","):
            with started(side, args) as server:
                rounds.append(asyncio.run(measured(server, clips, args)))
                say(rounds[-1])
    if args.out:
        args.out.write_text(json.dumps([asdict(r) for r in rounds]) + "\n", "utf-8")
    print(table(rounds, args))
    return 1 if any(r.failed for r in rounds) else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.load", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--sides", default=",".join(SIDES), help="by comma")
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--clients", type=int, default=50)
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--warm-seconds", type=float, default=10, help="of the same load, before anything counts")
    p.add_argument("--model", default="base")
    p.add_argument("--compute", default="int8", help="ours")
    p.add_argument("--threads", type=int, default=2, help="of each side")
    p.add_argument("--flags", default="", help="more flags for `sottovoce serve`, by space")
    p.add_argument("--language", default="en", help="sent with each request; empty: it is detected")
    p.add_argument("--peer-python", help="of an environment with faster-whisper, fastapi, uvicorn, python-multipart")
    p.add_argument("--peer-weights", type=Path, help="folder in CTranslate2's form")
    p.add_argument("--peer-workers", type=int, default=1, help="requests that it decodes at once")
    p.add_argument("--beam-size", type=int, default=1, help="the peer's; ours is 1 unless asked")
    p.add_argument("--out", type=Path, help="results as JSON")
    return p


def started(side: str, args: argparse.Namespace) -> Server:
    if side == "ours":
        return servers.ours(args.model, args.compute, args.threads, args.flags.split())
    if side != "peer" or not (args.peer_python and args.peer_weights):
        raise SystemExit(f"side {side!r}: ours, or peer with --peer-python and --peer-weights, was expected")
    each = max(1, args.threads // args.peer_workers)
    return servers.peer(args.peer_python, args.peer_weights, args.peer_workers, each, args.beam_size)


async def measured(server: Server, clips: Sequence[Clip], args: argparse.Namespace) -> Loaded:
    """A side under load, after some of it that is not counted."""
    fields = {"model": args.model, **({"language": args.language} if args.language else {})}
    asked: list[Question] = [question(c.name, c.path, c.duration_s, server.address, ROUTE, fields) for c in clips]
    await ask_in_turn(server.address, asked, args.clients, args.warm_seconds)
    found, done = Loaded(server.name), asyncio.Event()
    probing = asyncio.ensure_future(probe(server.address, PROBE_EVERY_S, done))
    watching = asyncio.ensure_future(peak(server, found, done))
    before = server.cpu_s()
    answers = await ask_in_turn(server.address, asked, args.clients, args.seconds)
    found.cpu_s = server.cpu_s() - before
    done.set()
    found.health_s, found.own_lag_s = await probing
    await watching
    count(found, answers, clips)
    found.lag = "; ".join(
        line for line in (server.get("/metrics") or "").splitlines() if "loop_lag" in line and not line.startswith("#")
    )[-600:]
    return found


async def peak(server: Server, found: Loaded, done: asyncio.Event) -> None:
    while not done.is_set():
        found.peak_bytes = max(found.peak_bytes, server.rss_bytes())
        await asyncio.sleep(1)


def count(found: Loaded, answers: Sequence[Answered], clips: Sequence[Clip]) -> None:
    good = [a for a in answers if a.status == 200]
    found.seconds = max(a.began_s + a.took_s for a in answers) - min(a.began_s for a in answers)
    found.n_answered, found.audio_s = len(good), sum(a.duration_s for a in good)
    found.took_s = [round(a.took_s, 4) for a in good]
    found.failed = [f"{a.name}: {a.status} {a.text}" for a in answers if a.status != 200]
    normal = EnglishTextNormalizer()
    references = {c.name: normal(c.reference or "").split() for c in clips}
    known: dict[tuple[str, str], Edits] = {}  # most answers are the same each time
    total = Edits()
    for a in good:  # every answer counts: under load a clip may be heard otherwise than alone
        if (a.name, a.text) not in known:
            known[a.name, a.text] = edits(references[a.name], normal(a.text).split())
        total += known[a.name, a.text]
    found.wer = total.rate


def say(r: Loaded) -> None:
    print(f"{r.side}: {r.speed:.1f} x real time, {len(r.failed)} failed {r.failed[:3]}", file=sys.stderr)


def table(rounds: Sequence[Loaded], args: argparse.Namespace) -> str:
    lines = [
        f"{args.clients} clients, {args.seconds:g} s, {args.model}; {machine.words()}; commit {commit()}",
        "",
        "| side | s of sound a s | requests/s | p50 | p95 | p99 | failed | WER | /health p50, p99, max (own lag p99) "
        "| CPU | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rounds:
        took = [quantile(r.took_s, q) for q in (0.5, 0.95, 0.99)] if r.took_s else [0.0] * 3
        ms = [1000 * quantile(r.health_s, q) for q in (0.5, 0.99, 1.0)] if r.health_s else [0.0] * 3
        own = 1000 * quantile(r.own_lag_s, 0.99) if r.own_lag_s else 0.0
        cells: list[Any] = [r.side, f"{r.speed:.1f}", f"{r.n_answered / r.seconds:.2f}", *(f"{t:.2f} s" for t in took)]
        cells += [len(r.failed), f"{100 * r.wer:.2f} %", f"{ms[0]:.1f}, {ms[1]:.1f}, {ms[2]:.1f} ms ({own:.1f})"]
        cells += [f"{r.cpu_s / r.seconds:.2f}", f"{r.peak_bytes / 1e6:.0f} MB"]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    lines += [f"{r.side}: {r.lag}" for r in rounds if r.lag]
    both = [[r for r in rounds if (r.side == "sottovoce") is mine and r.took_s] for mine in (True, False)]
    if all(both):
        speeds = [sum(r.audio_s for r in each) / sum(r.seconds for r in each) for each in both]
        p95 = [quantile([t for r in each for t in r.took_s], 0.95) for each in both]
        lines += ["", f"throughput: {speeds[0] / speeds[1]:.2f} times; p95: {p95[1] / p95[0]:.2f} times shorter"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
