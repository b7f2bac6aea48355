"""Where a stretch of speech switches its language: cut in its pauses, each piece heard by itself. No I/O.

speech      [---] [-------]   [----] [--]  [------]
pieces      [----|---------|--------------|-------)     cut in pauses, none with less than LEAST_S of speech
heard        en    en        de            en
parts       [--------------|--------------|-------)     runs of one language, as few as the evidence allows

One language for a whole window will not do, however sure it is: with 9.7 s of English in 28 s, Korean was heard with
0.999 (docs/log.md). Pieces between pauses were heard wrong in 2 of 130.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt

import numpy as np

from sottovoce.flow.cutting import named_sound
from sottovoce.flow.listen import Asker, detect
from sottovoce.flow.protocol import Event, Got, Wait
from sottovoce.flow.spans import Span, Stretch, quietest
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Segment, Window

PAUSE_S = 0.2  # from which speech may switch
LEAST_S = 1.5  # of speech in a piece: in less, languages are guessed
EVIDENCE_S, MOST_EVIDENCE = 2.0, 3.0  # of speech that count once; a long piece counts no more than so often
FLOOR = 0.003  # no piece is surer than this that a language is not spoken
SWITCH = 2.5  # what a change of language costs, in the logarithm of probability; flat from 2 to 3


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch in one language."""

    stretch: Stretch
    language: str


def follow(
    asker: Asker,
    tokenizer: Tokenizer,
    among: Sequence[str],
    samples: np.ndarray,
    peak: float,
    stretch: Stretch,
) -> Generator[Window | Wait | Event, Got | None, list[Part]]:
    """The stretch in parts of one language each, in order. among: codes of the languages that may be spoken."""
    cut = pieces(stretch, samples)
    heard: list[Mapping[str, float]] = []
    weights: list[float] = []
    for piece in cut:
        found = yield from detect(asker, tokenizer, *named_sound(samples, piece, peak))
        sure = sum(found.probs[code] for code in among)
        heard.append({code: found.probs[code] / sure if sure else 1 / len(among) for code in among})
        # what sounds like none of them tells little about which of them it is
        weights.append(min(MOST_EVIDENCE, speech_s(piece) / EVIDENCE_S) * sqrt(sure))
    said = languages(heard, weights)
    runs: list[tuple[list[Stretch], str]] = []
    for piece, language in zip(cut, said, strict=True):
        if runs and runs[-1][1] == language:
            runs[-1][0].append(piece)
        else:
            runs.append(([piece], language))
    return [Part(_joined(run), language) for run, language in runs]


def languages(probs: Sequence[Mapping[str, float]], weights: Sequence[float]) -> list[str]:
    """The most probable language of each piece, where every change costs (Viterbi's algorithm)."""
    among = list(dict.fromkeys(max(p, key=lambda c: p[c]) for p in probs))
    best = {code: 0.0 for code in among}
    before: list[dict[str, str]] = []
    for p, weight in zip(probs, weights, strict=True):
        top = max(best, key=lambda c: best[c])
        came = {code: code if best[code] >= best[top] - SWITCH else top for code in among}
        before.append(came)
        best = {
            code: best[came[code]] - SWITCH * (came[code] != code) + weight * log(max(p[code], FLOOR)) for code in among
        }
    code = max(best, key=lambda c: best[c])
    found = [code]
    for came in reversed(before[1:]):
        code = came[code]
        found.append(code)
    return found[::-1]


def pieces(stretch: Stretch, samples: np.ndarray) -> list[Stretch]:
    """A stretch cut in its pauses, so that each piece has speech enough to tell its language; they fill it."""
    groups = [[span] for span in stretch.speech]
    pause = round(PAUSE_S * SAMPLE_RATE)
    while len(groups) > 1:
        gaps = [b[0].start - a[-1].end for a, b in pairwise(groups)]
        narrow = [i for i, gap in enumerate(gaps) if gap < pause]
        short = min(range(len(groups)), key=lambda i: _seconds(groups[i]))
        if narrow:
            i = narrow[0]
        elif _seconds(groups[short]) < LEAST_S:
            i = min((j for j in (short - 1, short) if 0 <= j < len(gaps)), key=lambda j: gaps[j])
        else:
            break
        groups[i : i + 2] = [groups[i] + groups[i + 1]]
    found = []
    start = stretch.start
    for i, group in enumerate(groups):
        last = i + 1 == len(groups)
        end = stretch.end if last else quietest(samples, group[-1].end, groups[i + 1][0].start)
        found.append(Stretch(start, end, tuple(group), stretch.in_speech and last))
        start = end
    return found


def by_language(segments: Sequence[Segment]) -> dict[str, float]:
    """The share of each language in the seconds of segments that say theirs, the largest first."""
    found: dict[str, float] = {}
    for s in segments:
        if s.language is not None:
            found[s.language] = found.get(s.language, 0.0) + s.end - s.start
    total = sum(found.values())
    shares = {code: round(seconds / total, 4) if total else 0.0 for code, seconds in found.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def speech_s(stretch: Stretch) -> float:
    """Seconds of speech in a stretch."""
    return _seconds(stretch.speech)


def _seconds(spans: Sequence[Span]) -> float:
    return sum(s.end - s.start for s in spans) / SAMPLE_RATE


def _joined(run: Sequence[Stretch]) -> Stretch:
    return Stretch(run[0].start, run[-1].end, tuple(s for piece in run for s in piece.speech), run[-1].in_speech)
