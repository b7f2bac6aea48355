"""Long recordings cut at odd places, at several speeds, with silence, noise or music put in. (python -m bench.inserted)

No word may be written in what was put in, and the rest must stay as it was: its error rate beside the untouched one's.
A place is drawn anywhere; with --near it moves to the quietest 100 ms within so many seconds, so that fewer words and
sentences are cut in two, which nobody could hear any more.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench import report
from bench.data import Clip, names, read
from bench.edits import Edits, edits
from bench.peer import Peer
from bench.scores import units

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.types import SAMPLE_RATE, Word

KINDS = ("untouched", "silence", "noise", "music")
LONGEST_S = 120.0  # of what is put in at one place
FADE = SAMPLE_RATE // 100  # samples: what is put in begins and ends without a click
LEVEL = 0.05  # root mean square of noise and music, about that of speech
EDGE_S = 0.5  # how far word times may stray into what was put in
QUIET = SAMPLE_RATE // 10  # samples that are judged together


@dataclass(frozen=True, slots=True)
class Turn:
    """One recording as it was heard. inserted_s: seconds that were put in; n_inside: words written there."""

    name: str
    kind: str
    speed: float
    inserted_s: float
    n: int
    errors: int
    deletions: int
    n_inside: int
    inside: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.inserted", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl and a set longform")
    p.add_argument("--peer-python", required=True, help="python of an environment with openai-whisper: its normaliser")
    p.add_argument("--sounds", type=Path, help="folder with manifest.jsonl of sets noise and music; default: --data")
    p.add_argument("--model", default="base")
    p.add_argument("--compute", default="auto")
    p.add_argument("--beam", type=int, default=1)
    p.add_argument("--strategy", default="parallel")
    p.add_argument("--speeds", type=names, default=["0.85", "1", "1.2"], help="by comma")
    p.add_argument("--kinds", type=names, default=list(KINDS), help="by comma")
    p.add_argument("--places", type=int, default=20)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--near", type=float, default=0.0, help="cut where it is quietest, so many seconds around a place")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--name", help="of this run in the results; it replaces one of the same name")
    p.add_argument("--out", type=Path, help="results as JSON; the page is written beside it")
    args = p.parse_args(argv)
    run = report.begun("inserted", args.name or args.model, args, argv, model=args.model)
    run["turns"] = [asdict(t) for t in turns(args)]
    report.keep(args.out, run, section, "Silence, noise and music put into long recordings")
    print(section(run))
    return 0


def turns(args: argparse.Namespace) -> list[Turn]:
    """Every recording at every speed with every kind."""
    clips = [c for c in read(args.data, ["longform"]) if c.trusted]
    others = {k: sounds(args.sounds or args.data, k) for k in args.kinds if k in ("noise", "music")}
    found = []
    with (
        Whisper(args.model, compute=args.compute, threads=args.threads or None) as whisper,
        tempfile.TemporaryDirectory() as folder,
        Peer(args.peer_python, Path(folder), Path(folder), 1) as peer,
    ):
        for clip in clips:
            for speed in (float(s) for s in args.speeds):
                spoken = at_speed(clip.path, speed)
                for kind in args.kinds:
                    samples, put = insert(spoken, kind, others.get(kind, []), args)
                    said = whisper.transcribe(
                        samples,
                        language=clip.language,
                        beam_size=args.beam,
                        strategy=args.strategy,
                        word_timestamps=True,
                    )
                    words = [w for s in said.segments for w in s.words or ()]
                    inside = [w for w in words if is_inside(w, put)]
                    texts = [clip.reference or "", said.text]
                    want, got = peer.ask("normalise", language=clip.language, texts=texts)
                    e: Edits = edits(units(want, clip.language), units(got, clip.language))
                    seconds = sum(b - a for a, b in put)
                    errors = e.substitutions + e.deletions + e.insertions
                    texts_inside = tuple(f"{w.start:.1f} {w.word.strip()}" for w in inside)
                    turn = Turn(clip.name, kind, speed, seconds, e.n, errors, e.deletions, len(inside), texts_inside)
                    found.append(turn)
                    print(turn, file=sys.stderr, flush=True)
    return found


def sounds(folder: Path, kind: str) -> list[np.ndarray]:
    """All sounds without speech of a kind, each as loud as the others."""
    clips: list[Clip] = [c for c in read(folder) if not c.language and kind in c.set and c.duration_s >= 3]
    found = []
    for clip in clips:
        samples = decode.load(str(clip.path))
        loud = float(np.sqrt(np.square(samples).mean()))
        if loud > 1e-4:
            found.append((samples * min(LEVEL / loud, 1 / np.abs(samples).max())).astype(np.float32))
    if not found:
        raise SystemExit(f"{folder}: no sound without speech whose set says {kind!r}")
    return found


def at_speed(path: Path, speed: float) -> np.ndarray:
    """A recording that is spoken faster, at the same pitch."""
    if speed == 1:
        return decode.load(str(path))
    command = ["ffmpeg", "-loglevel", "error", "-i", str(path), "-af", f"atempo={speed}", "-f", "f32le"]
    ran = subprocess.run([*command, "-ac", "1", "-ar", str(SAMPLE_RATE), "-"], capture_output=True, check=True)
    return np.frombuffer(ran.stdout, np.float32)


def insert(
    spoken: np.ndarray, kind: str, others: Sequence[np.ndarray], args: argparse.Namespace
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The recording with a kind of sound at drawn places, and where (seconds) that is."""
    if kind == "untouched":
        return spoken, []
    draw = random.Random(f"{args.seed} {kind} {len(spoken)}")
    places = sorted(draw.randrange(len(spoken)) for _ in range(args.places))
    if args.near:
        places = sorted(quietest(spoken, at, round(args.near * SAMPLE_RATE)) for at in places)
    parts: list[np.ndarray] = []
    put = []
    n = 0
    for before, at in zip([0, *places], [*places, len(spoken)], strict=True):
        parts.append(spoken[before:at])
        n += at - before
        if at == len(spoken):
            break
        size = round(draw.uniform(0, LONGEST_S) * SAMPLE_RATE)
        other = np.zeros(size, np.float32) if kind == "silence" else faded(np.resize(draw.choice(others), size))
        put.append((n / SAMPLE_RATE, (n + size) / SAMPLE_RATE))
        parts.append(other)
        n += size
    return np.concatenate(parts), put


def quietest(samples: np.ndarray, at: int, near: int) -> int:
    """The middle of the quietest 100 ms within so many samples of a place."""
    first = max(0, at - near)
    energy = np.square(samples[first : at + near], dtype=np.float64)
    mean = np.convolve(energy, np.ones(QUIET), mode="same")
    return first + int(np.argmin(mean))


def faded(samples: np.ndarray) -> np.ndarray:
    n = min(FADE, len(samples) // 2)
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    samples = samples.copy()
    samples[:n] *= ramp
    samples[len(samples) - n :] *= ramp[::-1]
    return samples


def is_inside(word: Word, put: Sequence[tuple[float, float]]) -> bool:
    """Does a word lie in what was put in?"""
    at = (word.start + word.end) / 2
    return any(a + EDGE_S < at < b - EDGE_S for a, b in put)


def section(run: dict[str, Any]) -> str:
    """A line for each recording as it was heard."""
    out = [
        "| speed | put in | seconds | WER | beside untouched | deletions | words in what was put in |",
        "|---" * 7 + "|",
    ]
    plain = {(t["name"], t["speed"]): t["errors"] / t["n"] for t in run["turns"] if t["kind"] == "untouched"}
    for t in run["turns"]:
        rate = t["errors"] / t["n"]
        beside = 100 * (rate - plain.get((t["name"], t["speed"]), rate))
        cells = [t["speed"], t["kind"], f"{t['inserted_s']:.0f}", f"{100 * rate:.2f} %", f"{beside:+.2f}"]
        out.append("| " + " | ".join(str(c) for c in [*cells, t["deletions"], t["n_inside"]]) + " |")
    return "\n".join(out)


if __name__ == "__main__":
    sys.exit(main())
