"""Keywords in the decoder: torch, numpy and kernels choose alike; an engine says what the slow twin says."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from sottovoce.engine import kernels, native, sampler
from sottovoce.engine.choices import boosted_
from sottovoce.engine.device_boosts import TREES_KEPT, WIDEST
from sottovoce.engine.engine import Engine
from sottovoce.engine.host_rules import HostRules
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.torch_runner import propose
from sottovoce.errors import OptionError
from sottovoce.flow.keywords import Gains, tree
from sottovoce.model.whisper import Whisper
from sottovoce.types import Decode, Decoded, Keywords, Lane, Search, Window
from tests.cpu import plain_engine as twin
from tests.cpu.test_engine import a_sound, an_ask, engine, features, model, run
from tests.cpu.test_host_rules import V, asked, some_logits
from tests.plain_keywords import PlainKeywords

__all__ = ["engine", "model"]  # fixtures
GREEDY, BEAMS = Gains(2.0, 5.0, 2.0), Gains(3.0, 4.0, 3.0)  # random networks are sure of what they say
N_ROWS = 20
Terms = dict[tuple[int, ...], float]


def some_terms(draw: np.random.Generator, n: int, n_ids: int) -> Terms:
    """Terms that share beginnings, one of them with more continuations than a list holds, and terms inside others."""
    found: Terms = {}
    for _ in range(n):
        tokens = draw.integers(0, n_ids, draw.integers(1, 5)).tolist()
        if draw.random() < 0.5:
            tokens = [7, *tokens]
        if found and draw.random() < 0.3:
            tokens = [*next(iter(found)), *tokens][:6]
        found[tuple(tokens)] = float(draw.choice([0.5, 1.0, 2.0]))
    return found


@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("seed", range(6))
def test_three_ways_to_choose_are_one(seed: int, k: int) -> None:
    """More sets of keywords than are kept, rows without any, rows that begin anew and that continue others."""
    draw = np.random.default_rng(seed)
    sets: list[Keywords | None] = [tree(some_terms(draw, 200, 300), GREEDY, BEAMS) for _ in range(TREES_KEPT + 3)]
    assert any(s is not None and max(np.diff(s.starts)[1:]) > WIDEST for s in sets)
    sets += [None] * 3
    theirs, ours = RuleBook(V, N_ROWS, 96, torch.device("cpu")), HostRules(V, N_ROWS, 96)
    rows = draw.permutation(N_ROWS)[:8].tolist()
    search = Search(beam_size=k - 1 if k > 1 else 1)
    chooser = native.NativeChooser(ours, 2) if kernels.library() is not None else None
    n_boosted = 0

    def begin(row: int) -> None:
        ask = replace(asked(draw, search), keywords=sets[draw.integers(len(sets))])
        theirs.reset_([row], ask)
        ours.reset_([row], ask)

    for row in rows:
        begin(row)
    for step in range(25):
        logits = some_logits(draw, len(rows))
        where = torch.tensor(rows)
        masked, masked_here = torch.from_numpy(logits.copy()), logits.copy()
        theirs.apply_(masked, where)
        ours.apply_(masked_here, np.asarray(rows))
        groups, none = [(search, 1)] * len(rows), [None] * len(rows)
        gains, gains_here = theirs.gains(rows), ours.gains(rows)
        assert gains is not None and gains_here is not None
        np.testing.assert_allclose(gains.numpy(), gains_here, atol=1e-5)
        expected = propose(masked, groups, none, gains)
        here = sampler.propose(masked_here, groups, none, gains_here)
        ahead = boosted_(theirs, torch.from_numpy(logits.copy()), torch.arange(len(rows)), where, k, None)
        found = [here, sampler.Proposal(*(t.numpy() for t in ahead))]
        if chooser is not None:
            found.append(chooser.choose(logits, range(len(rows)), rows, k))
        possible = np.isfinite(expected.logprobs)
        assert expected.gains is not None
        n_boosted += int((expected.gains[:, 0] > 0).sum())
        for other in found:
            assert other.gains is not None
            np.testing.assert_array_equal(other.tokens[possible], expected.tokens[possible])
            np.testing.assert_allclose(other.logprobs, expected.logprobs, atol=3e-5)
            np.testing.assert_allclose(other.gains[possible], expected.gains[possible], atol=1e-5)
        tokens = expected.tokens[:, 0].copy()
        theirs.update_(torch.from_numpy(tokens), where)
        ours.update_(tokens, np.asarray(rows))
        if step % 3 == 1:  # one ends, another begins
            gone = rows.pop(0)
            theirs.release([gone])
            ours.release([gone])
            rows.append(next(r for r in range(N_ROWS) if r not in rows))
            begin(rows[-1])
    assert n_boosted > 20


def test_the_few_terms_of_a_window_leave_the_large_tree_where_it_is() -> None:
    """Each window's own made all trees be joined anew."""
    large = tree(some_terms(np.random.default_rng(0), 200, 300), GREEDY, BEAMS)
    rules, host = RuleBook(V, 4, 96, torch.device("cpu")), HostRules(V, 4, 96)
    for row in range(3):
        for each in (rules, host):
            each.reset_([row], Decode((1,), keywords=large if row < 2 else tree({(7, 8): 1.0}, GREEDY, BEAMS)))
    before = rules._boosts._tables.gains.data_ptr()
    for i in range(10):
        few = tree({(i, i + 1, 5): 1.0, (i + 2,): 2.0}, GREEDY, BEAMS)
        for each in (rules, host):
            each.reset_([3], Decode((1,), keywords=few))
        rules.update_(torch.tensor([7, i]), torch.tensor([0, 3]))
        host.update_(np.array([7, i]), np.array([0, 3]))
        found, expected = rules.gains([0, 1, 2, 3]), host.gains([0, 1, 2, 3])
        assert found is not None and expected is not None
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert rules._boosts._tables.gains.data_ptr() == before


def test_beams_that_continue_each_other_take_their_open_terms_along() -> None:
    k = tree({(1, 2, 3): 1.0}, GREEDY, BEAMS)
    ask = Decode((1,), search=Search(beam_size=2), keywords=k)
    theirs, ours = RuleBook(V, 4, 96, torch.device("cpu")), HostRules(V, 4, 96)
    for rules in (theirs, ours):
        rules.reset_([0, 1], ask)
    theirs.update_(torch.tensor([1, 9]), torch.tensor([0, 1]))
    ours.update_(np.array([1, 9]), np.array([0, 1]))
    for rules in (theirs, ours):
        rules.copy_rows_([0, 1], [1, 0])
        found = rules.gains([0, 1])
        assert found is not None
        assert found[0][2] == 0, "no term is open in what row 0 continues"
        assert found[1][2] == BEAMS.further
        assert found[1][5] == -BEAMS.first


@pytest.mark.parametrize("seed", range(3))
def test_a_mixed_batch_gives_what_each_window_gives_alone(engine: Engine, model: Whisper, seed: int) -> None:
    """With and without keywords, greedy and beams, several sets, drafts: token for token as the slow twin."""
    dice, draw = random.Random(seed), np.random.default_rng(seed)
    terms = [some_terms(draw, 40, 100) for _ in range(2)]
    trees = [tree(t, GREEDY, BEAMS) for t in terms]
    windows, expected, n_changed = [], [], 0
    for i in range(8):
        ask, which = an_ask(dice, beams=dice.choice([1, 1, 2, 5])), dice.choice([0, 1, None])
        without = twin.decode(model, features(i), ask)
        if which is None:
            expected.append(without)
        else:
            plain = PlainKeywords(terms[which], GREEDY, BEAMS)
            expected.append(twin.decode(model, features(i), ask, keywords=plain))
            ask = replace(ask, keywords=trees[which], draft=tuple(expected[-1][0][: dice.choice([0, 5])]))
        n_changed += expected[-1][0] != without[0]
        windows.append(Window(f"k{i}", a_sound(i), ask, f"flow{i % 3}"))
    for i, (answer, (tokens, avg_logprob)) in enumerate(zip(run(engine, windows), expected, strict=True)):
        assert isinstance(answer, Decoded)
        assert list(answer.tokens) == tokens, f"window {i}"
        assert answer.avg_logprob == pytest.approx(avg_logprob, abs=1e-4)
    assert n_changed


@pytest.mark.parametrize("search", [Search(max_tokens=15), Search(beam_size=4, max_tokens=15)])
def test_log_probabilities_are_the_models_own(engine: Engine, model: Whisper, search: Search) -> None:
    """What keywords add must not let a window pass a gate."""
    terms = some_terms(np.random.default_rng(3), 60, 100)
    ask = Decode((twin.SOT, 103), search=search, keywords=tree(terms, GREEDY, BEAMS))
    (answer,) = run(engine, [Window("k", a_sound(0), ask)])
    (without,) = run(engine, [Window("k", a_sound(0), replace(ask, keywords=None))])
    assert isinstance(answer, Decoded) and isinstance(without, Decoded)
    assert answer.tokens != without.tokens
    logits = twin.next_logits(model, features(0), [*ask.prompt, *answer.tokens])[len(ask.prompt) - 1 :]
    for i, (token, logprob) in enumerate(zip(answer.tokens, answer.logprobs, strict=True)):
        allowed = twin.filtered(logits[i], list(answer.tokens[:i]), ask.rules, twin.VOCABULARY)
        assert logprob == pytest.approx(float(allowed.log_softmax(-1)[token]), abs=1e-4)
    assert answer.no_speech_prob == pytest.approx(without.no_speech_prob, abs=1e-6)


def test_draws_prefer_keywords_and_do_not_depend_on_the_neighbours(engine: Engine) -> None:
    hot = Decode((twin.SOT,), search=Search(temperature=0.8, best_of=3, seed=7, max_tokens=20))
    terms = tree(some_terms(np.random.default_rng(5), 60, 100), GREEDY, BEAMS)
    asks = [replace(hot, keywords=terms), hot, replace(hot, keywords=terms)]
    (alone,) = run(engine, [Window("a", a_sound(0), asks[0])])
    among = run(engine, [Window("b", a_sound(0), asks[1]), Window("c", a_sound(0), asks[2])])
    assert isinstance(alone, Decoded) and all(isinstance(a, Decoded) for a in among)
    assert alone.tokens == among[1].tokens != among[0].tokens  # type: ignore[union-attr]


@pytest.mark.parametrize("token", [-1, 999_999])
def test_keywords_of_another_vocabulary_are_refused(engine: Engine, token: int) -> None:
    k = tree({(1, token): 1.0}, GREEDY, BEAMS)
    with pytest.raises(OptionError, match="token id"):
        engine.admit(Window("k", a_sound(0), Decode((1,), keywords=k)))


def test_who_leaves_takes_his_keywords_along(engine: Engine, model: Whisper) -> None:
    """A row that had keywords decodes without any for the next one."""
    terms = some_terms(np.random.default_rng(1), 60, 100)
    with_terms = Decode((twin.SOT,), search=Search(max_tokens=20), keywords=tree(terms, GREEDY, BEAMS))
    left = [engine.add(Window(f"g{i}", a_sound(i), with_terms), Lane.REQUEST) for i in range(8)]
    for _ in range(4):
        engine.step()
    for sequence in left:
        engine.withdraw(sequence)
    plain = replace(with_terms, keywords=None)
    answers = run(engine, [Window(f"p{i}", a_sound(i), plain) for i in range(8)])
    for i, answer in enumerate(answers):
        assert isinstance(answer, Decoded)
        assert list(answer.tokens) == twin.decode(model, features(i), plain)[0]
