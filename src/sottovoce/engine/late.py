"""Greedy rows one step ahead of the host: a choice feeds the next step on the device, and is read one step later.

The host learns of a row's end one step late. The step that it ran too many changed nothing: it was of an ended row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from sottovoce.engine.choices import Best, RowState, boosted_
from sottovoce.engine.cuda import CudaNetwork
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.sampler import Proposal, advance
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.stream import Read
from sottovoce.types import Decode


@dataclass(slots=True, eq=False)
class _Receipt:
    """One step's choices, on their way. line_by_sequence: whom they are for. heard: silence, of those who began."""

    read: Read
    line_by_sequence: dict[Sequence, int]
    heard: list[tuple[Read, list[Sequence]]]


class Late:
    """The choices of rows that take the most probable token. rules: with a row more than the network has."""

    def __init__(self, network: CudaNetwork, rules: RuleBook, best: Best) -> None:
        self.network, self.rules, self.stream, self._best = network, rules, network.stream, best
        left = torch.zeros_like(network.tokens)
        self.rows = RowState(network.tokens, network.positions, left, torch.ones_like(left, dtype=torch.bool))
        self._pending: deque[_Receipt] = deque()
        self._heard: list[tuple[Read, list[Sequence]]] = []

    def takes(self, sequence: Sequence) -> bool:
        """Whether this one needs nothing of the host to go on."""
        ask = sequence.window.ask
        greedy = isinstance(ask, Decode) and ask.search.temperature == 0 and ask.search.n_rows == 1
        return greedy and not self.rules.repeats(sequence.rows)

    def begin_(self, sequences: Seq[Sequence], silence: Tensor | None = None) -> None:
        """Their prompts have been read. silence: (n,) how probable it is for each, unless they know."""
        if not sequences:
            return
        n_text = self.network.model.dims.n_text_ctx
        rows = [s.rows[0] for s in sequences]
        where, left = self.stream.put([rows, [s.n_most(n_text) - s.n_sampled for s in sequences]])
        self.rows.left.index_copy_(0, where, left)
        self.rows.ended.index_fill_(0, where, False)
        # the last token of the prompt; the first choice stands behind it
        self.network.put_rows_(rows, [0] * len(rows), [s.position for s in sequences])
        if silence is not None:
            self._heard.append((self.stream.post(silence), list(sequences)))

    def step(self, sequences: Seq[Sequence]) -> Tensor:
        """As Runner.decode, whether or not the host knows the newest tokens."""
        known = [s for s in sequences if not self.takes(s)]
        if known:
            rows = [row for s in known for row in s.rows]
            newest = [trace[-1] for s in known for trace in s.tokens]
            self.network.put_rows_(rows, newest, [s.position for s in known for _ in s.rows])
        lines = [(row, s.slot) for s in sequences for row in s.rows]
        longest = max(s.position for s in sequences)
        return self.network.go([row for row, _ in lines], [slot for _, slot in lines], longest)

    def choose_(self, sequences: Seq[Sequence], logits: Tensor, lines: Seq[int]) -> None:
        """The next token of each, on the device. lines: of logits (R, V), which may be written over."""
        boosted = [i for i, s in enumerate(sequences) if self.rules.boosts(s.rows)]
        plain = [i for i in range(len(sequences)) if i not in boosted] if boosted else list(range(len(sequences)))
        found: list[tuple[Tensor, ...]] = []
        for best, some in ((self._best, plain), (boosted_, boosted)):
            if some:
                of_line, rows = self.stream.put([[lines[i] for i in some], [sequences[i].rows[0] for i in some]])
                found.append(best(self.rules, logits, of_line, rows, 1, self.rows)[:2])
        tokens, logprobs = found[0] if len(found) == 1 else (torch.cat(part) for part in zip(*found, strict=True))
        by_sequence = {sequences[i]: line for line, i in enumerate(plain + boosted)}
        self._pending.append(_Receipt(self.stream.post(tokens, logprobs), by_sequence, self._heard))
        self._heard = []
        for sequence in sequences:
            sequence.n_ahead += 1

    def collect(self, n_left: int) -> None:
        """Read what was chosen, but for the latest n_left steps."""
        while len(self._pending) > n_left:
            receipt = self._pending.popleft()
            for read, began in receipt.heard:
                for sequence, prob in zip(began, read()[0].tolist(), strict=True):
                    sequence.no_speech_prob = prob
            tokens, logprobs = receipt.read()
            for sequence, line in receipt.line_by_sequence.items():
                sequence.n_ahead -= 1
                if not self.is_over(sequence):
                    some = slice(line, line + 1)  # (1, 1): its one row, the best token
                    advance(sequence, Proposal(tokens[some], logprobs[some]), self.rules.vocabulary.eot)

    def is_over(self, sequence: Sequence) -> bool:
        """Whether the host has read its last token."""
        (trace,) = sequence.tokens
        n_most = sequence.n_most(self.network.model.dims.n_text_ctx)
        return bool(trace) and (trace[-1] == self.rules.vocabulary.eot or len(trace) >= n_most)

    def release(self, sequence: Sequence) -> None:
        """It has left, or begins again: what is on its way for it is nobody's."""
        for receipt in self._pending:
            receipt.line_by_sequence.pop(sequence, None)
