"""The engine on compiled kernels: whoever shares a step, leaves it or makes it fail, the others' words are the same."""

from __future__ import annotations

import random
from collections.abc import Sequence as Seq

import numpy as np
import pytest

from sottovoce.engine import kernels
from sottovoce.engine.engine import Engine
from sottovoce.engine.kernel_runner import KernelRunner
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.model.dims import Dims
from sottovoce.model.modules import numbers_of
from sottovoce.model.whisper import Whisper
from sottovoce.types import Answer, Decode, Decoded, Lane, Rules, Search, Sound, Window
from tests.cpu.networks import a_network

V = Vocabulary(n_vocab=1003, eot=700, timestamp_begin=802, no_timestamps=801, no_speech=790)
DIMS = Dims(80, 1500, 64, 1, 1, 1003, 96, 64, 1, 2)
N_WINDOWS = 24
SEARCHES = (
    Search(max_tokens=30), Search(beam_size=3, max_tokens=30), Search(beam_size=5, patience=2, max_tokens=20),
    Search(temperature=0.8, best_of=3, seed=4, max_tokens=25),
    Search(beam_size=2, repetition_penalty=1.3, no_repeat_ngram_size=2, max_tokens=25),
)  # fmt: skip

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: torch computes")


@pytest.fixture(scope="module")
def model() -> Whisper:
    return a_network(DIMS, 0.25)


class ShakyRunner(KernelRunner):
    """Fails now and then, before a step and after it."""

    odds = 0.0
    dice = random.Random(0)

    def decode(self, sequences: Seq[Sequence]) -> np.ndarray:
        if self.dice.random() < self.odds:
            raise RuntimeError("before a step")
        logits: np.ndarray = super().decode(sequences)
        return logits

    def sample(self, sequences: Seq[Sequence], logits: np.ndarray) -> list[bool]:
        done = super().sample(sequences, logits)
        if self.dice.random() < self.odds:
            raise MemoryError("after a choice")
        return done


def an_engine(model: Whisper, bits: int) -> tuple[Engine, ShakyRunner]:
    runner = ShakyRunner(DIMS, numbers_of(model), [(1, 0)], V, 16, 2, "auto", bits, n_windows=6)
    return Engine(runner, 750, 3), runner


def windows() -> list[Window]:
    """Of a few sounds; every kind of search, prompts of many lengths, rules, drafts."""
    draw = np.random.default_rng(5)
    sounds = [draw.normal(0, 1, (1500, 64)).astype(np.float32) for _ in range(5)]
    made = []
    for i in range(N_WINDOWS):
        dice = random.Random(i)
        prompt = (*(dice.randrange(600) for _ in range(dice.choice([1, 3, 9, 40]))), 750, 760)
        draft = tuple(dice.randrange(600) for _ in range(5)) if dice.random() < 0.3 else ()
        rules = Rules((3, 4), (V.eot,), dice.random() < 0.7, 20)
        ask = Decode(prompt, len(prompt) - 2, SEARCHES[i % len(SEARCHES)], rules, draft=draft)
        made.append(Window(str(i), Sound(features=sounds[i % 5], n_frames=3000), ask, str(i)))
    return made


def run(engine: Engine, asked: Seq[Window], dice: random.Random | None = None) -> dict[str, Answer]:
    """What each was answered, if not with an error.

    dice: they come one after another, and some leave before they are answered.
    """
    waiting, known, here = list(asked), dict[str, Answer](), dict[str, Sequence]()
    while waiting or not engine.idle:
        for _ in range(min(len(waiting), dice.randrange(3) if dice else len(waiting))):
            window = waiting.pop(0)
            here[window.key] = engine.add(window, Lane.REQUEST)
        if dice and here and dice.random() < 0.1:
            engine.withdraw(here.pop(dice.choice(list(here))))
        for outcome in engine.step():
            if here.pop(outcome.sequence.window.key, None) is not None and outcome.answer is not None:
                known[outcome.sequence.window.key] = outcome.answer
    engine.check()
    return known


@pytest.mark.parametrize("bits", [16, 8])
def test_together_they_say_what_each_says_alone(model: Whisper, bits: int) -> None:
    asked = windows()
    engine, runner = an_engine(model, bits)
    alone = {w.key: run(engine, [w])[w.key] for w in asked}
    n_compared = 0
    for seed in range(4):
        dice = random.Random(seed)
        runner.odds = 0.01 if seed else 0.0
        for key, answer in run(engine, dice.sample(asked, len(asked)), dice).items():
            expected = alone[key]
            assert isinstance(answer, Decoded) and isinstance(expected, Decoded)
            assert answer.tokens == expected.tokens
            n_compared += 1
    assert n_compared > 1.5 * N_WINDOWS
