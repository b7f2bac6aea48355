"""What the terms of a text cost, each by itself. Pure.

found     [ Hester][ Prin          ][ was][ there][ on][ the        ][ Mayne]
answer    [ Hester][ Pr][ynne       ][ was][ there][ on][ a          ][ Mayne]
groups             [----------------------------------------------- - ->         from a term to the next one
cost                what changed there, and what follows it, is less probable; what is left out is no gain
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from sottovoce.flow.saying import Term, plain, said
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decoded

# nats by which a text may be less probable for each term it says. Most that were said cost up to 4.9; with 5.5 one of
# 1,000 made-up names was believed, and so one was with 16 spare letters
MARGIN = 5.0
HEAVIEST = 2.0  # times that: a term of any weight has no more
MOST_TIMES = 3  # a term is paid for in one window; who says it more often may well repeat himself
SPARE_LETTERS = 10  # by which what was misheard may be longer than its term
SPARE_POSITIONS = 50  # of 20 ms, by which a text may end earlier


@dataclass(frozen=True, slots=True)
class Group:
    """New terms of one place of a text with their number, and what they cost in nats."""

    terms: Mapping[Term, int]
    cost: float

    @property
    def is_paid(self) -> bool:
        return self.cost <= sum(MARGIN * min(t.weight, HEAVIEST) * min(n, MOST_TIMES) for t, n in self.terms.items())


def groups(tokenizer: Tokenizer, found: Decoded, answer: Decoded, news: Mapping[Term, int]) -> list[Group]:
    """The new terms of an answer, place by place. news: how many more of each may be said than in `found`."""
    matcher = SequenceMatcher(None, found.tokens, answer.tokens, autojunk=False)
    starts = [(i, j) for kind, i, _, j, _ in matcher.get_opcodes() if kind != "equal"]
    starts[:1] = [(0, 0)]  # what is the same before the first costs nothing
    before, after = _logprobs(found), _logprobs(answer)
    terms, left = _longest_first(news), Counter(news)
    counted, had = Counter[Term](), Counter[Term]()
    result: list[Group] = []
    aside = 0.0  # what changed without a term, since the last one or before the first
    for (i, j), (i_next, j_next) in zip(starts, [*starts[1:], (len(before), len(after))], strict=True):
        cost = sum(before[i:i_next]) - sum(after[j:j_next])
        more = said(terms, tokenizer.decode(answer.tokens[:j_next]))
        less = said(terms, tokenizer.decode(found.tokens[:i_next]))
        # a term that stood there already is none
        new = Counter({t: min(more[t] - counted[t] - (less[t] - had[t]), left[t]) for t in terms})
        new = +new
        counted, had = more, less
        if new:
            left -= new
            if result:
                result[-1] = Group(result[-1].terms, result[-1].cost + max(0.0, aside))
                aside = 0.0
            result.append(Group(new, cost))
        else:
            aside += cost
    if result:
        result[-1] = Group(result[-1].terms, result[-1].cost + max(0.0, aside))
    return result


def is_shorter(tokenizer: Tokenizer, found: Decoded, answer: Decoded, n_new: int) -> bool:
    """Does an answer leave out what was found, more than n new terms explain? Less text is more probable."""
    lengths = [len(plain(tokenizer.decode(d.tokens))) for d in (found, answer)]
    ends = [max((t for t in d.tokens if t >= tokenizer.timestamp_begin), default=None) for d in (found, answer)]
    ends_earlier = ends[0] is not None and ends[1] is not None and ends[1] < ends[0] - SPARE_POSITIONS
    return ends_earlier or lengths[1] < lengths[0] - SPARE_LETTERS * n_new


def _logprobs(d: Decoded) -> Sequence[float]:
    """Of each token and of the end; where nobody knows them, the mean of each."""
    if len(d.logprobs) != len(d.tokens):
        return [d.avg_logprob] * (len(d.tokens) + 1)
    return [*d.logprobs, d.avg_logprob * (len(d.tokens) + 1) - sum(d.logprobs)]


def _longest_first(terms: Mapping[Term, int]) -> list[Term]:
    return sorted(terms, key=lambda t: (-len(t.text), -t.weight))
