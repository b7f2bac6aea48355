"""Recordings that switch their language, joined from clips: how many seconds are labelled right, and error rates.

python -m bench.languages --data FOLDER. Peers' `multilingual` labels nothing; of them only the words are scored.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.data import Clip, names, read
from bench.edits import Edits, edits

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.text.formats import Transcript
from sottovoce.types import SAMPLE_RATE

PAIRS = ("en/es", "zh/en", "fr/de", "ja/en", "ru/en", "it/es", "en/fr", "ko/en", "pt/en", "de/en")
SETS = ("english", "multilingual", "synthetic")
FEW = 6  # clips of a language, below which machine voices fill up
PAUSE_S = (0.3, 1.0)
RUN = (1, 3)  # clips of one language in a row
LONG_S = 25.0  # a clip so long is a run by itself
PEAK = 0.6  # every clip is as loud
# characters of scripts without spaces are counted singly
UNITS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


@dataclass(frozen=True, slots=True)
class Turn:
    """A clip in a recording: when it is heard, in which language, and what it says."""

    start_s: float
    end_s: float
    language: str
    text: str


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.languages", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--model", default="base")
    p.add_argument("--pairs", type=names, default=list(PAIRS), help="of languages, such as en/es, by comma")
    p.add_argument("--seeds", type=names, default=["1"], help="of the joins, by comma; 100 and 101 were tuned on")
    p.add_argument("--length", type=float, default=75.0, help="seconds of a recording")
    args = p.parse_args(argv)
    clips = [c for c in read(args.data, SETS) if c.trusted and 2 <= c.duration_s <= 60 and "fsdd" not in c.name]
    ways = ("language=first", "languages", "multilingual", "sequential languages", "sequential multilingual")
    totals = {way: ([0.0, 0.0, 0.0], Edits()) for way in ways}
    with Whisper(args.model) as whisper:
        for pair in args.pairs:
            first, second = pair.split("/")
            for seed in args.seeds:
                samples, turns = join([_of(clips, first), _of(clips, second)], f"{pair}{seed}", args.length)
                for way in ways:
                    began = time.perf_counter()
                    transcript = whisper.transcribe(samples, **_options(way, first, second))
                    took_s = time.perf_counter() - began
                    seconds, errors = labels(transcript, turns), mistakes(transcript, turns)
                    kept = totals[way]
                    totals[way] = ([a + b for a, b in zip(kept[0], seconds, strict=True)], kept[1] + errors)
                    print(f"{pair} {seed} {_line(way, seconds, errors)}, {took_s:.1f} s", flush=True)
    print()
    for way, (seconds, errors) in totals.items():
        print(_line(way, seconds, errors))
    return 0


def join(pools: list[list[Clip]], seed: str, length_s: float) -> tuple[np.ndarray, list[Turn]]:
    """(N,) samples of clips of several languages in turn, runs of one to three, with pauses."""
    draw = random.Random(seed)
    for pool in pools:
        draw.shuffle(pool)
    parts: list[np.ndarray] = []
    turns: list[Turn] = []
    n, at, of = 0, [0] * len(pools), draw.randrange(len(pools))
    while n < length_s * SAMPLE_RATE:
        for _ in range(draw.randint(*RUN)):
            clip = pools[of][at[of] % len(pools[of])]
            at[of] += 1
            sound = decode.load(str(clip.path))
            sound = sound * (PEAK / max(1e-3, float(np.abs(sound).max())))
            pause = np.zeros(round(draw.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32)
            turns.append(Turn(n / SAMPLE_RATE, (n + len(sound)) / SAMPLE_RATE, clip.language, clip.reference or ""))
            parts += [sound, pause]
            n += len(sound) + len(pause)
            if clip.duration_s > LONG_S:
                break
        of = (of + 1) % len(pools)
    noise = np.random.default_rng(0).normal(scale=1e-4, size=n)
    return (np.concatenate(parts) + noise).astype(np.float32), turns


def labels(transcript: Transcript, turns: Sequence[Turn]) -> list[float]:
    """Seconds of clips that are in segments of their language, and of another, and all of them."""
    right = wrong = 0.0
    for turn in turns:
        for s in transcript.segments:
            both = max(0.0, min(s.end, turn.end_s) - max(s.start, turn.start_s))
            if (s.language or transcript.language) == turn.language:
                right += both
            else:
                wrong += both
    return [right, wrong, sum(t.end_s - t.start_s for t in turns)]


def mistakes(transcript: Transcript, turns: Sequence[Turn]) -> Edits:
    """Words, and characters of scripts without spaces, that are wrong; case, marks and accents do not count."""
    return edits(units(" ".join(t.text for t in turns)), units(" ".join(s.text for s in transcript.segments)))


def units(text: str) -> list[str]:
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return UNITS.findall(unicodedata.normalize("NFC", text))


def _of(clips: Sequence[Clip], language: str) -> list[Clip]:
    spoken = [c for c in clips if c.language == language]
    people = [c for c in spoken if c.set != "synthetic"]
    return people if len(people) >= FEW else spoken


def _options(way: str, first: str, second: str) -> dict[str, object]:
    sequential = {"strategy": "sequential"} if way.startswith("sequential") else {}
    if way == "language=first":
        return {"language": first}
    return sequential | ({"multilingual": True} if way.endswith("multilingual") else {"languages": [first, second]})


def _line(way: str, seconds: Sequence[float], errors: Edits) -> str:
    right, wrong, total = seconds
    rate = f"{100 * errors.rate:.1f} %" if errors.n else "-"
    return f"{way}: {right / total:.1%} labelled right, {wrong / total:.1%} wrong, errors {rate} of {errors.n}"


if __name__ == "__main__":
    sys.exit(main())
