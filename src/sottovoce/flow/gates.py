"""What is wrong with a decoding, and which of several is best. Pure; the parallel strategy's gates.

The sequential strategy knows the first two and silence; here a window stands alone, and nobody hears it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import IntEnum

from sottovoce.flow.ladder import is_repetitive, is_unsure
from sottovoce.options import Options
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decoded

SPARSE_PER_S = 0.7  # tokens in a second of speech; slow read English has 2
SCARCE_PER_S, SCARCE_BELOW = 2.0, -0.6  # tokens of a text that is not sure of itself either (mean log-probability)
SPARSE_FROM_S = 4.0  # of speech: less may be a cough
DENSE_PER_S, DENSE_FROM = 30.0, 12  # tokens; the fastest scripts, three tokens a character, stay below
MOST_TOKENS = 222  # of text: the longest decoding, one timestamp and one token less
LONGEST_COMMON = 4  # words in a row that a text may not have in common with the one it goes on from
FASTER, LETTERS_FROM = 3, 20  # how much faster it may be spoken, and letters that are never too many
ECHO_FROM = 12  # characters: shorter texts may be said although they stand in the prompt
ECHO_LETTERS = 4  # of a word that tells an echo: shorter ones are everywhere
ALIKE = 0.5  # of the letters that two texts have in common


class Fault(IntEnum):
    """What a decoding fails on; the worse, the higher."""

    UNSURE = 1
    DENSE = 2
    SPARSE = 4
    CUT_OFF = 8
    ECHO = 16
    REPETITIVE = 32

    @property
    def reason(self) -> str:
        return {
            Fault.UNSURE: "improbable words",
            Fault.DENSE: "more words than could be said",
            Fault.SPARSE: "too few words",
            Fault.CUT_OFF: "more words than fit a window",
            Fault.ECHO: "the prompt's own words",
            Fault.REPETITIVE: "repeated words",
        }[self]


def faults(o: Options, tokenizer: Tokenizer, decoded: Decoded, speech_s: float, prompt: str) -> frozenset[Fault]:
    """What is wrong with a window's decoding. speech_s: seconds of speech in it; prompt: the text before it."""
    n_text = sum(t < tokenizer.eot for t in decoded.tokens)
    text = plain(tokenizer.decode(decoded.tokens))
    # who skips half of what is said, skips what is hard to hear
    least_per_s = SCARCE_PER_S if decoded.avg_logprob < SCARCE_BELOW else SPARSE_PER_S
    found = {
        Fault.REPETITIVE: is_repetitive(o, tokenizer, decoded),
        Fault.UNSURE: is_unsure(o, decoded),
        Fault.SPARSE: speech_s > SPARSE_FROM_S and n_text < least_per_s * speech_s,
        Fault.DENSE: n_text > most_tokens(speech_s),
        # without a pair of timestamps nobody knows where its words end, and what follows them is lost
        Fault.CUT_OFF: o.max_tokens is None and n_text >= MOST_TOKENS,
        Fault.ECHO: len(text) >= ECHO_FROM and text in plain(prompt),
    }
    return frozenset(fault for fault, is_so in found.items() if is_so)


def most_tokens(speech_s: float) -> int:
    """How many tokens of text so many seconds of speech may have."""
    return DENSE_FROM + round(DENSE_PER_S * speech_s)


def badness(found: Iterable[Fault]) -> int:
    """One number: of two decodings the one with the lower is better, whatever the lesser faults."""
    return sum(found)


def plain(text: str) -> str:
    """Letters and digits in small, words apart by one space: as texts are compared."""
    return " ".join(re.findall(r"\w+", text.lower()))


def echoes(text: str, given: str) -> bool:
    """Are most of a text's words the user's own, of a prompt or of hotwords? Then they may not have been said."""
    own = [w for w in plain(text).split() if len(w) >= ECHO_LETTERS]
    known = set(plain(given).split())
    return len(plain(text)) >= ECHO_FROM and 2 * sum(w in known for w in own) >= max(1, len(own))


def are_alike(a: str, b: str) -> bool:
    """Are two texts two spellings of the same sound?"""
    return SequenceMatcher(None, plain(a), plain(b), autojunk=False).ratio() > ALIKE


def is_news(before: str, text: str, before_s: float, text_s: float) -> bool:
    """May a text go on behind another, as one that says more in the seconds it has, and not the same again?

    before_s, text_s: seconds of speech of each.
    """
    known, words = f" {plain(before)} ", plain(text).split()
    runs = (" ".join(words[i : i + LONGEST_COMMON]) for i in range(max(1, len(words) - LONGEST_COMMON + 1)))
    most = LETTERS_FROM + FASTER * len(plain(before)) / max(before_s, 1.0) * text_s
    repeats = any(f" {run} " in known for run in runs) or n_repeated(before, text)
    return bool(words) and not repeats and len(plain(text)) <= most


def n_repeated(before: str, text: str) -> int:
    """How many words at the beginning of a text only repeat the end of the text before it.

    One short word may well be said twice; a long one, or several, are the same sound heard by two windows.
    """
    end, words = plain(before).split(), plain(text).split()
    for n in range(min(len(end), len(words), 8), 0, -1):
        if end[-n:] == words[:n] and (n > 1 or len(words[0]) > 4):
            return n
    return 0
