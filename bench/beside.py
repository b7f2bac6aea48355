"""Error rates beside peers, and words written where nobody speaks. (python -m bench.beside)

Every side hears the same samples.

What a side wrote is kept in --cache, by side and clip, so that a run that was cut short goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench import report
from bench.data import Clip, names, read
from bench.edits import Edits
from bench.peer import Peer
from bench.scores import BY_CHARACTER, Case, Heard, Score, score
from bench.side import Side, SideError
from bench.sides import recipe

from sottovoce.audio import decode

SIDES = ["sottovoce", "sottovoce-sequential", "openai-whisper", "faster-sequential", "faster-batched"]


@dataclass(frozen=True, slots=True)
class Line:
    """One group of clips of one side."""

    side: str
    group: str
    unit: str
    n_clips: int
    hours: float
    n: int
    substitutions: int
    deletions: int
    insertions: int
    n_clips_with_words: int


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    run = report.begun("beside", args.name or args.model, args, argv, model=args.model, beam=args.beam, versions={})
    clips = [c for c in read(args.data, args.sets, args.limit) if c.trusted or not c.language]
    heard = [said(text, clips, args, run) for text in args.sides]
    run["lines"] = [line for side in heard for line in lines(side, clips, args.peers)]
    report.keep(args.out, run, section, "Beside peers: error rates, and words where nobody speaks")
    print(section(run))
    for side in heard:
        for clip in clips:
            if not clip.language and side.texts.get(clip.name, "").strip():
                print(f"{side.case.strategy}: {clip.name}: {side.texts[clip.name].strip()[:200]}", file=sys.stderr)
    return 1 if any(h.failed for h in heard) else 0


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.beside", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--peers", type=Path, required=True, help="folder that bench.environments made")
    p.add_argument("--cache", type=Path, required=True, help="folder where what sides wrote is kept")
    p.add_argument("--sets", type=names, default=[], help="of the data, by comma; default: all")
    p.add_argument("--sides", type=names, default=SIDES, help="by comma; settings by colons: sottovoce:compute=int8")
    p.add_argument("--model", default="base")
    p.add_argument("--beam", type=int, default=1, help="beams; 1 is greedy")
    p.add_argument("--detect", action="store_true", help="tell nobody the language; default: where it is known")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--limit", type=int, help="clips of each set")
    p.add_argument("--name", help="of this run in the results; it replaces one of the same name")
    p.add_argument("--out", type=Path, help="results as JSON; the page is written beside it")
    return p


def said(text: str, clips: Sequence[Clip], args: argparse.Namespace, run: dict[str, Any]) -> Heard:
    """What a side writes for each clip, from the cache where it has been asked before."""
    heard = Heard(Case(args.model, "", args.beam, strategy=text))
    asked = json.dumps([text, args.model, args.beam, args.detect])
    path = args.cache / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
    known: dict[str, str] = json.loads(path.read_text("utf-8"))["texts"] if path.is_file() else {}
    todo = [c for c in clips if c.name not in known and (args.model[-3:] != ".en" or c.language in ("", "en"))]
    if todo:
        chosen = recipe(text, args.peers, args.model, args.beam, args.threads)
        args.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder, Side(chosen) as side:
            run["versions"] |= side.load()
            for i, clip in enumerate(todo):
                audio = Path(folder) / "clip.npy"
                np.save(audio, decode.load(str(clip.path)))
                language = None if args.detect or not clip.language else clip.language
                if args.model.endswith(".en"):
                    language = "en"
                options = {**chosen.options, "language": language}
                try:
                    known[clip.name] = side.ask("transcribe", audio=str(audio), options=options)["text"]
                except SideError as e:
                    heard.failed[clip.name] = str(e)
                    continue
                if i % 20 == 0 or clip is todo[-1]:
                    path.write_text(json.dumps({"asked": asked, "texts": known}, ensure_ascii=False, indent=0), "utf-8")
                    print(f"{text}: {i + 1} of {len(todo)}", file=sys.stderr, flush=True)
    heard.texts = {c.name: known[c.name] for c in clips if c.name in known}
    return heard


def lines(heard: Heard, clips: Sequence[Clip], peers: Path) -> list[dict[str, Any]]:
    """A line for each group: English, long English, other languages, zh ja ko; and each set without speech."""
    python = str(peers / "openai-whisper" / "bin" / "python")
    with tempfile.TemporaryDirectory() as folder, Peer(python, Path(folder), Path(folder), 1) as peer:
        scores = score(
            heard, clips, lambda language, texts: list(peer.ask("normalise", language=language, texts=texts))
        )
    found = []
    by_group: dict[str, list[Score]] = {}
    for s in scores:
        by_group.setdefault(group(s.set, s.language), []).append(s)
    for name, each in sorted(by_group.items()):
        mine = [c for c in clips if group(c.set, c.language) == name and c.name in heard.texts]
        total = sum((s.edits for s in each), Edits())
        n_with = sum(bool(heard.texts[c.name].strip()) for c in mine)
        hours = sum(c.duration_s for c in mine) / 3600
        counts = (total.n, total.substitutions, total.deletions, total.insertions, n_with)
        line = Line(heard.case.strategy, name, each[0].unit, len(mine), hours, *counts)
        found.append({field: getattr(line, field) for field in Line.__slots__})
    return found


def group(set: str, language: str) -> str:
    """Which line of the table a clip belongs to."""
    if not language:
        return f"no speech: {set}"
    if set in ("longform", "synthetic", "noise"):
        return f"{set}, {'zh ja ko' if language in BY_CHARACTER else 'words'}"
    return "English" if language == "en" else "zh ja ko" if language in BY_CHARACTER else "other languages"


def section(run: dict[str, Any]) -> str:
    """Markdown: error rates with deletions, then words per hour of sound without speech."""
    sides = list(dict.fromkeys(line["side"] for line in run["lines"]))
    speech = list(dict.fromkeys(x["group"] for x in run["lines"] if not x["group"].startswith("no speech")))
    out = [
        "Errors, and how many of them are deletions:",
        "",
        f"| side | {' | '.join(speech)} |",
        "|---" * (len(speech) + 1) + "|",
    ]
    for side in sides if speech else ():
        cells = [_errors(_of(run, side, name)) for name in speech]
        out.append(f"| {side} | {' | '.join(cells)} |")
    silent = list(dict.fromkeys(x["group"] for x in run["lines"] if x["group"].startswith("no speech")))
    if silent:
        heads = [name.removeprefix("no speech: ") for name in silent]
        out += ["", "Words per hour of sound without speech (words, recordings with words):", ""]
        out += [f"| side | {' | '.join(heads)} | all |", "|---" * (len(heads) + 2) + "|"]
    for side in sides if silent else ():
        each = [_of(run, side, name) for name in silent]
        known = [x for x in each if x is not None]
        cells = [_invented([x] if x else []) for x in each]
        out.append(f"| {side} | {' | '.join(cells)} | {_invented(known)} |")
    return "\n".join(out)


def _of(run: dict[str, Any], side: str, name: str) -> dict[str, Any] | None:
    return next((x for x in run["lines"] if x["side"] == side and x["group"] == name), None)


def _errors(line: dict[str, Any] | None) -> str:
    if line is None or not line["n"]:
        return "-"
    rate = 100 * (line["substitutions"] + line["deletions"] + line["insertions"]) / line["n"]
    return f"{rate:.2f} %, {line['deletions']}"


def _invented(each: Iterable[dict[str, Any]]) -> str:
    each = list(each)
    n, hours = sum(x["insertions"] for x in each), sum(x["hours"] for x in each)
    n_with, n_clips = sum(x["n_clips_with_words"] for x in each), sum(x["n_clips"] for x in each)
    return f"{n / hours:.0f} ({n}, {n_with} of {n_clips})" if hours else "-"


if __name__ == "__main__":
    sys.exit(main())
