"""Which of the user's terms a window says: proposed among all of them, believed where the model finds them possible.

plain       "... by Guttenberg at Mainz"      no term is preferred
proposed    "... by Gutenberg at Maine"       all are, however many: other words suffer
heard       "... by Gutenberg at Mainz"       those that were proposed are, alone

A thousand terms that nobody says change nothing: what is proposed as no whole term is not looked at any more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from sottovoce.flow.keywords import few, keywords
from sottovoce.flow.listen import Asker
from sottovoce.flow.protocol import Event, Got, Wait
from sottovoce.text.languages import is_unspaced
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Decoded, Keywords, Sound, Window

PROPOSING_BEAMS = 2  # at least: alone, a wrong first token cannot be taken back. 3 and 5 propose hardly more
# nats by which a text may be less probable for each term it says: those that were said cost 0 to 4.3, others 5 to 16
MARGIN = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The terms of a recording with their weights, and the tree of all."""

    given: tuple[tuple[str, float], ...]
    tree: Keywords

    def hear(
        self,
        asker: Asker,
        tokenizer: Tokenizer,
        asked: Decode,
        sound: tuple[str, Sound],
        found: Decoded,
        passes: Callable[[Decoded], bool],
    ) -> Generator[Window | Wait | Event, Got | None, Decoded]:
        """What was found without terms, or a decoding that passes and says some: the one that is to be believed.

        asked: the question at temperature 0, without terms; `found` answers it, or one at another temperature.
        """
        search = replace(asked.search, beam_size=max(PROPOSING_BEAMS, asked.search.beam_size))
        answer = yield from asker.ask(replace(asked, search=search, keywords=self.tree), *sound)
        assert isinstance(answer, Decoded)
        before, proposed = tokenizer.decode(found.tokens), tokenizer.decode(answer.tokens)
        news = said_more(self.given, before, proposed)
        if not news:
            return found
        answer = yield from asker.ask(replace(asked, keywords=few(tokenizer, tuple(t for t, _ in news))), *sound)
        assert isinstance(answer, Decoded)
        text = tokenizer.decode(answer.tokens)
        margin = sum(
            MARGIN * term[1] * max(0, min(n_said(term[0], text), n) - n_said(term[0], before)) for term, n in news
        )
        is_probable = _logprob(answer) >= _logprob(found) - margin
        return answer if margin and is_probable and passes(answer) else found


def terms(tokenizer: Tokenizer, given: Sequence[tuple[str, float]]) -> Terms | None:
    """The terms that a tokenizer can write; None if there are none."""
    tree = keywords(tokenizer, given)
    return None if tree is None else Terms(tuple((t, w) for text, w in given if (t := _plain(text))), tree)


def said_more(given: Sequence[tuple[str, float]], before: str, text: str) -> list[tuple[tuple[str, float], int]]:
    """The terms that a text says more often than the one before it, and how often."""
    heard = _plain(text).casefold()
    some = [(term, n_said(term[0], text)) for term in given if term[0].casefold() in heard]
    return [(term, n) for term, n in some if n > n_said(term[0], before)]


def n_said(term: str, text: str) -> int:
    """How often a text says a term: whole words, with capitals as given; one in small letters may have any."""
    first, last = (r"\b" if c.isalnum() and not is_unspaced(c) else "" for c in (term[0], term[-1]))
    flags = re.IGNORECASE if term.islower() else re.NOFLAG
    return len(re.findall(first + re.escape(term) + last, _plain(text), flags))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _logprob(decoded: Decoded) -> float:
    """Of all its tokens together, the end of the text included."""
    return decoded.avg_logprob * (len(decoded.tokens) + 1)
