"""Decoding with a draft: fewer steps, and the same answer as without, whatever the draft says."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sottovoce.engine.engine import Engine
from sottovoce.errors import OptionError
from sottovoce.model.whisper import Whisper
from sottovoce.types import Decode, Decoded, Lane, Search, Window
from tests.cpu import plain_engine as twin
from tests.cpu.test_engine import V, a_sound, an_ask, engine, features, model, run

__all__ = ["engine", "model"]  # fixtures


def drafts(said: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    wrong = (said[len(said) // 2] + 1) % V.eot
    middle = len(said) // 2
    return {
        "all of it": said,
        "the beginning": said[:middle],
        "the last but one": said[:-1],
        "wrong at once": ((said[0] + 1) % V.eot, *said),
        "wrong in the middle": (*said[:middle], wrong, *said[middle:]),
        "more than there is": (*said, *said),
        "an end in between": (*said[:middle], V.eot, *said),
        "far too long": said * 200,
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_answer_with_a_draft_is_the_answer_without(engine: Engine, model: Whisper, seed: int) -> None:
    dice = random.Random(seed)
    ask = replace(an_ask(dice), search=Search(max_tokens=25))
    (alone,) = run(engine, [Window("k", a_sound(seed), ask)])
    assert isinstance(alone, Decoded)
    assert list(alone.tokens) == twin.decode(model, features(seed), ask)[0]
    asks = [replace(ask, draft=draft) for draft in drafts(alone.tokens).values()]
    others = [an_ask(dice, beams=dice.choice([1, 3])) for _ in asks]
    windows = [Window("k", a_sound(seed), a) for a in asks] + [
        Window(f"o{i}", a_sound(100 + i), a) for i, a in enumerate(others)
    ]
    dice.shuffle(order := list(range(len(windows))))
    answers = dict(zip(order, run(engine, [windows[i] for i in order]), strict=True))
    for i, name in enumerate(drafts(alone.tokens)):
        answer = answers[i]
        assert isinstance(answer, Decoded)
        assert answer.tokens == alone.tokens, name
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
        assert answer.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-5)
        assert answer.no_speech_prob == pytest.approx(alone.no_speech_prob, abs=1e-6)
    for i, other in enumerate(others, start=len(asks)):
        answer = answers[i]
        assert isinstance(answer, Decoded)
        assert list(answer.tokens) == twin.decode(model, features(100 + i - len(asks)), other)[0]


def n_steps(engine: Engine, ask: Decode) -> int:
    engine.add(Window("k", a_sound(0), ask), Lane.REQUEST)
    n = 0
    while not engine.idle:
        engine.step()
        n += 1
    return n


def test_a_true_draft_costs_one_pass(engine: Engine) -> None:
    ask = Decode((twin.SOT, 103), search=Search(max_tokens=20))
    (said,) = run(engine, [Window("k", a_sound(0), ask)])
    assert isinstance(said, Decoded)
    assert len(said.tokens) > 5
    without, with_draft = n_steps(engine, ask), n_steps(engine, replace(ask, draft=said.tokens))
    assert without >= len(said.tokens)
    assert with_draft <= 3


@pytest.mark.parametrize("search", [Search(beam_size=3, max_tokens=12), Search(temperature=0.7, seed=5, max_tokens=12)])
def test_beams_and_draws_do_not_look_at_a_draft(engine: Engine, search: Search) -> None:
    ask = Decode((twin.SOT, 103), search=search)
    (without,) = run(engine, [Window("k", a_sound(0), ask)])
    (with_draft,) = run(engine, [Window("k", a_sound(0), replace(ask, draft=(1, 2, 3)))])
    assert with_draft == without


def test_a_draft_of_another_vocabulary_is_refused(engine: Engine) -> None:
    with pytest.raises(OptionError, match="token id"):
        engine.admit(Window("k", a_sound(0), Decode((1,), draft=(999_999,))))
