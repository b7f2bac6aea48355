"""How long a short recording takes: warm and cold beside peers, many at once, and beside a long one.

python -m bench.latency. Parts: warm (model loaded), cold (from the start of the process to the text), together (16
clips at once against one after another), mixed (a clip every 2 s beside a long recording, against an idle machine).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench import report
from bench.data import names, read
from bench.joined import Recording, join, single, whole
from bench.mixed import Mixed, quantile
from bench.rounds import MAX_OTHERS_CPUS, Turns, claim, table
from bench.side import Side, SideError
from bench.sides import recipe
from bench.throughput import say, score_all, started, take_turns

TITLE = "Latency"
PARTS = ("warm", "cold", "together", "mixed")
CLIP_S = 10.0
TOGETHER_S = (5.0, 20.0)  # lengths of the clips that are asked for at once
SEED = 2


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    for part in args.parts:
        if part not in PARTS:
            raise SystemExit(f"{part!r} is not a part; known are {', '.join(PARTS)}")
    name = args.name or ", ".join([args.model, f"{args.threads} threads", *args.env])
    run = report.begun("latency", name, args, argv, versions={}, turns=[])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        clips = [c for c in read(args.data, ["english"]) if c.trusted]
        clip = single(clips, CLIP_S, work)
        if "warm" in args.parts:
            run["turns"] += warm(args, clip, run, work)
        if "cold" in args.parts:
            run["turns"] += cold(args, clip, run)
        if "together" in args.parts:
            shortest, longest = TOGETHER_S
            fitting = [c for c in clips if shortest <= c.duration_s <= longest][: args.clips]
            run["together"] = together(args, [whole(c, work) for c in fitting], run)
        if "mixed" in args.parts:
            run["mixed"] = mixed(args, clip, join(clips, args.long_s, SEED, work))
        report.keep(args.out, run, section, TITLE)
    print(section(run))
    return 1 if any(t["error"] for t in run["turns"]) else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.latency", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--peers", type=Path, required=True, help="folder that `scripts/bench environments` has filled")
    p.add_argument("--model", default="base")
    p.add_argument("--threads", type=int, default=2, help="of every side")
    p.add_argument("--sides", type=names, default=["sottovoce", "faster-sequential", "openvino"], help="by comma")
    p.add_argument("--parts", type=names, default=list(PARTS), help="by comma")
    p.add_argument("--rounds", type=int, default=7, help="turns of each side, warm")
    p.add_argument("--cold-rounds", type=int, default=3, help="turns of each side, cold, after one that is not counted")
    p.add_argument("--clips", type=int, default=16, help="clips asked for at once")
    p.add_argument("--together-rounds", type=int, default=3)
    p.add_argument("--long-s", type=float, default=3600, help="length of the long recording")
    p.add_argument("--mixed-clips", type=int, default=20, help="clips that come in beside it")
    p.add_argument("--every-s", type=float, default=2.0, help="seconds between them")
    p.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set for every side")
    p.add_argument("--name", help="of this run in the results; it replaces one of the same name")
    p.add_argument("--out", type=Path, help="results as JSON; the page is written beside it")
    return p


def warm(args: argparse.Namespace, clip: Recording, run: report.Run, work: Path) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        sides = started(args, 1, stack, run)
        for side in sides:
            side.transcribe(clip.audio)  # the first one warms up
        turns, texts = take_turns(sides, clip, args.rounds, budget_s=60)
    score_all(args.peers, work, clip, turns, texts)
    for t in turns:
        t.recording = "warm: one clip"
    return [asdict(t) for t in turns]


def cold(args: argparse.Namespace, clip: Recording, run: report.Run) -> list[dict[str, Any]]:
    """From the start of the process to the text, weights in the disk's cache."""
    chosen = [recipe(text, args.peers, args.model, 1, args.threads) for text in args.sides]
    turns = [Turns(r.name, "cold: process start to text", clip.duration_s) for r in chosen]
    env = dict(pair.split("=", 1) for pair in args.env)
    for i in range(args.cold_rounds + 1):
        for each, mine in zip(chosen, turns, strict=True):
            if mine.error:
                continue
            began = time.perf_counter()
            try:
                with Side(each, env) as side:
                    run["versions"] |= side.load()
                    said = side.transcribe(clip.audio)
                    seconds = time.perf_counter() - began
            except (SideError, OSError) as e:
                mine.error = str(e)
                continue
            say(f"cold: {each.name}: {seconds:.2f} s")
            if i:  # the first one brings the files into memory
                mine.seconds.append(round(seconds, 4))
                mine.others_cpus.append(round(side.others_cpus, 3))
                mine.peak_bytes = max(mine.peak_bytes or 0, said["peak_bytes"] or 0) or None
    return [asdict(t) for t in turns]


def together(args: argparse.Namespace, clips: Sequence[Recording], run: report.Run) -> dict[str, Any]:
    """Our side only: the same clips at once and one after another, in turns."""
    paths, audio_s = [c.audio for c in clips], sum(c.duration_s for c in clips)
    at_once, in_turn = Turns("at once", "clips", audio_s), Turns("one after another", "clips", audio_s)
    env = dict(pair.split("=", 1) for pair in args.env)
    latencies: list[float] = []
    with Side(recipe("sottovoce", args.peers, args.model, 1, args.threads), env) as side:
        run["versions"] |= side.load()
        side.together(paths, at_once=True)
        for _ in range(args.together_rounds):
            for mine in (at_once, in_turn):
                said = side.together(paths, at_once=mine is at_once)
                mine.seconds.append(said["seconds"])
                mine.others_cpus.append(round(side.others_cpus, 3))
                latencies += said["latencies_s"] if mine is at_once else []
                say(f"together: {mine.side}: {said['seconds']:.2f} s")
    found = {"at_once": asdict(at_once), "in_turn": asdict(in_turn)}
    return {"n_clips": len(clips), "p95_s": quantile(latencies, 0.95), **found}


def mixed(args: argparse.Namespace, clip: Recording, long: Recording) -> dict[str, Any]:
    """Our side only: first on the idle machine, then beside the long recording."""
    found: dict[str, Any] = {"long_s": long.duration_s, "every_s": args.every_s, "n_clips": args.mixed_clips}
    env = dict(pair.split("=", 1) for pair in args.env)
    with Side(recipe("sottovoce", args.peers, args.model, 1, args.threads), env) as side:
        side.load()
        for _ in range(2):
            side.transcribe(clip.audio)
        for name, behind in (("idle", None), ("beside", str(long.audio))):
            given = {"clip": str(clip.audio), "long": behind, "n_clips": args.mixed_clips, "every_s": args.every_s}
            found[name] = side.ask("beside", options=side.recipe.options, **given) | {"others_cpus": side.others_cpus}
            say(f"mixed: {name}: p50 {quantile(found[name]['latencies_s'], 0.5):.3f} s")
    return found


def section(run: report.Run) -> str:
    parts = [table([Turns(**t) for t in run["turns"]])] if run["turns"] else []
    if "together" in run:
        t = run["together"]
        both = claim(Turns(**t["at_once"]), Turns(**t["in_turn"]))
        parts.append(
            f"{t['n_clips']} clips ({t['at_once']['audio_s']:.0f} s) at once: {median(t['at_once']['seconds']):.2f} s, "
            f"one after another: {median(t['in_turn']['seconds']):.2f} s; times the throughput: {both}. "
            f"At once, 95 % of the clips have their text within {t['p95_s']:.2f} s."
        )
    if "mixed" in run:
        parts.append(mixed_table(run["mixed"]))
    return "\n\n".join(parts)


def mixed_table(found: dict[str, Any]) -> str:
    lines = [
        f"A clip of {CLIP_S:.0f} s every {found['every_s']:g} s, {found['n_clips']} of them:",
        "",
        "| machine | p50 | p95 | slowest | the long recording, x real time meanwhile |",
        "|---|---|---|---|---|",
    ]
    p95 = {}
    for name, words in (
        ("idle", "idle"),
        ("beside", f"a recording of {found['long_s'] / 60:.0f} min in the background"),
    ):
        some = {k: v for k, v in found[name].items() if k != "others_cpus"}
        seen = Mixed(**{**some, "latencies_s": tuple(some["latencies_s"])})
        p95[name] = quantile(seen.latencies_s, 0.95)
        cells = [f"{s:.3f} s" for s in (quantile(seen.latencies_s, 0.5), p95[name], max(seen.latencies_s))]
        cells.append(f"{seen.position_s / seen.seconds:.1f}" if seen.position_s else "-")
        lines.append("| " + " | ".join([words, *cells]) + " |")
    others = max(found[name]["others_cpus"] for name in ("idle", "beside"))
    refused = f"no claim, others used {others:.1f} CPUs: " if others > MAX_OTHERS_CPUS else ""
    return "\n".join([*lines, "", f"{refused}p95 beside / p95 idle = {p95['beside'] / p95['idle']:.2f}."])


if __name__ == "__main__":
    sys.exit(main())
