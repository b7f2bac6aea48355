"""A window's tokens -> segments, cut at its pairs of timestamps. Pure: no window is asked.

Source: openai/whisper transcribe.py (20250625).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from sottovoce.audio.mel import HOP
from sottovoce.flow.question import POSITION_S
from sottovoce.text.formats import compression_ratio
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Decoded, Segment


def closed(tokenizer: Tokenizer, decoded: Decoded, seek: int) -> tuple[list[Segment], int]:
    """The segments between a window's pairs of timestamps, and how many of its tokens they hold.

    A last segment that ends with one timestamp is closed too if there is any pair. seek: the window's first mel frame.
    What follows, if anything, is text after the last timestamp; without any pair, all of it is.
    """
    tokens, begin, offset_s = decoded.tokens, tokenizer.timestamp_begin, seek * HOP / SAMPLE_RATE
    cuts = [i for i, (a, b) in enumerate(pairwise(tokens), start=1) if a >= begin and b >= begin]
    if not cuts:
        return [], 0
    if ends_in_silence(tokenizer, decoded):
        cuts.append(len(tokens))
    found = []
    for part in (slice(a, b) for a, b in zip([0, *cuts], cuts, strict=False)):
        start, end = ((t - begin) * POSITION_S for t in (tokens[part][0], tokens[part][-1]))
        found.append(segment(tokenizer, decoded, seek, part, offset_s + start, offset_s + end))
    return found, cuts[-1]


def ends_in_silence(tokenizer: Tokenizer, decoded: Decoded) -> bool:
    """Did the model close the window with one timestamp? It says that no speech follows."""
    return [t >= tokenizer.timestamp_begin for t in decoded.tokens[-2:]] == [False, True]


def segment(tokenizer: Tokenizer, decoded: Decoded, seek: int, part: slice, start: float, end: float) -> Segment:
    """The segment of some of a window's tokens. start, end: seconds in the recording."""
    tokens = decoded.tokens[part]
    text = tokenizer.decode([t for t in tokens if t < tokenizer.eot])
    ratio = compression_ratio(tokenizer.decode(decoded.tokens).strip())
    probs = (decoded.temperature, decoded.avg_logprob, ratio, decoded.no_speech_prob)
    return Segment(0, seek, start, end, text, tokens, *probs, logprobs=decoded.logprobs[part])


def joined(tokens: Sequence[int], more: Decoded, before: Sequence[float] = ()) -> Decoded:
    """What was told, and behind it what was decoded. before: log-probabilities of the first of what was told.

    What has none of its own was no choice: it has 0.0. An answer without any has none for the whole either.
    """
    told = (*before, *[0.0] * (len(tokens) - len(before)))
    known = len(more.logprobs) == len(more.tokens)
    return replace(more, tokens=(*tokens, *more.tokens), logprobs=(*told, *more.logprobs) if known else ())
