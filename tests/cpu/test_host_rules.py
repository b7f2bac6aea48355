"""What may follow, and what follows, on the host: kernels and numpy beside the masks and the sampler of torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sottovoce.engine import kernels, native, sampler
from sottovoce.engine.host_rules import HostRules
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.standing import MASKS_KEPT
from sottovoce.engine.torch_runner import propose
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.types import Decode, Rules, Search

V = Vocabulary(n_vocab=1003, eot=700, timestamp_begin=802, no_timestamps=801, no_speech=790)
N_ROWS = 20


def asked(draw: np.random.Generator, search: Search) -> Decode:
    suppress = tuple(draw.choice(700, 90, replace=False).tolist())
    limit = None if draw.random() < 0.3 else int(draw.integers(0, 60))
    begun = (int(draw.integers(0, 700)),) * int(draw.integers(0, 2))
    return Decode((1,), 0, search, Rules(suppress, (700, 220), bool(draw.random() < 0.8), limit, begun))


def some_logits(draw: np.random.Generator, n: int) -> np.ndarray:
    logits = draw.normal(0, 3, (n, V.n_vocab)).astype(np.float32)
    logits[:, V.timestamp_begin :] += float(draw.choice([-4, 0, 3]))
    return logits


@pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: nothing to compare")
@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("seed", range(8))
def test_a_kernel_chooses_by_the_rules(seed: int, k: int) -> None:
    """Random logits, masks and histories, and every state of the grammar."""
    draw, search = np.random.default_rng(seed), Search(beam_size=k - 1 if k > 1 else 1)
    theirs, ours = RuleBook(V, N_ROWS, 96, torch.device("cpu")), HostRules(V, N_ROWS, 96)
    rows = draw.permutation(N_ROWS)[:7].tolist()
    for row in rows:
        ask = asked(draw, Search())
        theirs.reset_([row], ask)
        ours.reset_([row], ask)
    chooser = native.NativeChooser(ours, 2)
    for _ in range(12):
        logits = some_logits(draw, len(rows))
        masked = torch.from_numpy(logits.copy())
        theirs.apply_(masked, torch.tensor(rows))
        expected = propose(masked, [(search, 1)] * len(rows), [None] * len(rows))
        found = chooser.choose(logits, range(len(rows)), rows, k)
        possible = np.isfinite(expected.logprobs)
        np.testing.assert_array_equal(found.tokens[possible], expected.tokens[possible])
        np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=2e-5)
        theirs.update_(torch.from_numpy(found.tokens[:, 0].copy()), torch.tensor(rows))
        ours.update_(found.tokens[:, 0], np.asarray(rows))


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_those_of_torch(seed: int) -> None:
    """Rules about repetition too, rows that continue others, more masks than are kept, and rows that are given up."""
    draw = np.random.default_rng(seed)
    theirs, ours = RuleBook(V, N_ROWS, 40, torch.device("cpu")), HostRules(V, N_ROWS, 40)
    rows = draw.permutation(N_ROWS)[:9].tolist()
    for _ in range(2 * MASKS_KEPT // len(rows)):
        for row in rows:
            penalty, size = (1.0, 1.3, 0.8)[draw.integers(3)], int(draw.integers(0, 4))
            ask = asked(draw, Search(repetition_penalty=penalty, no_repeat_ngram_size=size))
            theirs.reset_([row], ask)
            ours.reset_([row], ask)
    for step in range(30):
        logits = some_logits(draw, len(rows))
        masked = torch.from_numpy(logits.copy())
        theirs.apply_(masked, torch.tensor(rows))
        ours.apply_(logits, np.asarray(rows))
        np.testing.assert_allclose(logits, masked.numpy(), rtol=1e-6)
        weights = np.exp(np.where(np.isfinite(logits), logits, -100))
        tokens = np.array([draw.choice(V.n_vocab, p=w / w.sum()) for w in weights.astype(np.float64)])
        tokens = np.where(draw.random(len(rows)) < 0.3, draw.integers(0, 12, len(rows)), tokens)  # some come again
        theirs.update_(torch.from_numpy(tokens), torch.tensor(rows))
        ours.update_(tokens, np.asarray(rows))
        if step % 7 == 3:
            sources = draw.permutation(rows).tolist()
            theirs.copy_rows_(rows, sources)
            ours.copy_rows_(rows, sources)
        if step == 20:
            theirs.release(rows[:3])
            ours.release(rows[:3])
            assert not ours.repeats(rows[:3])
            rows = rows[3:]
    assert ours.repeats(rows)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_proposed_is_what_torch_proposes(seed: int) -> None:
    draw = np.random.default_rng(seed)
    logits = some_logits(draw, 8)
    logits[:, draw.permutation(V.n_vocab)[:900]] = -np.inf
    groups = [(Search(beam_size=5), 5), (Search(), 1), (Search(beam_size=2), 2)]
    expected = propose(torch.from_numpy(logits.copy()), groups, [None] * 3)
    found = sampler.propose(logits, groups, [None] * 3)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=2e-5)


def test_draws_are_as_frequent_as_they_are_probable() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.125, 0.0625, 0.0625, 0.0]], np.float32) + 1e-30)
    logits[0, 5] = -np.inf
    generator, n = np.random.default_rng(0), 4000
    counts = np.zeros(6)
    for _ in range(n):
        counts[sampler.propose(logits, [(Search(temperature=2.0), 1)], [generator]).tokens[0, 0]] += 1
    weights = np.sqrt(np.exp(logits[0]))
    np.testing.assert_allclose(counts / n, weights / weights.sum(), atol=4 * math.sqrt(0.25 / n))
    assert counts[5] == 0


@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 1e-300])
def test_the_smallest_temperature_is_greedy(temperature: float) -> None:
    draw = np.random.default_rng(1)
    logits = some_logits(draw, 1)
    found = sampler.propose(logits, [(Search(temperature=temperature), 1)], [draw])
    assert found.tokens[0, 0] == logits[0].argmax()


def test_where_nothing_can_be_drawn_it_is_said() -> None:
    none = np.full((1, V.n_vocab), -np.inf, np.float32)
    with pytest.raises(FloatingPointError, match="no token"):
        sampler.propose(none, [(Search(temperature=1.0), 1)], [np.random.default_rng(0)])
    with pytest.raises(FloatingPointError, match="no numbers"):
        sampler.propose(none * np.nan, [(Search(), 1)], [None])
    assert sampler.propose(none, [(Search(), 1)], [None]).logprobs[0, 0] == -np.inf
