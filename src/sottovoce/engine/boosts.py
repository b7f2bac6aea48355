"""Which terms are open on each row, and what its next token gains by them, on the host. Twin: device_boosts.py.

Kernels read where rows stand and their trees where they lie (cpp/choose.cpp).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Seq

import numpy as np

from sottovoce.types import Decode, Keywords

ARRAYS = ("starts", "tokens", "targets", "gains", "shares", "gained")  # of cpp/choose.cpp:Tree, in its order


class _Tree(ctypes.Structure):
    """cpp/choose.cpp:Tree."""

    _fields_ = [(name, ctypes.c_void_p) for name in ARRAYS]


class Boosts:
    """By row: the tree it has terms of, if any, the node where it stands, and whether its gains can be taken back."""

    def __init__(self, n_rows: int) -> None:
        self.nodes = np.zeros(n_rows, np.int64)
        self.trees = np.zeros(n_rows, np.int64)  # addresses; 0: none
        self.returns = np.zeros(n_rows, np.bool_)
        self._keywords: dict[int, tuple[Keywords, _Tree]] = {}  # by row

    def reset_(self, rows: Seq[int], ask: Decode) -> None:
        """These rows begin with the keywords of `ask`."""
        self.release(rows)
        if ask.keywords is None:
            return
        keywords = ask.keywords
        tree = _Tree(*(getattr(keywords, name).ctypes.data for name in ARRAYS))
        self._keywords.update(dict.fromkeys(rows, (keywords, tree)))
        where = list(rows)
        self.nodes[where], self.trees[where] = 0, ctypes.addressof(tree)
        self.returns[where] = gives_back(ask)

    def release(self, rows: Seq[int]) -> None:
        """These rows have ended."""
        for row in rows:
            if self._keywords.pop(row, None) is not None:
                self.trees[row] = 0

    def on(self, rows: Seq[int]) -> bool:
        """Whether one of these rows has keywords."""
        return not self._keywords.keys().isdisjoint(rows)

    def update_(self, tokens: Seq[int], rows: Seq[int]) -> None:
        """Rows go on with these tokens."""
        if not self._keywords:
            return
        for token, row in zip(tokens, rows, strict=True):
            if row in self._keywords:
                self.nodes[row] = _follow(self._keywords[row][0], int(self.nodes[row]), token)

    def copy_rows_(self, targets: Seq[int], sources: Seq[int]) -> None:
        """Row targets[i] continues the sequence of row sources[i]; all of one sequence have the same keywords."""
        if self._keywords:
            self.nodes[list(targets)] = self.nodes[list(sources)]

    def of(self, row: int, n_vocab: int) -> np.ndarray:
        """(V,) float32: what each token gains on a row."""
        found = np.zeros(n_vocab, np.float32)
        if row not in self._keywords:
            return found
        k, node = self._keywords[row][0], int(self.nodes[row])
        values = k.shares if self.returns[row] else k.gains
        for at in (0, node):
            edges = slice(k.starts[at], k.starts[at + 1])
            found[k.tokens[edges]] = values[edges]
        if self.returns[row]:
            found -= k.gained[node]
        return found


def gives_back(ask: Decode) -> bool:
    """Whether what was gained by an open term can be taken back where it fails: among beams, others wait for that."""
    return ask.search.temperature == 0 and ask.search.beam_size > 1


def _follow(k: Keywords, node: int, token: int) -> int:
    """The node after a token."""
    for at in (node, 0):
        first, last = int(k.starts[at]), int(k.starts[at + 1])
        i = first + int(np.searchsorted(k.tokens[first:last], token))
        if i < last and k.tokens[i] == token:
            return int(k.targets[i])
    return 0
