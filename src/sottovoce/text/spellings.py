"""The token sequences in which a term may be written. Knows no sound, no search."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from sottovoce.text.languages import is_unspaced
from sottovoce.text.tokenizer import Tokenizer

LONGEST_CUT = 12  # characters: a longer term without spaces is not cut in two at each place


def spellings(tokenizer: Tokenizer, term: str) -> list[tuple[int, ...]]:
    """Every sequence of tokens that writes a term, each once; none for a term without letters or digits.

    As it is given; what is given in small letters also with a capital, as sentences begin. With the space before a
    word; without it where it begins with a capital, so that it is no part of another word: after a hyphen or a quote.
    """
    term = " ".join(unicodedata.normalize("NFC", term).split())
    if not any(c.isalnum() for c in term):
        return []
    found = dict.fromkeys(tuple(tokens) for tokens in _spelt(tokenizer, term))
    return [tokens for tokens in found if tokens]


def _spelt(tokenizer: Tokenizer, term: str) -> Iterator[list[int]]:
    encode = tokenizer.encode
    if is_unspaced(term[0]):  # the token before it may be any, and tokens run across its edges
        yield encode(term)
        yield encode(" " + term)
        yield [token for c in term for token in encode(c)]
        for i in range(1, min(len(term), LONGEST_CUT)):
            yield encode(term[:i]) + encode(term[i:])
        return
    capital = term[0].upper() + term[1:]
    for form in (term, capital) if term.islower() else (term,):
        yield encode(" " + form)
        if form[0].isupper():
            yield encode(form)
