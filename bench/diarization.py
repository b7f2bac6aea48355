"""How well speakers are told apart: DER, JER, numbers of speakers, speed; and whose words they are.

Conversations are joined from clips by one speaker each (conversations.py): of people whom nothing was tuned on
(HELD_OUT), and of all readers. Then what the data folder has: a long recording with turns, and meetings with RTTM.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from bench import report
from bench.conversations import conversation
from bench.diarization_score import Score, Turn, jaccard, read_rttm, score
from bench.report import Run

from sottovoce import Diarizer, Whisper
from sottovoce.audio import decode
from sottovoce.types import SAMPLE_RATE

COLLAR_S = 0.25
READERS = ("librispeech test-other", "ljspeech", "vctk")  # subsets with several clips of one speaker
HELD_OUT = ("2609", "3080", "367", "p287")  # of them, whom nothing was tuned on
LONG = "longform/librispeech-joined"
MEETINGS = "multispeaker/ami"
WORDS = "multispeaker/leopard__diarization_test.wav"
# DER without collar, overlap included, of pyannote/speaker-diarization-3.1; its model card (2023)
PUBLISHED = "pyannote 3.1: AMI IHM 18.8 %, AMI SDM 22.4 % (whole meetings, no collar, overlap included)"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    parser.add_argument("--seeds", type=int, default=5, help="conversations of each number of speakers")
    parser.add_argument("--length", type=float, default=180.0, help="seconds of each")
    parser.add_argument("--model", default="base", help="Whisper model whose words are given to speakers")
    parser.add_argument("--out", type=Path, help="JSON file; Markdown beside it")
    args = parser.parse_args(given)
    run = report.begun("diarization", "diarization", args, given)
    diarizer = Diarizer()
    rows = [_row(diarizer, *case) for case in _cases(args.data, args.seeds, args.length)]
    run["rows"] = rows
    run["words"] = whose_words(args.data, args.model)
    print(section(run))
    report.keep(args.out, run, section, "Who speaks when")


def _cases(
    data: Path, n_seeds: int, length_s: float
) -> Iterator[tuple[str, list[tuple[np.ndarray, list[Turn]]], bool]]:
    """(name, recordings with their turns, are they given the number of speakers)."""
    clips: dict[str, list[np.ndarray]] = defaultdict(list)
    for line in (data / "manifest.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["set"] == "english" and entry.get("subset") in READERS:
            clips[entry["speaker"]].append(decode.load(str(data / entry["path"])))
    held_out = {name: clips[name] for name in HELD_OUT}
    for what, who, most in (("held out", held_out, 4), ("all readers", clips, 6)):
        for n in range(2, most + 1):
            made = [conversation(who, n, length_s, 1000 * seed + n) for seed in range(1, n_seeds + 1)]
            some = [(c.samples, list(c.turns)) for c in made]
            yield f"{what}, {n} speakers", some, False
            if n == most:
                yield f"{what}, {n} speakers, told so", some, True
    turns = json.loads((data / f"{LONG}.turns.json").read_text("utf-8"))
    yield (
        LONG,
        [(decode.load(str(data / f"{LONG}.flac")), [(t["start"], t["end"], t["speaker"]) for t in turns])],
        False,
    )
    for rttm in sorted(data.glob(f"{MEETINGS}*.rttm")):
        for name, reference in read_rttm(rttm.read_text("utf-8").splitlines()).items():
            if (path := data / f"{MEETINGS}__{name}.wav").is_file():
                yield path.stem, [(decode.load(str(path)), list(reference))], False


def _row(
    diarizer: Diarizer, name: str, recordings: Sequence[tuple[np.ndarray, list[Turn]]], told: bool
) -> dict[str, Any]:
    totals: dict[str, Score] = {}
    right, jer, seconds, took = 0, 0.0, 0.0, 0.0
    for samples, reference in recordings:
        part = (0.0, samples.size / SAMPLE_RATE)
        n = len({speaker for *_, speaker in reference})
        begun = time.perf_counter()
        found = diarizer.turns(samples, speakers=n if told else None)
        took += time.perf_counter() - begun
        seconds += part[1]
        turns = [(turn.start, turn.end, turn.speaker) for turn in found]
        for way, more in WAYS.items():
            one = score(reference, turns, part=part, **more)
            totals[way] = totals[way] + one if way in totals else one
        right += len({speaker for *_, speaker in turns}) == n
        jer += jaccard(reference, turns) / len(recordings)
    print(f"{name}: DER {totals['no collar'].der:.1%}", flush=True)
    whole = totals["no collar"]
    parts = {k: getattr(whole, k) / whole.spoken for k in ("missed", "false_alarm", "confused")}
    ders = {way: total.der for way, total in totals.items()}
    return {"name": name, "n": len(recordings), "minutes": seconds / 60, "der": ders, **parts, "jer": jer,
            "right": right, "rtf": took / seconds}  # fmt: skip


WAYS: dict[str, dict[str, Any]] = {
    "no collar": {},
    "collar": {"collar_s": COLLAR_S},
    "no collar, no overlap": {"skip_overlap": True},
    "collar, no overlap": {"collar_s": COLLAR_S, "skip_overlap": True},
}


def whose_words(data: Path, model: str) -> dict[str, Any]:
    """How many of the words that were heard right went to the speaker who said them, of a recording with a script."""
    lines = (data / "manifest.jsonl").read_text("utf-8").splitlines()
    entry = next(e for e in map(json.loads, lines) if e["path"] == WORDS)
    said = [(word, str(s["speaker"])) for s in entry["segments"] for word in _words(s["text"])]
    transcript = Whisper(model).transcribe(str(data / WORDS), language="en", diarize=True)
    heard = [(w, str(s.speaker)) for s in transcript.segments for w in _words(s.text)]
    blocks = SequenceMatcher(None, [w for w, _ in said], [w for w, _ in heard], autojunk=False).get_matching_blocks()
    pairs = [(said[b.a + i][1], heard[b.b + i][1]) for b in blocks for i in range(b.size)]
    votes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for truth, found in pairs:
        votes[found][truth] += 1
    right = sum(max(of.values()) for of in votes.values())
    return {"recording": WORDS, "said": len(said), "matched": len(pairs), "right": right, "speakers": len(votes)}


def section(run: Run) -> str:
    """The Markdown of a run."""
    ways = list(WAYS)
    lines = [
        "| recordings | min | "
        + " | ".join(f"DER, {w}" for w in ways)
        + " | missed | false | confused | JER | speakers right | RTF |"
    ]
    lines.append("|" + "---|" * (len(ways) + 8))
    for row in run["rows"]:
        ders = " | ".join(f"{100 * row['der'][way]:.1f}" for way in ways)
        parts = " | ".join(f"{100 * row[k]:.1f}" for k in ("missed", "false_alarm", "confused", "jer"))
        n = f"{row['right']}/{row['n']}"
        lines.append(f"| {row['name']} | {row['minutes']:.1f} | {ders} | {parts} | {n} | {row['rtf']:.4f} |")
    w = run["words"]
    lines.append(f"\nPublished: {PUBLISHED}; on other recordings than these, which are easier but for the meetings.")
    lines.append(
        f"\nWords: {w['right']} of {w['matched']} that were heard right are their speaker's ({w['recording']})."
    )
    return "\n".join(lines)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


if __name__ == "__main__":
    main()
