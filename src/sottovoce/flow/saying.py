"""Where a text says terms. Pure; knows no sound, no token.

서울        left edge [서울]에서         the right one is open: endings and compounds
Пушкин      [Пушкин]а                  open too, from LEAST_STEM letters on
Ada         [Ada], no Adams            closed: most short words begin others
राम          [राम], no रामायण            vowel signs are letters, unlike in regular expressions' \\b
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sottovoce.text.languages import is_unspaced

LEAST_STEM = 4  # letters of a term that may be inflected
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")
_ARABIC = re.compile(r"[\u0620-\u064a]")
ARTICLE = "ال"  # written together with its word


@dataclass(frozen=True, slots=True)
class Term:
    """What a user wants to be written, and how much. small: without capitals, as long as the text."""

    text: str
    weight: float
    small: str
    has_left_edge: bool
    has_right_edge: bool
    is_open: bool  # may letters follow?

    @classmethod
    def of(cls, given: str, weight: float) -> Term:
        text = plain(given)
        first, last = (c.isalnum() and not is_unspaced(c) for c in (text[0], text[-1]))
        stem = sum(c.isalpha() for c in text) >= LEAST_STEM and not text[-1].isdigit()
        return cls(text, weight, small(text), first, last, stem or _HANGUL.match(text[-1]) is not None)

    def places(self, text: str, lowered: str) -> Iterator[int]:
        """Where a plain text, with its small letters, says the term, with capitals as given; a small one any."""
        heard = lowered if self.text == self.small else text
        at = heard.find(self.text)
        while at >= 0:
            if self._begins(text, at) and self._ends(text, at + len(self.text)):
                yield at
            at = heard.find(self.text, at + 1)

    def _begins(self, text: str, at: int) -> bool:
        if not self.has_left_edge or not _is_letter(text, at - 1):
            return True
        article = at - len(ARTICLE)
        return (
            bool(_ARABIC.match(self.text))
            and text[max(0, article) : at] == ARTICLE
            and not _is_letter(text, article - 1)
        )

    def _ends(self, text: str, end: int) -> bool:
        if not self.has_right_edge or not _is_letter(text, end):
            return True
        return self.is_open and not text[end].isdigit()


def once(given: Iterable[tuple[str, float]]) -> tuple[Term, ...]:
    """The terms, each once with its highest weight, the longest first."""
    weights: dict[str, float] = {}
    for text, weight in given:
        if key := plain(text):
            weights[key] = max(weight, weights.get(key, 0.0))
    found = [Term.of(text, weight) for text, weight in weights.items()]
    return tuple(sorted(found, key=lambda t: (-len(t.text), -t.weight)))


def said(terms: Sequence[Term], text: str) -> Counter[Term]:
    """How often a text says each term. terms: the longest first; what is said inside a longer one does not count."""
    text = plain(text)
    lowered, taken = small(text), [False] * len(text)
    found: Counter[Term] = Counter()
    for term in terms:
        if term.small not in lowered:
            continue
        for at in term.places(text, lowered):
            where = slice(at, at + len(term.text))
            if not any(taken[where]):
                taken[where] = [True] * len(term.text)
                found[term] += 1
    return found


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def small(text: str) -> str:
    """In small letters, each where it was: a capital that would become two stays."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(s if len(s := c.lower()) == 1 else c for c in text)


def _is_letter(text: str, at: int) -> bool:
    """Is it a letter, a digit or a mark of one, in a script with spaces?"""
    return 0 <= at < len(text) and unicodedata.category(text[at])[0] in "LMN" and not is_unspaced(text[at])
