"""A text that is given, and what was heard -> which word is which. Pure strings; knows no time, no token.

given   the  old  house            listens to  the sea
heard   the  old  horse well i say listens      to      sea
         =    =    ~    +   +  +      =    (=)   -   =

Runs of three words that both have once are anchors; between them the cheapest way is taken, where a word costs less the
more it looks like the other. What has nothing in common on both sides is not one another's.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

RUN = 3  # words of an anchor
LEFT_OUT = 0.75  # cost of a word that has no counterpart; of two that differ wholly: 1
ALIKE = 0.7  # of that, what words save that look the same
MOST_COMPARED = 250_000  # pairs of words in one block whose looks are compared; more are equal or not
MOST_CELLS = 25_000_000  # of one block; a longer one is cut in the middle
ISLAND = 3  # words that are the same by chance,
FAR_OUT = 5  # words without a counterpart on both sides of them
FOREIGN_FROM = 16  # letters on each side, of which some must look alike
MISHEARD = 0.65  # likeness of a word to what it was heard as; by chance half is found,
FOREIGN = 0.25  # and the share of such words below which two runs are not one another's


@dataclass(frozen=True, slots=True)
class Pair:
    """One step: a given word and what was heard in its place; None: it was not heard, or is in no text."""

    given: int | None
    heard: int | None


def key(word: str) -> str:
    """A word as it is compared: without case, marks and accents; "" if nothing is left."""
    plain = unicodedata.normalize("NFKD", word).casefold()
    return "".join(c for c in plain if unicodedata.category(c)[0] in "LNS")


def match(given: Sequence[str], heard: Sequence[str]) -> list[Pair]:
    """All given and all heard words, in order, paired where they are the same or stand for the same."""
    found: list[Pair] = []
    i = j = 0
    for a, b, n in [*_anchors(given, heard), (len(given), len(heard), 0)]:
        found += _between(given, heard, (i, a), (j, b))
        found += [Pair(a + k, b + k) for k in range(n)]
        i, j = a + n, b + n
    return list(_without_foreign(_without_islands(found, given, heard), given, heard))


def _anchors(given: Sequence[str], heard: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """(given, heard, length) of runs that both have once, in order in both."""
    runs = [[tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)] for words in (given, heard)]
    once = [{run for run, n in Counter(r).items() if n == 1} for r in runs]
    place = {run: j for j, run in enumerate(runs[1]) if run in once[1]}
    pairs = [(i, place[run]) for i, run in enumerate(runs[0]) if run in once[0] and run in place]
    i = j = 0
    for a, b in _rising(pairs):
        skip = max(0, i - a, j - b)  # runs overlap
        if (skip < RUN and a - i == b - j) or (a >= i and b >= j):
            yield a + skip, b + skip, RUN - skip
            i, j = a + RUN, b + RUN


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most pairs whose second numbers rise too."""
    lasts: list[int] = []
    at: list[int] = []
    before: list[int] = []
    for i, (_, j) in enumerate(pairs):
        k = bisect_left(lasts, j)
        before.append(at[k - 1] if k else -1)
        lasts[k : k + 1], at[k : k + 1] = [j], [i]
    found = []
    i = at[-1] if at else -1
    while i >= 0:
        found.append(pairs[i])
        i = before[i]
    return found[::-1]


def _between(given: Sequence[str], heard: Sequence[str], rows: tuple[int, int], columns: tuple[int, int]) -> list[Pair]:
    """The cheapest way through a block."""
    (i0, i1), (j0, j1) = rows, columns
    n, m = i1 - i0, j1 - j0
    if not n or not m:
        return [*(Pair(i, None) for i in range(i0, i1)), *(Pair(None, j) for j in range(j0, j1))]
    if n * m > MOST_CELLS:
        i, j = i0 + n // 2, j0 + m // 2
        return [*_between(given, heard, (i0, i), (j0, j)), *_between(given, heard, (i, i1), (j, j1))]
    price = _prices(given[i0:i1], heard[j0:j1])
    steps = np.zeros((n + 1, m + 1), np.int8)  # 0: both, 1: given alone, 2: heard alone
    steps[1:, 0], steps[0, 1:] = 1, 2
    along = np.arange(m + 1) * LEFT_OUT
    above = along.copy()
    for i in range(1, n + 1):
        row = above + LEFT_OUT
        both = above[:-1] + price[i - 1]
        steps[i] = 1
        better = both <= row[1:]
        row[1:] = np.where(better, both, row[1:])
        steps[i, 1:][better] = 0
        least = np.minimum.accumulate(row - along) + along
        steps[i][least < row - 1e-9] = 2
        above = least
    found = []
    i, j = n, m
    while i or j:
        step = steps[i, j] if i and j else 1 if i else 2
        i, j = i - (step != 2), j - (step != 1)
        found.append(Pair(i0 + i if step != 2 else None, j0 + j if step != 1 else None))
    return found[::-1]


def _prices(given: Sequence[str], heard: Sequence[str]) -> np.ndarray:
    """(n, m) cost of taking one word for the other: 0 if they are equal."""
    ids = {word: i for i, word in enumerate(dict.fromkeys((*given, *heard)))}
    a, b = np.array([ids[w] for w in given]), np.array([ids[w] for w in heard])
    price: np.ndarray = (a[:, None] != b[None, :]).astype(np.float64)
    if len(a) * len(b) <= MOST_COMPARED:
        known: dict[tuple[str, str], float] = {}
        for i, x in enumerate(given):
            for j, y in enumerate(heard):
                if x != y and len(x) > 1 and len(y) > 1 and set(x) & set(y):
                    if (x, y) not in known:
                        known[x, y] = 1 - ALIKE * SequenceMatcher(None, x, y, autojunk=False).ratio()
                    price[i, j] = known[x, y]
    return price


def _without_islands(pairs: list[Pair], given: Sequence[str], heard: Sequence[str]) -> list[Pair]:
    """A word or two in the middle of a long passage that the other side lacks: at its edge if they are there too."""
    both = [(p.given, p.heard) for p in pairs if p.given is not None and p.heard is not None]
    ends = (-1, -1), (len(given), len(heard))
    kept: list[tuple[int, int]] = []
    for group, after in _groups(both, ends[1]):
        before = kept[-1] if kept else ends[0]
        for side, words, others in ((1, heard, given), (0, given, heard)):
            far = min(group[0][side] - before[side], after[side] - group[-1][side]) > FAR_OUT
            if not far or len(group) > ISLAND:
                continue
            own, n = [pair[1 - side] for pair in group], len(group)
            edges = (range(before[side] + 1, before[side] + 1 + n), range(after[side] - n, after[side]))
            found = next((e for e in edges if [words[i] for i in e] == [others[i] for i in own]), ())
            group = [(i, j) if side == 1 else (j, i) for i, j in zip(own, found, strict=False)]
            break
        kept += group
    return _rebuilt(kept, len(given), len(heard))


def _groups(
    both: list[tuple[int, int]], end: tuple[int, int]
) -> Iterator[tuple[list[tuple[int, int]], tuple[int, int]]]:
    """Pairs with less than FAR_OUT words between them, and the pair after them."""
    group: list[tuple[int, int]] = []
    for pair in [*both, end]:
        if group and (pair == end or max(pair[0] - group[-1][0], pair[1] - group[-1][1]) > FAR_OUT):
            yield group, pair
            group = []
        group.append(pair)


def _rebuilt(both: list[tuple[int, int]], n: int, m: int) -> list[Pair]:
    """All words in order, from those that are paired."""
    found: list[Pair] = []
    i = j = 0
    for a, b in [*both, (n, m)]:
        found += [Pair(k, None) for k in range(i, a)]
        found += [Pair(None, k) for k in range(j, b)]
        if (a, b) != (n, m):
            found.append(Pair(a, b))
        i, j = a + 1, b + 1
    return found


def _without_foreign(pairs: list[Pair], given: Sequence[str], heard: Sequence[str]) -> Iterator[Pair]:
    """Runs without one equal word, and with nothing alike: two other texts that stand at the same place."""
    block: list[Pair] = []
    for pair in [*pairs, None]:
        is_same = pair is not None and pair.given is not None and pair.heard is not None
        if pair is not None and not (is_same and given[pair.given or 0] == heard[pair.heard or 0]):
            block.append(pair)
            continue
        if _is_foreign(block, given, heard):
            yield from (Pair(p.given, None) for p in block if p.given is not None)
            yield from (Pair(None, p.heard) for p in block if p.heard is not None)
        else:
            yield from block
        block = []
        if pair is not None:
            yield pair


def _is_foreign(block: Sequence[Pair], given: Sequence[str], heard: Sequence[str]) -> bool:
    """Do two runs look like other texts, and not like one that was misheard?"""
    a = [given[p.given] for p in block if p.given is not None]
    b = [heard[p.heard] for p in block if p.heard is not None]
    if min(sum(map(len, a)), sum(map(len, b))) < FOREIGN_FROM:
        return False
    pairs = ((given[p.given], heard[p.heard]) for p in block if p.given is not None and p.heard is not None)
    n_alike = sum(SequenceMatcher(None, x, y, autojunk=False).ratio() >= MISHEARD for x, y in pairs)
    return n_alike < FOREIGN * max(len(a), len(b))
