"""Attention's times -> words of one window, moved to the sound. For the parallel strategy; words.py is openai's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sottovoce.flow import onsets
from sottovoce.flow.spans import Stretch
from sottovoce.flow.words import POSITIONS_PER_S, Timing, merge_punctuation
from sottovoce.text.tokenizer import UNSPACED, Tokenizer
from sottovoce.text.unspaced import is_spoken, joined
from sottovoce.types import SAMPLE_RATE, Aligned, Segment, Word


def place_heard(
    segments: Sequence[Segment],
    tokenizer: Tokenizer,
    aligned: Aligned,
    samples: np.ndarray,
    stretch: Stretch,
    *,
    lag_s: float | None,
    prepend: str,
    append: str,
) -> list[Segment]:
    """The segments of one window with their words, and themselves from the first to the last of them.

    aligned: of all text tokens of the segments, in order, or of the first of them. samples: of the recording; stretch:
    the window's place in it. lag_s: as Checkpoint has it. Words are in order, have a length, and do not overlap; one
    with nothing in it that is spoken belongs to the word before it.
    """
    lines: list[list[Timing]] = []
    i = 0
    for s in segments:
        text = [t for t in s.tokens if t < tokenizer.eot]
        lines.append(_timings(tokenizer, text, aligned, i, prepend, append))
        i += len(text)
    start = stretch.start
    speech = [(span.start - start, span.end - start) for span in stretch.speech]
    heard = onsets.track(samples[start : stretch.end], speech)
    times = iter(onsets.place(heard, [(float(t.start), float(t.end)) for line in lines for t in line], lag_s))
    offset_s = start / SAMPLE_RATE
    placed = []
    for s, line in zip(segments, lines, strict=True):
        words = tuple(
            Word(t.word, round(offset_s + a, 4), round(offset_s + b, 4), t.probability)
            for t, (a, b) in zip(line, times, strict=False)
        )
        placed.append(replace(s, start=words[0].start, end=words[-1].end, words=words) if words else s)
    return placed


def within(words: Sequence[Word], start_s: float, end_s: float) -> tuple[Word, ...]:
    """The words inside of a segment that has been moved, each with a length if there is room for any."""
    if all(start_s <= w.start < w.end <= end_s for w in words):
        return tuple(words)
    times = onsets.spread([(w.start, w.end) for w in words], start_s, end_s)
    return tuple(replace(w, start=a, end=b) for w, (a, b) in zip(words, times, strict=True))


def _timings(
    tokenizer: Tokenizer, text: list[int], aligned: Aligned, first: int, prepend: str, append: str
) -> list[Timing]:
    """The words of one segment, whose tokens are those from `first` on of what was aligned."""
    words, tokens = split(tokenizer, text)
    n_known = len(aligned.probs)
    found, at = [], first
    for word, ids in zip(words, tokens, strict=True):
        # what was too long to be read at once stands where the rest of it ends
        a, b = (min(i, n_known) for i in (at, at + len(ids)))
        probability = float(np.mean(aligned.probs[a:b])) if b > a else 0.0
        start, end = (np.float64(aligned.jumps[i] / POSITIONS_PER_S) for i in (a, b))
        found.append(Timing(word, len(ids), start, end, probability))
        at += len(ids)
    if tokenizer.language not in UNSPACED:
        merge_punctuation(found, prepend, append)
    return _spoken([t for t in found if t.word])


def split(tokenizer: Tokenizer, text: Sequence[int]) -> tuple[list[str], list[list[int]]]:
    """The words of ids and the ids of each: as spaces part them, or, where there are none, unspaced.py."""
    if tokenizer.language not in UNSPACED:
        return tokenizer.split_on_spaces(text)
    pieces, ids = tokenizer.split_on_unicode(text)
    words: list[str] = []
    tokens: list[list[int]] = []
    at = 0
    for n in joined(pieces, tokenizer.language):
        words.append("".join(pieces[at : at + n]))
        tokens.append([t for part in ids[at : at + n] for t in part])
        at += n
    return words, tokens


def _spoken(found: list[Timing]) -> list[Timing]:
    """What holds marks alone joins the word before it, or the first one."""
    kept: list[Timing] = []
    leading = ""
    for t in found:
        if is_spoken(t.word):
            t.word, leading = leading + t.word, ""
            kept.append(t)
        elif kept:
            kept[-1].word += t.word
        else:
            leading += t.word
    if leading and found:
        found[0].word = leading
        return found[:1]
    return kept
