"""How fast recordings are transcribed, beside peers that take turns with us: python -m bench.throughput.

Real-time factor by length of recording and by setting, peak memory of each side's process, and the word error rate of
what it wrote. Every side is a process of its own that has its model loaded; only the one that is asked runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench import plot, report
from bench.data import Clip, names, read
from bench.edits import edits
from bench.joined import Recording, join, single, whole
from bench.peer import Peer, PeerError
from bench.rounds import Turns, table
from bench.side import Side, SideError
from bench.sides import recipe

TITLE = "Throughput"
SEED = 1
SHORTEST_S = 2  # clips below are single words, out of which nobody's recordings are made
SHORT_S = 30  # up to here a recording is one clip; longer ones are joined


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    name = args.name or ", ".join(
        [args.model, "greedy" if args.beam == 1 else f"beam {args.beam}", f"{args.threads} threads", *args.env]
    )
    run = report.begun("throughput", name, args, argv, versions={}, turns=[])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        recordings = _recordings(args, work)
        sides = started(args, args.beam, stack, run)
        for recording in recordings:
            turns, texts = take_turns(sides, recording, args.rounds, args.budget_s)
            score_all(args.peers, work, recording, turns, texts)
            run["turns"] += [asdict(t) for t in turns]
            report.illustrate(args.out, run, draw(run))
            report.keep(args.out, run, section, TITLE)
    print(section(run))
    return 1 if any(t["error"] for t in run["turns"]) else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.throughput", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--peers", type=Path, required=True, help="folder that `scripts/bench environments` has filled")
    p.add_argument("--model", default="base")
    p.add_argument("--beam", type=int, default=1, help="beam size; 1 is greedy")
    p.add_argument("--threads", type=int, default=2, help="of every side")
    p.add_argument(
        "--sides", type=names, default=["sottovoce", "faster-batched", "openvino"],
        help="who takes turns, by comma; settings by colons: sottovoce:rows=32. Ratios are the first one's",
    )  # fmt: skip
    p.add_argument("--lengths", type=names, default=["10", "60", "600"], help="of the recordings, seconds, by comma")
    p.add_argument("--longform", action="store_true", help="also the recordings of the set longform")
    p.add_argument("--rounds", type=int, default=3, help="turns of each side on each recording")
    p.add_argument("--budget-s", type=float, default=240, help="no new round of a recording begins after so long")
    p.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set for every side")
    p.add_argument("--name", help="of this run in the results; it replaces one of the same name")
    p.add_argument("--out", type=Path, help="results as JSON; the page and the plot are written beside it")
    return p


def _recordings(args: argparse.Namespace, folder: Path) -> list[Recording]:
    clips: list[Clip] = [c for c in read(args.data, ["english"]) if c.trusted and c.duration_s >= SHORTEST_S]
    found = []
    for length in args.lengths:
        short = float(length) <= SHORT_S
        found.append(single(clips, float(length), folder) if short else join(clips, float(length), SEED, folder))
    if args.longform:
        found += [whole(c, folder) for c in read(args.data, ["longform"])]
    return found


def started(args: argparse.Namespace, beam: int, stack: ExitStack, run: report.Run) -> list[Side]:
    """The sides with their models loaded; one that cannot be had leaves a line in the results."""
    found = []
    env = dict(pair.split("=", 1) for pair in args.env)
    for text in args.sides:
        chosen = recipe(text, args.peers, args.model, beam, args.threads)
        try:
            side = stack.enter_context(Side(chosen, env))
            run["versions"] |= side.load()
        except (SideError, OSError) as e:
            say(f"{text}: left out: {e}")
            run["turns"].append(asdict(Turns(text, "none", 0.0, error=str(e))))
        else:
            found.append(side)
    return found


def take_turns(
    sides: Sequence[Side], recording: Recording, n_rounds: int, budget_s: float
) -> tuple[list[Turns], dict[str, str]]:
    """Every side once a round, A B C A B C. Returns the turns and what each side wrote last."""
    turns = [Turns(s.recipe.name, recording.name, recording.duration_s) for s in sides]
    texts: dict[str, str] = {}
    spent_s = 0.0
    for _ in range(n_rounds):
        if spent_s > budget_s:
            break
        for side, mine in zip(sides, turns, strict=True):
            if mine.error:
                continue
            try:
                said = side.transcribe(recording.audio)
            except SideError as e:
                mine.error = str(e)
                continue
            mine.seconds.append(round(said["seconds"], 4))
            mine.others_cpus.append(round(side.others_cpus, 3))
            mine.peak_bytes = max(mine.peak_bytes or 0, said["peak_bytes"] or 0) or None
            texts[mine.side] = said["text"]
            spent_s += said["seconds"]
            say(f"{recording.name}: {mine.side}: {said['seconds']:.2f} s, others {side.others_cpus:.2f} CPUs")
    return turns, texts


def score_all(peers: Path, work: Path, recording: Recording, turns: Sequence[Turns], texts: dict[str, str]) -> None:
    """Word error rates by Whisper's own normalisation, which runs in openai-whisper's environment, where that is."""
    python = peers / "openai-whisper" / "bin" / "python"
    said = [t for t in turns if t.side in texts]
    if not recording.reference or not said or not python.exists():
        return
    try:
        with Peer(str(python), work, work, 1) as peer:
            texts_of = [recording.reference, *(texts[t.side] for t in said)]
            want, *got = peer.ask("normalise", language="en", texts=texts_of)
    except PeerError as e:
        say(f"no error rate: {e}")
        return
    for mine, text in zip(said, got, strict=True):
        mine.wer = edits(want.split(), text.split()).rate


def section(run: report.Run) -> str:
    return table([Turns(**t) for t in run["turns"]])


def draw(run: report.Run) -> str:
    turns = [Turns(**t) for t in run["turns"]]
    bars = [plot.Bar(f"{t.recording} ({t.audio_s:.0f} s)", t.side, t.speed) for t in turns if t.seconds]
    return plot.bars(f"Times real time: {run['name']}", bars)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
