"""Which of the user's terms a window says: proposed among all of them, believed where the model finds them possible.

plain       "... by Guttenberg at Mainz"      no term is preferred
proposed    "... by Gutenberg at Maine"       all are, however many: other words suffer
heard       "... by Gutenberg at Mainz"       those that were proposed are, alone

A thousand terms that nobody says change nothing: what is proposed as no whole term is not looked at any more. What is
heard is judged term by term (paying.py), and heard again without those that cost too much.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace

from sottovoce.flow.keywords import few, keywords
from sottovoce.flow.listen import Asker, Checkpoint
from sottovoce.flow.paying import Group, groups, is_shorter
from sottovoce.flow.protocol import Event, Got, Wait
from sottovoce.flow.saying import Term, once, said
from sottovoce.options import Options
from sottovoce.text.formats import compression_ratio
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Decoded, Keywords, Sound, Window

PROPOSING_BEAMS = 2  # at least: alone, a wrong first token cannot be taken back. 3 and 5 propose hardly more
MOST_HEARD = 3  # times that a window is decoded with what was proposed; each time without what cost too much
REPETITIVE = 2.4  # compression ratio, as the gates have it: what is proposed again and again is proposed once


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The terms of a recording, the longest first, and the tree of all. n_rows: the most that one window may have."""

    given: tuple[Term, ...]
    tree: Keywords
    n_rows: int | None = None

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
        n_beams = max(asked.search.beam_size, min(PROPOSING_BEAMS, self.n_rows or PROPOSING_BEAMS))
        wider = replace(asked, search=replace(asked.search, beam_size=n_beams), keywords=self.tree)
        answer = yield from asker.ask(wider, *sound)
        assert isinstance(answer, Decoded)
        before = said(self.given, tokenizer.decode(found.tokens))
        news = _news(self.given, before, tokenizer.decode(answer.tokens))
        for _ in range(MOST_HEARD):
            if not news:
                break
            # those that were written anyway stay: beside a new one they would be lost
            tree = few(tokenizer, tuple((t.text, t.weight) for t in {**before, **news}))
            answer = yield from asker.ask(replace(wider, keywords=tree), *sound)
            assert isinstance(answer, Decoded)
            new = groups(tokenizer, found, answer, news)
            if not new:
                break
            n_new = sum(sum(g.terms.values()) for g in new)
            false = [g for g in new if not g.is_paid]
            if not false and passes(answer) and not is_shorter(tokenizer, found, answer, n_new):
                return answer
            gone = _doubtful(false or [max(new, key=lambda g: g.cost)])
            news = {t: n for t, n in news.items() if t not in gone}
        return found


def terms(tokenizer: Tokenizer, given: Iterable[tuple[str, float]], n_rows: int | None = None) -> Terms | None:
    """The terms that a tokenizer can write; None if there are none."""
    each = once(given)
    tree = keywords(tokenizer, [(t.text, t.weight) for t in each])
    return None if tree is None else Terms(each, tree, n_rows)


def listened(tokenizer: Tokenizer, o: Options, checkpoint: Checkpoint) -> Terms | None:
    """The terms of a recording. None without any, and where nothing is decoded at temperature 0: they would be."""
    return terms(tokenizer, o.keywords, checkpoint.n_rows) if 0 in o.temperature else None


def _news(given: tuple[Term, ...], before: Mapping[Term, int], text: str) -> dict[Term, int]:
    """The terms that a text says more often than the one before it, and how much more often."""
    found = said(given, text)
    most = 1 if compression_ratio(text.strip()) > REPETITIVE else max(found.values(), default=0)
    return {t: min(n - before.get(t, 0), most) for t, n in found.items() if n > before.get(t, 0)}


def _doubtful(found: Iterable[Group]) -> set[Term]:
    """The terms that are given up; of several at one place the longest stays, for it may not be the wrong one."""
    gone: set[Term] = set()
    for group in found:
        each = sorted(group.terms, key=lambda t: len(t.text))
        gone.update(each[:-1] or each)
    return gone
