"""Writes tests/data/writer_bytes.json: transcripts, and the bytes that openai-whisper's own writers make of them.

Run it where openai-whisper 20250625 is installed, and nothing of ours need be:

    python scripts/freeze_writer_outputs.py tests/data/writer_bytes.json            # what the repository keeps
    python scripts/freeze_writer_outputs.py /tmp/many.json --cases 500 --seed 1     # a larger draw, to compare by hand

Transcripts are drawn with a fixed seed from fragments that have broken writers before. A few outputs are kept whole,
to be read; of the rest, the SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from whisper.utils import get_writer

FORMATS = ("txt", "vtt", "srt", "tsv", "json")
FRAGMENTS = [
    *(
        " Hello",
        ",",
        " world",
        ".",
        " it's",
        " --> ",
        "-->",
        " a\tb",
        "\t",
        " line\nbreak",
        "\n",
        "tail\n",
        " ",
        "",
        "  ",
    ),
    *(
        " 你好",
        "世界",
        "。",
        " naïve",
        " Straße",
        " \U0001f389",
        " e\u0301",
        "\u00a0",
        "\u2028",
        " <b>",
        "</u>",
        "&",
        '"',
    ),
    *("\\1", " \\g<0>", " extraordinarily", " supercalifragilisticexpialidocious", " I", " सरल", " \ufffd", "\r", " ♪"),
]
LAYOUTS = [
    dict(zip(("max_line_width", "max_line_count", "highlight_words", "max_words_per_line"), values, strict=True))
    for values in itertools.product((None, 5, 20, 42), (None, 1, 2), (False, True), (None, 1, 4))
]


def draw_transcript(rng: random.Random, with_words: bool) -> dict[str, Any]:
    segments = []
    at = rng.choice([0.0, 0.0, 3.14, 3599.5, 36000.0])
    for i in range(rng.choice([0, 1, 2, 3, 4, 7])):
        start = at
        words = []
        for _ in range(rng.choice([0, 1, 3, 6, 12])):
            at = round(at + rng.choice([0.0, 0.0, 0.0, 0.02, 0.3, 0.5, 3.0, 3.02, 8.5]), 2)
            end = round(at + rng.choice([0.0, 0.1, 0.24, 0.7, 1.9]), 2)
            words.append({"word": rng.choice(FRAGMENTS), "start": at, "end": end, "probability": rng.random()})
            at = end
        segments.append(
            {
                "id": i,
                "seek": rng.randrange(0, 100_000),
                "start": start,
                "end": at + rng.choice([0.0, 0.0005, 0.0015, 0.3]),
                "text": "".join(word["word"] for word in words),
                "tokens": [rng.randrange(0, 51865) for _ in words],
                "temperature": rng.choice([0.0, 0.2, 0.6000000000000001, 1.0]),
                "avg_logprob": -rng.random(),
                "compression_ratio": rng.random() * 3,
                "no_speech_prob": rng.choice([rng.random(), 1.2e-12, float("nan")]),
            }
        )
        if with_words or not words:  # the reference gives a blanked segment an empty list even without word times
            segments[-1]["words"] = words
    if not with_words and segments and "words" in segments[0]:
        # the reference fails on a first segment with words before one without, so that is no case to freeze
        for segment in segments:
            segment.pop("words", None)
    return {"text": "".join(s["text"] for s in segments), "segments": segments, "language": rng.choice(["en", "zh"])}


def write(transcript: dict[str, Any], format: str, layout: dict[str, Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        get_writer(format, folder)(transcript, "clip.wav", **layout)
        return (Path(folder) / f"clip.{format}").read_bytes()


def freeze(n_cases: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    cases = []
    for i in range(n_cases):
        transcript = draw_transcript(rng, with_words=i % 4 != 3)
        outputs = []
        for layout in LAYOUTS:
            for format in FORMATS:
                if format not in ("vtt", "srt") and layout != LAYOUTS[0]:
                    continue  # the others know no layout
                data = write(transcript, format, layout)
                output = {"format": format, "layout": layout, "sha256": hashlib.sha256(data).hexdigest()}
                if i < 6 and rng.random() < 0.05:
                    output["text"] = data.decode("utf-8")
                outputs.append(output)
        cases.append({"transcript": transcript, "outputs": outputs})
    return {"source": "openai-whisper 20250625, whisper/utils.py", "seed": seed, "cases": cases}


def freeze_small(n_cases: int, seed: int) -> dict[str, Any]:
    """As `freeze`, each case with its own dozen of layouts, so that the file stays small and every layout occurs."""
    frozen = freeze(n_cases, seed)
    rng = random.Random(seed)
    for case in frozen["cases"]:
        plain = [o for o in case["outputs"] if o["format"] not in ("vtt", "srt")]
        rest = [o for o in case["outputs"] if o["format"] in ("vtt", "srt")]
        case["outputs"] = plain + rng.sample(rest, 24)
    return frozen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--cases", type=int, default=None, help="how many transcripts, each in every layout")
    parser.add_argument("--seed", type=int, default=20250625)
    given = parser.parse_args()
    frozen = freeze_small(48, given.seed) if given.cases is None else freeze(given.cases, given.seed)
    given.path.write_text(json.dumps(frozen, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
