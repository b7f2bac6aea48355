"""What rows may say next, decided on the device: rules, log-softmax and the best k, and what a choice changes.

`best_` is the plain twin of triton_choose.py. By row on the device, beside the memory of the rules:

    tokens, positions: the newest token, and where it stands       left: tokens that may still be chosen
    ended: nothing of this row changes any more
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sottovoce.engine.rules import RuleBook
from sottovoce.engine.sampler import Proposal, merged
from sottovoce.engine.stream import Stream


@dataclass(frozen=True, slots=True)
class RowState:
    """(n_rows + 1,) each: int64, and `ended` bool. The last row is nobody's."""

    tokens: Tensor
    positions: Tensor
    left: Tensor
    ended: Tensor


class Best(Protocol):
    """The k best tokens of some lines under the rules, without a wait."""

    def __call__(
        self, rules: RuleBook, logits: Tensor, lines: Tensor, rows: Tensor, k: int, feeds: RowState | None
    ) -> tuple[Tensor, Tensor]:
        """(n, k) int64 tokens and float32 log-probabilities, the best first; what is impossible has -inf.

        logits: (R, V) float32, which may be written over. lines, rows: (n,) int64, which lines of it, whose rules;
        no row has a rule about repetition. feeds: None; or k is 1, and the rows go on with what is chosen for them.
        """
        ...


def best_(
    rules: RuleBook, logits: Tensor, lines: Tensor, rows: Tensor, k: int, feeds: RowState | None
) -> tuple[Tensor, Tensor]:
    """The plain twin: any device."""
    some = logits[lines]
    rules.mask_(some, rows)
    logprobs = torch.log_softmax(some, dim=-1)
    values, tokens = logprobs.topk(k, dim=-1) if k > 1 else logprobs.max(dim=-1, keepdim=True)
    if feeds is not None:
        _feed_(rules, tokens[:, 0], rows, feeds)
    return tokens, values


def _feed_(rules: RuleBook, tokens: Tensor, rows: Tensor, state: RowState) -> None:
    nobody = len(state.tokens) - 1
    ended = state.ended[rows]
    rules.update_(tokens, torch.where(ended, nobody, rows))
    left = state.left[rows] - 1
    over = ended | (tokens == rules.vocabulary.eot) | (left <= 0)
    state.left[rows] = left
    state.ended[rows] = over
    state.tokens[rows] = torch.where(over, state.tokens[rows], tokens)
    state.positions[rows] += (~over).long()


def boosted_(
    rules: RuleBook, logits: Tensor, lines: Tensor, rows: Tensor, k: int, feeds: RowState | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As Best, of rows with keywords, and what each token gains by them, by which they are in order too: any device."""
    some = logits[lines]
    rules.mask_(some, rows)
    logprobs, gains = torch.log_softmax(some, dim=-1), rules.gains_at(rows)
    scores = logprobs + gains
    _, tokens = scores.topk(k, dim=-1) if k > 1 else scores.max(dim=-1, keepdim=True)
    if feeds is not None:
        _feed_(rules, tokens[:, 0], rows, feeds)
    return tokens, logprobs.gather(1, tokens), gains.gather(1, tokens)


class DeviceChooser:
    """What rows may say next, for the host, which waits for it: beams."""

    most = 64  # as kernels find for it

    def __init__(self, rules: RuleBook, stream: Stream, best: Best) -> None:
        self.rules, self.stream, self._best = rules, stream, best

    def choose(self, logits: Tensor, lines: Seq[int], rows: Seq[int], k: int) -> Proposal:
        parts = []
        for with_keywords in (False, True):
            which = [i for i, row in enumerate(rows) if self.rules.boosts([row]) is with_keywords]
            if which:
                of_line, of_row = self.stream.put([[lines[i] for i in which], [rows[i] for i in which]])
                best = boosted_ if with_keywords else self._best
                found = best(self.rules, logits, of_line, of_row, k, None)
                parts.append((which, Proposal(*self.stream.post(*found)())))  # sync
        return parts[0][1] if len(parts) == 1 else merged(parts)
