"""Keywords: how many rare words are found with and without them, and what a thousand others do to the text.

python -m bench.keywords --data FOLDER. Rare words are those of a reference that the vocabulary has no single token for.
Clips are parted by the checksum of their name; gains were tuned on one half (flow/keywords.py), the other is reported.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data import Clip, commit, names, read
from bench.edits import Edits, edits

from sottovoce.api import Whisper
from sottovoce.flow.drive import Done
from sottovoce.text.tokenizer import Tokenizer

LEAST_LETTERS = 5  # of a rare word
LEAST_S = 1.5  # a clip of one digit says nothing of names
HALVES = ("tuned", "held out")
ONSETS = re.findall(
    "[a-z]+", "b c d f g h j k l m n p r s t v w z br cr dr gr kr pr tr st sl sch pl bl cl gl th sh ch kn"
)
VOWELS = re.findall("[a-z]+", "a e i o u ai ei ou ie ee oa au")
CODAS = ["", "", *re.findall("[a-z]+", "n r l s t m d k nd rt st ll ck ng rd x mb ss tz")]
ENDS = ["", "", *re.findall("[a-z]+", "son man ski ova ez ini berg ford ley stein idis sen ton ia ius ette wick worth")]


@dataclass(frozen=True, slots=True)
class Found:
    """Of one way of decoding: rare words that were found of all, edits of all words, seconds, texts by clip."""

    n_found: int
    n: int
    edits: Edits
    seconds: float
    texts: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    clips = [c for c in read(args.data, args.sets) if c.trusted and c.language == "en" and c.duration_s > LEAST_S]
    half = [c for c in clips if half_of(c) == args.half]
    rare = {c.name: rare_words(c.reference or "") for c in clips}
    own = sorted({w for c in half for w in rare[c.name]})
    others = sorted({w for c in clips if half_of(c) != args.half for w in rare[c.name]} - set(own))
    distractors = [*others, *made_up(args.distractors)][: args.distractors]
    ways = {
        "without": {},
        "keywords": {"keywords": own},
        f"keywords among {len(distractors)} others": {"keywords": [*own, *distractors]},
        f"{len(distractors)} others alone": {"keywords": distractors},
        "keywords as hotwords": {"hotwords": " ".join(own)},
    }
    print(f"{len(half)} clips of the half {args.half!r}, {len(own)} rare words; commit {commit()}\n")
    print("| model | beams | way | rare words found | WER | texts that differ | s |\n|---|---|---|---|---|---|---|")
    for model in args.models:
        with Whisper(model) as whisper:
            for beams in args.beams:
                plain: dict[str, str] = {}
                for way, options in ways.items():
                    f = measure(whisper, half, rare, {"beam_size": int(beams), **options})
                    share = f"{f.n_found} of {f.n} ({100 * f.n_found / f.n:.0f} %)"
                    plain = plain or f.texts
                    changed = [name for name, text in f.texts.items() if text != plain[name]]
                    counts = f"{len(changed)} of {len(f.texts)}", f"{f.seconds:.1f}"
                    cells = [model, beams, way, share, f"{100 * f.edits.rate:.1f} %", *counts]
                    print("| " + " | ".join(cells) + " |", flush=True)
                    for name in changed if "alone" in way else ():
                        print(f"  {name}: {plain[name]!r} -> {f.texts[name]!r}")
    return 0


def measure(whisper: Whisper, clips: Sequence[Clip], rare: dict[str, list[str]], options: dict[str, object]) -> Found:
    """Transcribe the clips together, and count."""
    n_found = n = 0
    total, texts, began = Edits(), dict[str, str](), time.perf_counter()
    for name, said in whisper.transcribe_each([(c.name, str(c.path)) for c in clips], language="en", **options):
        if not isinstance(said, Done):
            continue
        if said.error is not None:
            raise said.error
        assert said.transcript is not None
        texts[name] = said.transcript.text
        written = words(said.transcript.text)
        n_found += len(set(written) & set(rare[name]))
        n += len(rare[name])
        total += edits(words(next(c.reference for c in clips if c.name == name) or ""), written)
    return Found(n_found, n, total, time.perf_counter() - began, texts)


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def rare_words(text: str) -> list[str]:
    """Words, each once, that no single token writes."""
    t = Tokenizer(51865)
    long = (w for w in dict.fromkeys(words(text)) if len(w) >= LEAST_LETTERS and w.isalpha())
    return [w for w in long if all(len(t.encode(f" {form}")) > 1 for form in (w, w.capitalize()))]


def half_of(clip: Clip) -> str:
    return HALVES[zlib.crc32(clip.name.encode()) % 2]


def made_up(n: int, seed: int = 0) -> list[str]:
    """So many names of syllables, the same every time."""
    dice = random.Random(seed)
    found: set[str] = set()
    while len(found) < n:
        n_syllables = dice.choice((1, 2, 2))
        syllables = (dice.choice(ONSETS) + dice.choice(VOWELS) + dice.choice(CODAS) for _ in range(n_syllables))
        found.add(("".join(syllables) + dice.choice(ENDS)).capitalize())
    return sorted(found)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.keywords", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--sets", type=names, default=["english"], help="of the data, by comma")
    p.add_argument("--half", choices=HALVES, default=HALVES[1])
    p.add_argument("--models", type=names, default=["base"], help="by comma")
    p.add_argument("--beams", type=names, default=["1", "5"], help="beam sizes by comma; 1 is greedy")
    p.add_argument("--distractors", type=int, default=1000)
    return p


if __name__ == "__main__":
    sys.exit(main())
