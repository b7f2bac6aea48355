"""Token times -> words in segments. Pure: no window, no tensor.

Source: openai/whisper timing.py (find_alignment, merge_punctuations, add_word_timestamps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Aligned, Segment, Word

POSITIONS_PER_S = 50  # audio positions of the encoder: 1500 in 30 s
SENTENCE_ENDS = ".。!！?？"
LONGEST_MEDIAN_S = 0.7  # a window of drawled words must not stretch what counts as too long
DRIFT_S = 0.5  # a segment's own time wins where a word strays further than this


@dataclass(slots=True)
class Timing:
    """A word on its way to its place: n_tokens of its own and of the marks that joined it; times by attention."""

    word: str
    n_tokens: int
    start: np.float64
    end: np.float64
    probability: float


def place_words(
    segments: Sequence[Segment],
    tokenizer: Tokenizer,
    aligned: Aligned | None,
    *,
    offset_s: float,
    last_speech_s: float,
    prepend: str,
    append: str,
) -> list[Segment]:
    """The segments of one window with their words, start and end moved to the words.

    aligned: of all text tokens of the segments, in order, or of the first of them; None if there are none.
    offset_s: where the window begins. last_speech_s: end of the last word before the window.
    """
    texts = [[t for t in s.tokens if t < tokenizer.eot] for s in segments]
    timings = _timings(tokenizer, [t for text in texts for t in text], aligned)
    durations = np.array([t.end - t.start for t in timings])
    durations = durations[durations.nonzero()]
    median = min(LONGEST_MEDIAN_S, float(np.median(durations)) if len(durations) else 0.0)
    longest = 2 * median
    if len(durations):
        _shorten_at_sentence_ends(timings, longest)
    merge_punctuation(timings, prepend, append)
    placed: list[Segment] = []
    i = 0
    for segment, text in zip(segments, texts, strict=True):
        n_tokens = 0
        words: list[Timing] = []
        while i < len(timings) and n_tokens < len(text):
            t = timings[i]
            if t.word:
                start, end = (np.float64(round(offset_s + x, 2)) for x in (t.start, t.end))
                words.append(replace(t, start=start, end=end))
            n_tokens += t.n_tokens
            i += 1
        start_s, end_s = segment.start, segment.end
        if words:
            _shorten_after_pause(words, last_speech_s, median, longest)
            start_s, end_s = _reconcile(words, segment, median)
            last_speech_s = end_s
        found = tuple(Word(w.word, float(w.start), float(w.end), w.probability) for w in words)
        placed.append(replace(segment, start=start_s, end=end_s, words=found))
    return placed


def _timings(tokenizer: Tokenizer, text: list[int], aligned: Aligned | None) -> list[Timing]:
    if not text or aligned is None:
        return []
    words, tokens = tokenizer.split_to_word_tokens([*text, tokenizer.eot])
    if len(tokens) <= 1:
        return []
    bounds = np.concatenate([[0], np.cumsum([len(t) for t in tokens[:-1]])])
    # what was too long to be read at once stands where the rest of it ends
    n_missing = len(text) - len(aligned.probs)
    times = np.pad(np.array(aligned.jumps) / POSITIONS_PER_S, (0, n_missing), mode="edge")
    probs = np.pad(np.array(aligned.probs), (0, n_missing))
    return [
        Timing(word, len(t), times[i], times[j], float(np.mean(probs[i:j])))
        for word, t, i, j in zip(words, tokens, bounds[:-1], bounds[1:], strict=False)
    ]


def _shorten_at_sentence_ends(timings: list[Timing], longest: float) -> None:
    """Silence after a sentence sticks to its mark, or to the word after it: take it away."""
    for before, t in pairwise(timings):
        if t.end - t.start > longest:
            if t.word in SENTENCE_ENDS:
                t.end = t.start + longest
            elif before.word in SENTENCE_ENDS:
                t.start = t.end - longest


def merge_punctuation(timings: list[Timing], prepend: str, append: str) -> None:
    """Opening marks join the word after them, closing marks the word before; what is emptied keeps its place."""
    following = len(timings) - 1
    for i in range(len(timings) - 2, -1, -1):
        t, after = timings[i], timings[following]
        if t.word.startswith(" ") and t.word.strip() in prepend:
            after.word, after.n_tokens = t.word + after.word, t.n_tokens + after.n_tokens
            t.word, t.n_tokens = "", 0
        else:
            following = i
    preceding = 0
    for i in range(1, len(timings)):
        before, t = timings[preceding], timings[i]
        if not before.word.endswith(" ") and t.word in append:
            before.word, before.n_tokens = before.word + t.word, before.n_tokens + t.n_tokens
            t.word, t.n_tokens = "", 0
        else:
            preceding = i


def _shorten_after_pause(words: list[Timing], last_speech_s: float, median: float, longest: float) -> None:
    """The first words after a pause must not reach back into it."""
    first = words[0]
    if first.end - last_speech_s <= 4 * median:
        return
    second = words[1] if len(words) > 1 else None
    if first.end - first.start > longest or (second and second.end - first.start > 2 * longest):
        if second and second.end - second.start > longest:
            first.end = second.start = max(second.end / 2, second.end - longest)
        first.start = max(np.float64(0), first.end - longest)


def _reconcile(words: list[Timing], segment: Segment, median: float) -> tuple[float, float]:
    """Words and segment agree on where they begin and end; returns the segment's times."""
    first, last = words[0], words[-1]
    start, end = segment.start, segment.end
    if start < first.end and start - DRIFT_S > first.start:
        first.start = np.float64(max(0, min(first.end - median, start)))
    else:
        start = float(first.start)
    if end > last.start and end + DRIFT_S < last.end:
        last.end = np.float64(max(last.start + median, end))
    else:
        end = float(last.end)
    return start, end
