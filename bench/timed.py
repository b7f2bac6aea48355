"""Recordings in which the time of every word is known: python -m bench.timed OUT --prompts FOLDER ...

    single words   cut out of their clips by energy, joined at known places: with pauses of 0 to 1.2 s, and noise below
    sentences      read by a Piper voice, whose network says how long it makes every phoneme
    annotated      what people have marked by hand (TextGrids), joined like words
    utterances     clips joined at known places: the first word of each begins, and its last word ends, at a known time

OUT/timed.jsonl: path (16 kHz, .npy), set, language, and words as [word, start_s, end_s].
Sources: --prompts: the unpacked Debian packages asterisk-core-sounds-*-wav; --data: bench/README.md's folder;
--textgrids: NAME.wav beside NAME.TextGrid, such as the examples of praatio's sources; --voice: a Piper voice, its
network with the durations as a second output (bench/README.md).
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench.data import read

from sottovoce.audio import decode
from sottovoce.types import SAMPLE_RATE

MANIFEST = "timed.jsonl"
PAUSES_S = (0.0, 0.0, 0.05, 0.15, 0.3, 0.6, 1.2)
HOP = 80  # samples (5 ms) at which a clip's edges are looked for
BELOW_DB = (
    25  # of a clip's loudest 10 ms: what is quieter at its edges is breath, noise, or room, and no part of the word
)
NOISE = 10 ** (-65 / 20)  # below everything, so that silence is not digital
N_WORDS = 36  # of a recording
DIGITS = {
    "en": "zero one two three four five six seven eight nine",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "ru": "ноль один два три четыре пять шесть семь восемь девять",
}
DAYS = {  # of asterisk, from Sunday on
    "en": "sunday monday tuesday wednesday thursday friday saturday",
    "es": "domingo lunes martes miércoles jueves viernes sábado",
    "fr": "dimanche lundi mardi mercredi jeudi vendredi samedi",
    "it": "domenica lunedì martedì mercoledì giovedì venerdì sabato",
    "ru": "воскресенье понедельник вторник среда четверг пятница суббота",
}
MONTHS = {
    "en": "january february march april may june july august september october november december",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "ru": "",
}
MORE = "today tomorrow yesterday dollars hundred thousand million minus star pound"
ALPHABET = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec "
    "romeo sierra tango uniform victor whiskey x-ray yankee zulu"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A sound and its words: (word, start, end), seconds from the sound's beginning."""

    samples: np.ndarray
    words: tuple[tuple[str, float | None, float | None], ...]


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.timed", description=__doc__)
    p.add_argument("out", type=Path)
    p.add_argument("--data", type=Path)
    p.add_argument("--prompts", type=Path)
    p.add_argument("--textgrids", type=Path)
    p.add_argument("--voice", type=Path)
    args = p.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, language, piece in _recordings(args):
        same = sum(line["set"] == name for line in lines)
        path = f"{name}-{same}.npy"
        np.save(args.out / path, piece.samples.astype(np.float32))
        lines.append({"path": path, "set": name, "language": language, "words": piece.words})
        print(f"{path}: {len(piece.samples) / SAMPLE_RATE:.1f} s, {len(piece.words)} words")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (args.out / MANIFEST).write_text(text, "utf-8")
    return 0


def _recordings(args: argparse.Namespace) -> Iterator[tuple[str, str, Piece]]:
    if args.data:
        clips = read(args.data)
        digits = [c for c in clips if "fsdd" in c.name]
        pieces = [trimmed(decode.load(str(c.path)), c.reference or "") for c in digits]
        yield from _joined("digits", "en", pieces, 4)
    if args.prompts:
        for folder in sorted(args.prompts.glob("*_*_*")):
            language = folder.name[:2].lower()
            yield from _joined(f"prompts-{language}", language, list(_prompts(folder, language)), 4)
    if args.textgrids:
        pieces = [_annotated(grid) for grid in sorted(args.textgrids.glob("*.TextGrid")) if _is_marked(grid)]
        yield from _joined("annotated", "en", pieces, 4, len(pieces))
    if args.voice:
        from bench.spoken import sentences

        texts = [c.reference or "" for c in read(args.data) if "librispeech-test" in c.name]
        pieces = [Piece(samples, words) for samples, words in sentences(args.voice, texts[:24])]
        yield from _joined("sentences", "en", pieces, 6, 4)


def trimmed(samples: np.ndarray, word: str) -> Piece:
    """One word without the quiet before and after it."""
    n = len(samples) // HOP
    power = np.square(samples[: n * HOP].reshape(n, HOP)).mean(axis=1)
    power = np.convolve(power, [0.5, 0.5], mode="same")
    loud = np.flatnonzero(power > power.max() * 10 ** (-BELOW_DB / 10))
    part = samples[loud[0] * HOP : (loud[-1] + 1) * HOP]
    return Piece(part, ((word, 0.0, len(part) / SAMPLE_RATE),))


def _joined(
    name: str, language: str, pieces: list[Piece], n_recordings: int, n_pieces: int = N_WORDS
) -> Iterator[tuple[str, str, Piece]]:
    """Recordings of pieces in a drawn order. Even ones are for tuning, see bench/wordtimes.py: they share no piece with
    odd ones."""
    draw = random.Random(name)
    noise = np.random.default_rng(0)
    for i in range(n_recordings):
        half = pieces[i % 2 :: 2]
        turn = draw.sample(half, min(n_pieces, len(half)))
        parts, words, at = [np.zeros(SAMPLE_RATE // 2)], [], SAMPLE_RATE // 2
        for piece in turn:
            parts.append(piece.samples)
            words += [
                (w, *(None if t is None else round(t + at / SAMPLE_RATE, 4) for t in (a, b))) for w, a, b in piece.words
            ]
            quiet = np.zeros(round(draw.choice(PAUSES_S) * SAMPLE_RATE))
            parts.append(quiet)
            at += len(piece.samples) + len(quiet)
        parts.append(np.zeros(SAMPLE_RATE // 2))
        samples = np.concatenate(parts)
        samples = samples + NOISE * noise.standard_normal(len(samples))
        yield name, language, Piece(samples, tuple(words))


def _prompts(folder: Path, language: str) -> Iterator[Piece]:
    found: list[tuple[str, str]] = [(f"digits/{i}", w) for i, w in enumerate(DIGITS[language].split())]
    found += [(f"digits/day-{i}", w) for i, w in enumerate(DAYS[language].split())]
    found += [(f"digits/mon-{i}", w) for i, w in enumerate(MONTHS[language].split())]
    if language == "en":
        found += [(f"digits/{w}", w) for w in MORE.split()]
        found += [(f"phonetic/{w[0]}_p", w) for w in ALPHABET.split()]
    for path, word in found:
        if (folder / f"{path}.wav").is_file():
            samples = decode.load(str(folder / f"{path}.wav"))
            if 0.1 < len(samples) / SAMPLE_RATE < 2.5:
                yield trimmed(samples / np.abs(samples).max() * 0.5, word)


INTERVAL = re.compile(r'(?:xmin = )?([\d.]+)\s+(?:xmax = )?([\d.]+)\s+(?:text = )?"(\w+)"')


def _is_marked(grid: Path) -> bool:
    return _tier(grid) != "" and _sound(grid).is_file()


def _sound(grid: Path) -> Path:
    return grid.with_name(grid.stem.removesuffix("_words") + ".wav")


def _tier(grid: Path) -> str:
    """The intervals of words: from the tier's name to the next one's."""
    text = grid.read_text("utf-8", errors="replace")
    found = re.search(r'"words?"(.*?)(?:"IntervalTier"|"TextTier"|$)', text, re.DOTALL)
    return found[1] if found else ""


def _annotated(grid: Path) -> Piece:
    words = tuple((w.lower(), float(a), float(b)) for a, b, w in INTERVAL.findall(_tier(grid)))
    return Piece(decode.load(str(_sound(grid))), words)


if __name__ == "__main__":
    raise SystemExit(main())
