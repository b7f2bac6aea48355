"""How far word times are from where the words are: python -m bench.wordtimes TIMED --out FILE --peers FOLDER ...

TIMED: what bench.timed made. Recordings of even number are for tuning (--half tune), odd ones for reporting.
A word counts where the word that was spoken was written, so who writes nonsense is not judged by its times; how many
were found stands beside. Digits count one by one: of 742 the first begins and the last ends at a known time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from bench.data import commit, names
from bench.timed import DIGITS, MANIFEST

Timed = tuple[str, float | None, float | None]
SIDES = ("parallel", "sequential", "openai-whisper", "faster-whisper")
RUNNER = Path(__file__).with_name("peers") / "word_times.py"


@dataclass(slots=True)
class Errors:
    """starts, ends: seconds too late, of the words that were found. n: words. disorder: words before the one before."""

    n: int = 0
    n_found: int = 0
    n_written: int = 0
    disorder: int = 0
    empty: int = 0
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def add(self, reference: Sequence[Timed], written: Sequence[Timed], language: str) -> None:
        """What was written of one recording."""
        times = [(a, b) for _, a, b in written if a is not None and b is not None]
        self.n_written += len(times)
        self.disorder += sum(later[0] < before[1] - 1e-6 for before, later in pairwise(times))
        self.empty += sum(b <= a for a, b in times)
        got, want = list(units(written, language)), list(units(reference, language))
        self.n += len(want)
        for i, j in matches([w for w, _, _ in want], [w for w, _, _ in got]):
            self.n_found += 1
            for found, k in ((self.starts, 1), (self.ends, 2)):
                a, b = want[i][k], got[j][k]
                if a is not None and b is not None:
                    found.append(float(b) - float(a))

    def row(self) -> str:
        """Cells of the table."""
        starts, ends = np.array(self.starts or [np.nan]), np.array(self.ends or [np.nan])
        both = np.abs(np.concatenate([starts, ends]))
        cells = [f"{self.n_found / max(1, self.n):.0%}", f"{1000 * np.nanmean(both):.0f}"]
        cells += [f"{1000 * np.nanmean(np.abs(x)):.0f} ({1000 * np.nanmedian(x):+.0f})" for x in (starts, ends)]
        cells += [f"{1000 * np.nanpercentile(both, p):.0f}" for p in (50, 95)]
        cells += [f"{np.nanmean(both <= 0.15):.1%}"]
        cells += [f"{1 - n / max(1, self.n_written):.1%}" for n in (self.disorder, self.empty)]
        return " | ".join(cells)


HEAD = (
    "| set | side | words found | error, ms | starts (median) | ends (median) | half below | 95 % below | "
    "within 150 ms | in order | not empty |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def units(words: Sequence[Timed], language: str) -> Iterator[Timed]:
    """Words as they are compared: without case and marks; digits as words of their own."""
    spelt = DIGITS.get(language, DIGITS["en"]).split()
    for word, start, end in words:
        plain = unicodedata.normalize("NFC", word).lower()
        parts = [p for p in re.split(r"[^\w']+|(?<=\d)(?=\d)", plain.replace("x-ray", "xray")) if p]
        parts = [spelt[int(p)] if p.isascii() and p.isdigit() and len(p) == 1 else p for p in parts]
        for i, part in enumerate(parts):
            yield part, start if i == 0 else None, end if i + 1 == len(parts) else None


def matches(want: Sequence[str], got: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of equal words on the cheapest way from one text to the other."""
    n, m = len(want), len(got)
    cost = np.zeros((n + 1, m + 1), np.int32)
    cost[:, 0], cost[0, :] = 2 * np.arange(n + 1), 2 * np.arange(m + 1)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            other = 0 if want[i - 1] == got[j - 1] else 3
            cost[i, j] = min(cost[i - 1, j - 1] + other, cost[i - 1, j] + 2, cost[i, j - 1] + 2)
    found, i, j = [], n, m
    while i and j:
        if cost[i, j] == cost[i - 1, j] + 2:
            i -= 1
        elif cost[i, j] == cost[i, j - 1] + 2:
            j -= 1
        else:
            i, j = i - 1, j - 1
            if want[i] == got[j]:
                found.append((i, j))
    return found[::-1]


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.wordtimes", description=__doc__)
    p.add_argument("timed", type=Path)
    p.add_argument("--out", type=Path, required=True, help="JSON; its tables beside it")
    p.add_argument("--model", default="base")
    p.add_argument("--compute", default="auto")
    p.add_argument("--sides", type=names, default=list(SIDES))
    p.add_argument("--half", choices=("tune", "report", "all"), default="report")
    p.add_argument("--peers", type=Path, help="with models/MODEL/model.pt and ct2, as bench.environments makes it")
    p.add_argument("--peer-python", default="python3", help="a Python that has both peers")
    args = p.parse_args(argv)
    lines = [json.loads(line) for line in (args.timed / MANIFEST).read_text("utf-8").splitlines()]
    halves = {"tune": (0,), "report": (1,), "all": (0, 1)}[args.half]
    lines = [x for x in lines if int(Path(x["path"]).stem.rsplit("-", 1)[1]) % 2 in halves]
    if args.model.endswith(".en"):
        lines = [x for x in lines if x["language"] == "en"]
    found: dict[str, list[list[Timed]]] = {}
    for side in args.sides:
        found[side] = _ours(side, args, lines) if side in SIDES[:2] else _peer(side, args, lines)
        print(side, flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"commit": commit(), "model": args.model, "found": found}), "utf-8")
    text = table(lines, found)
    args.out.with_suffix(".md").write_text(f"{args.model}, {args.half}, commit {commit()}\n\n{text}\n", "utf-8")
    print(text)
    return 0


def table(lines: Sequence[dict], found: dict[str, list[list[Timed]]]) -> str:
    """Errors by set and side, and of all together."""
    rows = [HEAD]
    for name in [*dict.fromkeys(x["set"] for x in lines), "all"]:
        for side, written in found.items():
            errors = Errors()
            for line, words in zip(lines, written, strict=True):
                if name in (line["set"], "all"):
                    errors.add(line["words"], words, line["language"])
            rows.append(f"| {name} | {side} | {errors.row()} |")
    return "\n".join(rows)


def _ours(side: str, args: argparse.Namespace, lines: Sequence[dict]) -> list[list[Timed]]:
    from sottovoce import Whisper

    found = []
    with Whisper(args.model, compute=args.compute, device="cpu") as model:
        for line in lines:
            samples = np.load(args.timed / line["path"])
            t = model.transcribe(samples, language=line["language"], strategy=side, word_timestamps=True)
            found.append([(w.word, w.start, w.end) for s in t.segments for w in s.words or ()])
    return found


def _peer(side: str, args: argparse.Namespace, lines: Sequence[dict]) -> list[list[Timed]]:
    model = args.peers / "models" / args.model / ("model.pt" if side == "openai-whisper" else "ct2")
    jobs = "".join(json.dumps({"audio": str(args.timed / x["path"]), "language": x["language"]}) + "\n" for x in lines)
    command = [args.peer_python, str(RUNNER), side, str(model), args.model]
    done = subprocess.run(command, input=jobs, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side}: it failed\n{done.stderr}")
    return [[(w, a, b) for w, a, b in json.loads(answer)] for answer in done.stdout.splitlines()]


if __name__ == "__main__":
    raise SystemExit(main())
