"""Words of languages that write no spaces between them. Pure: characters only; knows no token, no sound.

With the package budoux (Apache-2.0, 130 KB; the extra `words`) phrases of Japanese, Chinese and Thai are found by its
models. Without it, and in other languages, by rules that are never wrong, if sometimes too fine: a mark that combines
stays with its letter, a vowel that is written before its consonant stays with it, kana follow the kanji that they
inflect, runs of katakana, letters or digits are one word, and closing marks belong to what stands before them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

BEFORE_THEIR_CONSONANT = frozenset("เแโใไເແໂໃໄ")  # vowels of Thai and Lao
AFTER_THEIR_CONSONANT = frozenset("ะาำๅະາຳ")
STACKERS = frozenset("\u17d2\u1039")  # Khmer coeng, Burmese virama: the next consonant is written below
SPOKEN_MARKS = frozenset("%&@#*")  # punctuation to Unicode, but people say them
OPENING = frozenset({"Ps", "Pi"})
LONGEST_KANA = 4  # that follow a kanji; more are particles, and words of their own
SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶーゝゞ々")
MODELS = {"ja": "japanese", "zh": "simplified_chinese", "yue": "traditional_chinese", "th": "thai"}


def units(text: str, language: str | None) -> list[str]:
    """The text in words; joined they are the text."""
    if not text:
        return []
    cut = _segmenter(MODELS[language]) if language in MODELS else None
    starts = {0, *(i for i in range(1, len(text)) if not _holds(text, i, language))}
    if cut is not None:
        at, found = 0, {0}
        for part in cut(text):
            found.add(at)
            at += len(part)
        # what the rules hold together stays together; spaces and marks part words in any case
        starts = (found & starts) | {i for i in starts if i and _parts(text[i - 1], text[i])}
    edges = [*sorted(starts), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def joined(pieces: Sequence[str], language: str | None) -> list[int]:
    """How many of the pieces make up each word: a word ends only where a piece does.

    pieces: what tokens decode to, in order.
    """
    ends, at = set(), 0
    for unit in units("".join(pieces), language):
        at += len(unit)
        ends.add(at)
    counts, at, n = [], 0, 0
    for piece in pieces:
        at += len(piece)
        n += 1
        if at in ends:
            counts.append(n)
            n = 0
    return [*counts, n] if n else counts


def _parts(before: str, after: str) -> bool:
    """Do spaces or marks part two characters?"""
    kinds = unicodedata.category(before), unicodedata.category(after)
    return after.isspace() or (kinds[0][0] == "P" and kinds[0] not in OPENING) or kinds[1] in OPENING


def _holds(text: str, i: int, language: str | None) -> bool:
    """Do characters i - 1 and i belong to one word?"""
    before, after = text[i - 1], text[i]
    kind = unicodedata.category(after)
    if before.isspace() or after.isspace():
        return before.isspace() and not after.isspace()  # a space belongs to the word after it
    if before in BEFORE_THEIR_CONSONANT or before in STACKERS or kind[0] == "M":
        return True
    if after in AFTER_THEIR_CONSONANT or after in SMALL_KANA:
        return True
    if kind[0] == "P":
        return kind not in OPENING
    if unicodedata.category(before)[0] == "P":
        return unicodedata.category(before) in OPENING
    a, b = _script(before), _script(after)
    if a == b:
        if a == "kanji":
            return language == "ja"  # elsewhere a run of them is a sentence
        return a in ("katakana", "letter", "digit") or (a == "hiragana" and _kana_goes_on(text, i))
    return a == "kanji" and b == "hiragana"


def _kana_goes_on(text: str, i: int) -> bool:
    """Is hiragana i one of the first after its kanji? Hiragana alone is one word as far as it goes."""
    first = i
    while first and _script(text[first - 1]) == "hiragana":
        first -= 1
    return not (first and _script(text[first - 1]) == "kanji") or i - first < LONGEST_KANA


def _script(c: str) -> str:
    if "\u3041" <= c <= "\u309f":
        return "hiragana"
    if "\u30a0" <= c <= "\u30ff" or "\uff66" <= c <= "\uff9d":
        return "katakana"
    if "\u3400" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff":
        return "kanji"
    if c.isdigit():
        return "digit"
    return "letter" if c.isalpha() and ord(c) < 0x0E00 else "other"


@cache
def _segmenter(name: str) -> Callable[[str], list[str]] | None:
    try:
        import budoux  # the extra `words`
    except ImportError:
        return None
    parse: Callable[[str], list[str]] = getattr(budoux, f"load_default_{name}_parser")().parse
    return parse


def is_spoken(word: str) -> bool:
    """Has anything in it a sound of its own? Marks have none; letters, digits, and signs like % or + have."""
    return any(c in SPOKEN_MARKS or unicodedata.category(c)[0] in "LNS" for c in word)
