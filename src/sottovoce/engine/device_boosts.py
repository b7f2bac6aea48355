"""Which terms are open on each row, and what its next token gains by them, on torch; never loops over rows.

The trees of all rows lie one behind the other, so that a node is one number; node 0 belongs to rows without keywords,
and nothing goes on from it. A node with few edges has them in a list of WIDEST; the root, and a node with more, has a
dense line over the vocabulary, in which the root's edges are too. A window's few terms are a tree too: behind the last
there is room for some, so that the large ones are not copied for each. Twin: boosts.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sottovoce.engine.boosts import gives_back
from sottovoce.engine.stream import Stream
from sottovoce.types import Decode, Keywords

WIDEST = 32  # edges of a node that are kept as a list
TREES_KEPT = 8  # that nobody uses, the largest: a small one is quickly made anew
SPARE_NODES, SPARE_LINES = 2048, 32  # room for small trees; a line over the vocabulary takes 0.8 MB


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """Trees one behind the other. By node: (N, WIDEST) edges, what is gained, and its line; by line: (L, V) edges."""

    tokens: Tensor
    targets: Tensor
    gains: Tensor
    shares: Tensor
    gained: Tensor
    line: Tensor
    line_gains: Tensor
    line_shares: Tensor
    line_targets: Tensor

    @classmethod
    def joined(cls, parts: Seq[_Tables]) -> _Tables:
        """Of several trees whose nodes and lines are numbered from 0 each."""
        nodes = np.cumsum([0, *(len(p.line) for p in parts)])
        lines = np.cumsum([0, *(len(p.line_gains) for p in parts)])
        moved = [
            cls(
                *(p.tokens, p.targets + int(a), p.gains, p.shares, p.gained),
                *(p.line + int(b), p.line_gains, p.line_shares, p.line_targets + int(a)),
            )
            for p, a, b in zip(parts, nodes, lines, strict=False)
        ]
        return cls(*(torch.cat([getattr(p, name) for p in moved]) for name in cls.__slots__))

    @property
    def size(self) -> tuple[int, int]:
        """How many nodes and lines."""
        return len(self.line), len(self.line_gains)

    def blank(self, n_nodes: int, n_lines: int) -> _Tables:
        """Room for so many: tables of the same kind in which nothing counts yet."""
        old = [getattr(self, name) for name in self.__slots__]
        sizes = [n_nodes] * 6 + [n_lines] * 3
        return _Tables(*(t.new_zeros(n, *t.shape[1:]) for t, n in zip(old, sizes, strict=True)))

    def write_(self, tree: _Tables, node: int, line: int) -> None:
        """A tree whose nodes and lines begin here, in place."""
        moved = {"targets": node, "line": line, "line_targets": node}
        for name in self.__slots__:
            at = line if name.startswith("line_") else node
            new = getattr(tree, name)
            getattr(self, name)[at : at + len(new)] = new + moved[name] if name in moved else new


class DeviceBoosts:
    """By row on the device: the node where it stands, and whether its gains can be taken back."""

    def __init__(self, n_rows: int, n_vocab: int, device: torch.device, stream: Stream) -> None:
        self.n_vocab, self.device, self._stream = n_vocab, device, stream
        self._nodes = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._returns = torch.zeros(n_rows, dtype=torch.bool, device=device)
        self._rows: dict[int, Keywords] = {}  # who has keywords
        self._placed: set[int] = set()  # who does not stand at node 0 on the device
        self._trees: dict[int, tuple[Keywords, _Tables]] = {}  # by identity
        self._roots: dict[int, int] = {}
        self._tables = self._nobody = _tables(None, n_vocab, device)
        self._end = self._tables.size  # nodes and lines behind this are free

    def reset_(self, rows: Seq[int], where: Tensor, ask: Decode) -> None:
        """These rows, which are `where` on the device, begin with the keywords of `ask`."""
        self.release(rows)
        if ask.keywords is None:
            if not self._placed.isdisjoint(rows):
                self._nodes.index_fill_(0, where, 0)
                self._placed.difference_update(rows)
            return
        if id(ask.keywords) not in self._trees:
            self._add(ask.keywords)
        self._rows.update(dict.fromkeys(rows, ask.keywords))
        self._placed.update(rows)
        self._nodes.index_fill_(0, where, self._roots[id(ask.keywords)])
        self._returns.index_fill_(0, where, gives_back(ask))

    def release(self, rows: Seq[int]) -> None:
        """These rows have ended. The device learns of it when they begin again."""
        for row in rows:
            self._rows.pop(row, None)

    def on(self, rows: Iterable[int]) -> bool:
        """Whether one of these rows has keywords, as the host knows it."""
        return not self._rows.keys().isdisjoint(rows)

    def update_(self, tokens: Tensor, rows: Tensor) -> None:
        """Rows go on with these tokens. tokens, rows: (R,) int64."""
        if not self._rows:
            return
        t, node = self._tables, self._nodes[rows]
        hit = t.tokens[node] == tokens[:, None]  # (R, WIDEST)
        listed = torch.where(hit, t.targets[node], 0).sum(dim=-1)
        self._nodes[rows] = torch.where(hit.any(dim=-1), listed, t.line_targets[t.line[node], tokens])

    def copy_rows_(self, to: Tensor, of: Tensor) -> None:
        """Row to[i] continues the sequence of row of[i]; all of one sequence have the same keywords."""
        if self._rows:
            self._nodes[to] = self._nodes[of]

    def of(self, rows: Tensor) -> Tensor:
        """(R, V) float32: what each token gains on these rows. rows: (R,) int64."""
        t, node = self._tables, self._nodes[rows]
        back, line = self._returns[rows][:, None], t.line[node]
        found = torch.where(back, t.line_shares[line], t.line_gains[line])
        found = torch.cat([found, found[:, :1]], dim=1)  # a place for what is no token
        found.scatter_(1, t.tokens[node], torch.where(back, t.shares[node], t.gains[node]))
        return found[:, :-1] - torch.where(back, t.gained[node][:, None], 0.0)

    def _add(self, keywords: Keywords) -> None:
        """A tree more; rows that are in others stay where they are."""
        tree = _tables(keywords, self.n_vocab, self.device)
        (node, line), (n_nodes, n_lines), (all_nodes, all_lines) = self._end, tree.size, self._tables.size
        if node + n_nodes > all_nodes or line + n_lines > all_lines:
            self._join(n_nodes, n_lines)
            node, line = self._end
        self._tables.write_(tree, node, line)
        self._trees[id(keywords)] = keywords, tree
        self._roots[id(keywords)] = node
        self._end = node + n_nodes, line + n_lines

    def _join(self, n_nodes: int, n_lines: int) -> None:
        """The trees anew, with room for so many nodes and lines, and some more."""
        used = {id(k) for k in self._rows.values()}
        unused = sorted(self._trees.keys() - used, key=lambda i: self._trees[i][1].size, reverse=True)
        for i in unused[TREES_KEPT:]:
            del self._trees[i]
        parts = [self._nobody, *(tables for _, tables in self._trees.values())]
        room = self._nobody.blank(n_nodes + SPARE_NODES, n_lines + SPARE_LINES)
        ends = np.cumsum([part.size for part in parts], axis=0).tolist()
        self._tables, self._end = _Tables.joined([*parts, room]), (ends[-1][0], ends[-1][1])
        roots = {i: nodes for i, (nodes, _) in zip(self._trees, ends, strict=False)}
        moved = [(row, roots[id(k)] - self._roots[id(k)]) for row, k in self._rows.items()]
        if any(by for _, by in moved):
            where, by = self._stream.put(moved).unbind(1)
            self._nodes.index_add_(0, where, by)
        self._roots = roots


def _tables(k: Keywords | None, n_vocab: int, device: torch.device) -> _Tables:
    """Of one tree; None: a node from which nothing goes on."""
    starts = np.zeros(2, np.int64) if k is None else k.starts
    n_nodes, sizes = len(starts) - 1, np.diff(starts)
    dense = [0, *(np.flatnonzero(sizes[1:] > WIDEST) + 1).tolist()]
    line = np.zeros(n_nodes, np.int64)
    line[dense] = np.arange(len(dense))
    tokens = np.full((n_nodes, WIDEST), n_vocab, np.int64)
    targets = np.zeros((n_nodes, WIDEST), np.int64)
    gains, shares = (np.zeros((n_nodes, WIDEST), np.float32) for _ in range(2))
    lines = [np.zeros((len(dense), n_vocab), kind) for kind in (np.float32, np.float32, np.int64)]
    gained = np.zeros(n_nodes, np.float32) if k is None else k.gained
    if k is not None:
        node = np.repeat(np.arange(n_nodes), sizes)
        place = np.arange(len(k.tokens)) - starts[node]
        few = (line[node] == 0) & (node > 0)
        for table, values in ((tokens, k.tokens), (targets, k.targets), (gains, k.gains), (shares, k.shares)):
            table[node[few], place[few]] = values[few]
        for table, values in zip(lines, (k.gains, k.shares, k.targets), strict=True):
            table[:, k.tokens[: starts[1]]] = values[: starts[1]]
            table[line[node[~few]], k.tokens[~few]] = values[~few]
    arrays = (tokens, targets, gains, shares, gained, line, *lines)
    return _Tables(*(torch.from_numpy(a).to(device) for a in arrays))
