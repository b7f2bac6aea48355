"""Terms -> the tree of tokens by which a decoder prefers them. Pure; made once for a flow.

The tree is the automaton of Aho and Corasick (1975): one node says all of what is open, for a term may begin inside
another, and where one fails, the next goes on. What was gained by an open term is lent: it is given back where the
term fails, and kept where it is complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from sottovoce.text.spellings import spellings
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Keywords


@dataclass(frozen=True, slots=True)
class Gains:
    """Nats of log-probability at weight 1: of a term's first token, each further one, and one that is a whole term."""

    first: float
    further: float
    whole: float


# Alone a row cannot wait for what follows a first token; it knows the few terms that beams have proposed (terms.py)
GREEDY = Gains(first=5.0, further=5.0, whole=5.0)
BEAMS = Gains(first=3.0, further=4.0, whole=3.0)


# Whatever its weight: what the model holds for less probable by more is not said. With 20 a term of two tokens was said
# for ever, with 8 among beams too, which win by each time
MOST = 5.0
KEPT = 4  # trees; one of 1,000 terms takes 0.3 s and 1 MB
FEW_KEPT = 64  # of the few terms that a window says: the next ones often say the same


@dataclass(slots=True, eq=False)
class _Node:
    """greedy, beams: what the token that leads here gains. is_end: of a term. gained: lent, of what is open.

    kept: what is gained for good by the longest term that ends here, its own or one inside.
    """

    greedy: float = 0.0
    beams: float = 0.0
    is_end: bool = False
    gained: float = 0.0
    kept: float = 0.0
    total: float = 0.0  # of all beams' gains on the way here
    children: dict[int, int] = field(default_factory=dict)  # node by token
    fail: int = 0
    edges: dict[int, tuple[int, float]] = field(default_factory=dict)  # with those of what is open inside: node, share


def keywords(tokenizer: Tokenizer, terms: Iterable[tuple[str, float]]) -> Keywords | None:
    """The tree of terms with their weights, in all their spellings; None if there is none.

    The same terms give the same tree: recordings of a list share it, also on a device.
    """
    return _of(tokenizer.n_vocab, tuple(terms))


def few(tokenizer: Tokenizer, terms: Iterable[tuple[str, float]]) -> Keywords | None:
    """As `keywords`, of terms that a window is asked for by themselves."""
    return _of_few(tokenizer.n_vocab, tuple(terms))


@lru_cache(maxsize=FEW_KEPT)
def _of_few(n_vocab: int, terms: tuple[tuple[str, float], ...]) -> Keywords | None:
    return _made(Tokenizer(n_vocab), terms)


@lru_cache(maxsize=KEPT)
def _of(n_vocab: int, terms: tuple[tuple[str, float], ...]) -> Keywords | None:
    return _made(Tokenizer(n_vocab), terms)


def _made(tokenizer: Tokenizer, terms: Iterable[tuple[str, float]]) -> Keywords | None:
    weights: dict[tuple[int, ...], float] = {}
    for term, weight in terms:
        for tokens in spellings(tokenizer, term):
            weights[tokens] = max(weight, weights.get(tokens, 0.0))
    return tree(weights, GREEDY, BEAMS) if weights else None


def tree(weights: Mapping[tuple[int, ...], float], greedy: Gains, beams: Gains) -> Keywords:
    """The tree of token sequences with their weights; none is empty."""
    nodes = [_Node()]
    for tokens, weight in weights.items():
        at = 0
        for i, token in enumerate(tokens):
            at = _child(nodes, at, token)
            nodes[at].greedy = max(nodes[at].greedy, _gain(greedy, weight, i, len(tokens)))
            nodes[at].beams = max(nodes[at].beams, _gain(beams, weight, i, len(tokens)))
        nodes[at].is_end = True
    _link(nodes)
    return _flat(nodes)


def _gain(gains: Gains, weight: float, i: int, n: int) -> float:
    return min(MOST, weight * (gains.whole if n == 1 else gains.further if i else gains.first))


def _child(nodes: list[_Node], at: int, token: int) -> int:
    if token not in nodes[at].children:
        nodes[at].children[token] = len(nodes)
        nodes.append(_Node())
    return nodes[at].children[token]


def _link(nodes: list[_Node]) -> None:
    """Where each node goes on when its term fails, and what is lent there; parents before their children."""
    waiting = deque([0])
    while waiting:
        at = waiting.popleft()
        node = nodes[at]
        inside = nodes[node.fail].edges if node.fail else {}
        own = {token: (child, node.gained + nodes[child].beams) for token, child in node.children.items()}
        node.edges = {**inside, **own}
        for token, i in node.children.items():
            child, fail = nodes[i], node.fail
            while fail and token not in nodes[fail].children:
                fail = nodes[fail].fail
            found = nodes[fail].children.get(token, 0)
            child.fail = found if found != i else 0
            child.total = node.total + child.beams
            child.kept = child.total if child.is_end else nodes[child.fail].kept
            child.gained = 0.0 if child.is_end else max(0.0, node.gained + child.beams - child.kept)
            waiting.append(i)


def _flat(nodes: list[_Node]) -> Keywords:
    flat = [sorted(node.edges.items()) for node in nodes]
    edges = [(token, to, nodes[to].greedy, share) for node in flat for token, (to, share) in node]
    tokens, targets, gains, shares = (np.array(column) for column in zip(*edges, strict=True))
    return Keywords(
        starts=np.cumsum([0, *(len(node) for node in flat)]),
        tokens=tokens.astype(np.int64),
        targets=targets.astype(np.int64),
        gains=gains.astype(np.float32),
        shares=shares.astype(np.float32),
        gained=np.array([node.gained for node in nodes], np.float32),
    )
