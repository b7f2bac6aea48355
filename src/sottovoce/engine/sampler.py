"""Filtered logits -> tokens: greedy, temperature, beam search with patience, best of n. Knows no model and no rule.

The device, or a kernel, or `propose` says for all rows what they may continue with; the host decides per sequence.
Source: openai/whisper decoding.py (GreedyDecoder, BeamSearchDecoder, MaximumLikelihoodRanker), where Search asks for it
OpenNMT/CTranslate2 src/decoding.cc (BeamSearch); slow twin: tests/cpu/plain_engine.py.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np

from sottovoce.engine.sequence import Ended, Sequence
from sottovoce.types import Decode, Decoded, Search


@dataclass(frozen=True, slots=True)
class Proposal:
    """tokens, logprobs: (R, K) int64 and float32 on the host, the best first; K = 1 where nothing searches by beam.

    gains: (R, K) float32, what each token gains by keywords, by which they are in order too; None: nobody has any.
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    gains: np.ndarray | None = None

    def lines(self, lines: slice) -> Proposal:
        """The proposals for some of the rows."""
        return Proposal(self.tokens[lines], self.logprobs[lines], None if self.gains is None else self.gains[lines])


def merged(parts: Seq[tuple[list[int], Proposal]]) -> Proposal:
    """Proposals for some lines each, as one for all of them."""
    n, k = sum(len(lines) for lines, _ in parts), max(p.tokens.shape[1] for _, p in parts)
    tokens, logprobs = np.zeros((n, k), np.int64), np.full((n, k), -np.inf, np.float32)
    gains = np.zeros((n, k), np.float32) if any(p.gains is not None for _, p in parts) else None
    for lines, p in parts:
        tokens[lines, : p.tokens.shape[1]], logprobs[lines, : p.tokens.shape[1]] = p.tokens, p.logprobs
        if gains is not None and p.gains is not None:
            gains[lines, : p.tokens.shape[1]] = p.gains
    return Proposal(tokens, logprobs, gains)


def propose(
    logits: np.ndarray,
    groups: Seq[tuple[Search, int]],
    generators: Seq[np.random.Generator | None],
    gains: np.ndarray | None = None,
) -> Proposal:
    """What each row may continue with. logits: (R, V) float32; groups: (search, n_rows) in the order of the rows.

    generators: one per group, None where nothing is drawn; a group's draw does not depend on its neighbours.
    gains: (R, V) float32, what tokens gain by keywords.
    Twin: torch_runner.py:propose.
    """
    widest = max((s.beam_size for s, _ in groups if is_beam(s)), default=0)
    n = widest + 1 if widest else 1
    best = np.empty((len(logits), n), np.int64)
    values = np.empty((len(logits), n), np.float32)
    won = np.empty((len(logits), n), np.float32)
    row = 0
    for (search, n_rows), generator in zip(groups, generators, strict=True):
        for i in range(row, row + n_rows):
            line = logits[i]
            top = line.max()
            if np.isnan(top) or (search.temperature > 0 and top == -np.inf):
                raise FloatingPointError("the logits are no numbers, or no token is allowed")
            logprobs = line - (top + np.log(np.exp(line - top).sum())) if top > -np.inf else line
            if gains is not None:
                line = line + gains[i]
                top = line.max()
            chosen = _largest(line, n)
            if search.temperature > 0:
                assert generator is not None
                # the largest is taken off first: a tiny temperature makes no infinity
                with np.errstate(over="ignore"):
                    heap = np.exp((line - top).astype(np.float64) / search.temperature).cumsum()
                drawn = np.searchsorted(heap, generator.random() * heap[-1], side="right")
                chosen[0] = min(drawn, np.searchsorted(heap, heap[-1]))  # rounding: never behind the last that may be
            best[i], values[i], won[i] = chosen, logprobs[chosen], 0 if gains is None else gains[i][chosen]
        row += n_rows
    return Proposal(best, values, None if gains is None else won)


def _largest(line: np.ndarray, n: int) -> np.ndarray:
    """Where the n largest of (V,) numbers stand, the largest first."""
    if n == 1:
        return np.array([line.argmax()])
    some = np.argpartition(-line, n)[:n]
    found: np.ndarray = some[np.argsort(-line[some], kind="stable")]
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """What a sequence does next. tokens: one per row; sources: index of the row that each row continues."""

    tokens: list[int]
    sources: list[int]
    done: bool


def advance(sequence: Sequence, found: Proposal, eot: int) -> Step:
    """Take the proposals for a sequence's rows, and append them to it."""
    assert isinstance(sequence.window.ask, Decode)
    if is_beam(sequence.window.ask.search):
        return _advance_beams(sequence, found, eot)
    tokens, logprobs = found.tokens, found.logprobs
    chosen = []
    for i, trace in enumerate(sequence.tokens):
        ended = bool(trace) and trace[-1] == eot
        token = eot if ended else int(tokens[i, 0])
        if not ended:
            sequence.sums[i] += logprobs[i, 0]
        trace.append(token)
        sequence.logprobs[i].append(float(logprobs[i, 0]))
        chosen.append(token)
    return Step(chosen, list(range(len(chosen))), all(token == eot for token in chosen))


def _advance_beams(sequence: Sequence, found: Proposal, eot: int) -> Step:
    assert isinstance(sequence.window.ask, Decode)
    search = sequence.window.ask.search
    n_beams, n_wanted = search.beam_size, round(search.beam_size * search.patience)
    gains = np.zeros_like(found.logprobs) if found.gains is None else found.gains
    scores: dict[tuple[int, ...], float] = {}
    sources: dict[tuple[int, ...], tuple[int, float]] = {}
    won: dict[tuple[int, ...], float] = {}  # by keywords, so far
    for i, trace in enumerate(sequence.tokens):
        some = slice(0, n_beams + 1)
        for token, logprob, gain in zip(found.tokens[i, some], found.logprobs[i, some], gains[i, some], strict=True):
            hypothesis = (*trace, int(token))
            # float32, as the reference adds
            won[hypothesis] = float(sequence.won[i] + gain)
            scores[hypothesis] = float(sequence.sums[i] + logprob)
            sources[hypothesis] = (i, float(logprob))
    ended, kept = [], []
    for rank, hypothesis in enumerate(sorted(scores, key=lambda h: scores[h] + won[h], reverse=True)):
        if hypothesis[-1] == eot:
            if rank < n_beams or not search.ends_in_beam:
                ended.append(hypothesis)
        else:
            kept.append(hypothesis)
            if len(kept) == n_beams:
                break
    old_logprobs = sequence.logprobs
    for hypothesis in ended:
        if len(sequence.finished) >= n_wanted:
            break
        i, logprob = sources[hypothesis]
        sequence.finished[hypothesis] = (scores[hypothesis], won[hypothesis], (*old_logprobs[i], logprob))
    while len(kept) < n_beams:  # fewer tokens are allowed than there are beams: the last hypothesis stands twice
        kept.append(kept[-1] if kept else (*sequence.tokens[0], eot))
    rows = [sources.get(h, (0, 0.0)) for h in kept]
    sequence.sums = np.array([scores.get(h, -np.inf) for h in kept], np.float32)
    sequence.won = np.array([won.get(h, 0.0) for h in kept], np.float32)
    sequence.tokens = [list(h) for h in kept]
    sequence.logprobs = [[*old_logprobs[i], logprob] for i, logprob in rows]
    return Step([h[-1] for h in kept], [i for i, _ in rows], len(sequence.finished) >= n_wanted)


def conclude(sequence: Sequence, eot: int) -> Decoded:
    """The best hypothesis of a sequence that has ended, or reached its limit."""
    assert isinstance(sequence.window.ask, Decode)
    search = sequence.window.ask.search
    hypotheses: list[tuple[tuple[int, ...], Ended]]
    if is_beam(search):
        finished = dict(sequence.finished)
        if len(finished) < search.beam_size:
            for i in list(np.argsort(sequence.sums + sequence.won))[::-1]:
                ended = float(sequence.sums[i]), float(sequence.won[i]), tuple(sequence.logprobs[i])
                finished[(*sequence.tokens[i], eot)] = ended
                if len(finished) >= search.beam_size:
                    break
        hypotheses = list(finished.items())
    else:
        rows = zip(sequence.tokens, sequence.sums, sequence.logprobs, strict=True)
        hypotheses = [((*tokens, eot), (float(score), 0.0, tuple(logprobs))) for tokens, score, logprobs in rows]
    texts = [tokens[: tokens.index(eot)] for tokens, _ in hypotheses]
    ranks = [(ended[0] + ended[1]) / _length(len(t), search) for t, (_, ended) in zip(texts, hypotheses, strict=True)]
    best = int(np.argmax(ranks))
    tokens, (score, _, logprobs) = texts[best], hypotheses[best][1]
    return Decoded(
        tokens=tokens,
        avg_logprob=score / (len(tokens) + 1),
        no_speech_prob=sequence.no_speech_prob,
        temperature=search.temperature,
        logprobs=logprobs[: len(tokens)],
    )


def _length(n_tokens: int, search: Search) -> float:
    """What a score is divided by, so that long hypotheses are not punished for their length."""
    if search.length_exponent is not None:
        return float(max(n_tokens, 1e-3) ** search.length_exponent) or 1e-300
    if search.length_penalty is None:
        return max(n_tokens, 1e-9)  # an empty hypothesis ranks as it does where 0 divides: last, unless alone
    return float(((5 + n_tokens) / 6) ** search.length_penalty)


def is_beam(search: Search) -> bool:
    return search.temperature == 0 and search.beam_size > 1
