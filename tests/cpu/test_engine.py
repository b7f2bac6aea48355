"""The engine beside its slow twin: the same tokens, whoever sits in the batch, and nothing leaks."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sottovoce.engine.engine import Engine
from sottovoce.engine.fused import PLAIN
from sottovoce.engine.loop import Loop
from sottovoce.engine.sampler import conclude
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.standing import MASKS_KEPT
from sottovoce.engine.stream import PlainStream
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.errors import EngineError, OptionError
from sottovoce.model.whisper import Whisper
from sottovoce.types import (
    Align,
    Aligned,
    Answer,
    Decode,
    Decoded,
    Detect,
    Detected,
    Encode,
    Encoded,
    Lane,
    Rules,
    Search,
    Sound,
    Window,
)
from tests.cpu import plain_engine as twin

V = twin.VOCABULARY


@pytest.fixture(scope="module")
def model() -> Whisper:
    return twin.a_model()


AHEAD = {"plain": None, "one step ahead": (PlainStream(torch.device("cpu")), PLAIN)}


@pytest.fixture(params=AHEAD)
def engine(model: Whisper, request: pytest.FixtureRequest) -> Engine:
    return Engine(TorchRunner(model, V, n_rows=8, n_threads=1, parts=AHEAD[request.param]), twin.SOT, encode_windows=3)


def a_sound(i: int) -> Sound:
    """Encoded sound: what the encoder would give is as good as any other input to the decoder, and quick."""
    made = np.random.default_rng(i).normal(size=(1500, twin.DIMS.n_audio_state))
    return Sound(features=made.astype(np.float32))


def features(i: int) -> torch.Tensor:
    made = a_sound(i).features
    assert made is not None
    return torch.from_numpy(made)[None]


def run(engine: Engine, windows: list[Window], lane: Lane = Lane.REQUEST) -> list[Answer]:
    """All windows at once, in the order of the answers' askers."""
    order = [engine.add(w, lane) for w in windows]
    found: dict[int, Answer] = {}
    for _ in range(10_000):
        for outcome in engine.step():
            assert outcome.error is None, outcome.error
            assert outcome.answer is not None
            found[order.index(outcome.sequence)] = outcome.answer
        if engine.idle:
            break
    engine.check()
    return [found[i] for i in range(len(windows))]


def an_ask(dice: random.Random, beams: int = 1) -> Decode:
    prompt = (*(dice.randrange(100) for _ in range(dice.randint(0, 12))), twin.SOT, 103)
    timestamps = dice.random() < 0.7
    rules = Rules(
        suppress=tuple(dice.sample(range(100), 10)),
        suppress_first=(5, V.eot),
        timestamps=timestamps,
        max_initial=dice.choice([None, 10]),
    )
    search = Search(
        beam_size=beams,
        patience=dice.choice([1.0, 1.4]) if beams > 1 else 1.0,
        length_penalty=dice.choice([None, 0.6]),
        max_tokens=dice.randint(3, 25),
    )
    return Decode(prompt, len(prompt) - 2, search, rules)


@pytest.mark.parametrize("seed", range(4))
def test_a_mixed_batch_gives_what_each_window_gives_alone(engine: Engine, model: Whisper, seed: int) -> None:
    """Greedy rows, beams, prompts of any length, different rules and limits: token for token as the slow twin."""
    dice = random.Random(seed)
    asks = [an_ask(dice, beams=dice.choice([1, 1, 2, 5])) for _ in range(10)]
    windows = [Window(f"k{i}", a_sound(i), ask, f"flow{i % 3}") for i, ask in enumerate(asks)]
    answers = run(engine, windows)
    for i, (ask, answer) in enumerate(zip(asks, answers, strict=True)):
        assert isinstance(answer, Decoded)
        tokens, avg_logprob = twin.decode(model, features(i), ask)
        assert list(answer.tokens) == tokens, f"window {i}: {ask.search}"
        assert answer.avg_logprob == pytest.approx(avg_logprob, abs=1e-4)


def test_the_probability_of_silence_is_read_at_the_start_token(engine: Engine, model: Whisper) -> None:
    ask = an_ask(random.Random(1))
    (answer,) = run(engine, [Window("k", a_sound(3), ask)])
    assert isinstance(answer, Decoded)
    logits = twin.next_logits(model, features(3), list(ask.prompt))[ask.i_sot]
    assert answer.no_speech_prob == pytest.approx(float(logits.softmax(-1)[V.no_speech]), abs=1e-5)


def test_sampling_does_not_depend_on_the_neighbours(engine: Engine) -> None:
    """A group draws from a generator of its own: its tokens are the same alone and in company."""
    hot = Decode((twin.SOT,), search=Search(temperature=0.8, best_of=3, seed=7, max_tokens=20), rules=Rules())
    (alone,) = run(engine, [Window("a", a_sound(0), hot)])
    company = [Window(f"c{i}", a_sound(i + 1), an_ask(random.Random(i))) for i in range(4)]
    among = run(engine, [company[0], Window("b", a_sound(0), hot), *company[1:]])[1]
    assert isinstance(alone, Decoded)
    assert isinstance(among, Decoded)
    assert alone.tokens == among.tokens
    assert alone.avg_logprob == pytest.approx(among.avg_logprob, abs=1e-5)


def test_sampling_with_another_seed_says_something_else(engine: Engine) -> None:
    asks = [Decode((twin.SOT,), search=Search(temperature=1.0, seed=s, max_tokens=20)) for s in range(3)]
    answers = run(engine, [Window(f"{i}", a_sound(0), a) for i, a in enumerate(asks)])
    assert len({a.tokens for a in answers if isinstance(a, Decoded)}) > 1


def test_the_most_probable_of_many_candidates_is_kept() -> None:
    """Three candidates of known probability: the mean decides, and what comes after the end does not count."""
    ask = Decode((1,), search=Search(temperature=1.0, best_of=3))
    sequence = Sequence(Window("k", Sound(), ask), rows=[0, 1, 2])
    sequence.start()
    sequence.tokens = [[4, 5, V.eot], [6, V.eot, V.eot], [7, 8, 9]]
    sequence.logprobs = [[-1.0, -1.0, -0.5], [-1.1, -0.1, -9.0], [-2.0, -2.0, -2.0]]
    sequence.sums = np.array([-2.5, -1.2, -6.0], np.float32)
    best = conclude(sequence, V.eot)
    assert best.tokens == (6,), "-1.2 / 1 is more than -2.5 / 2 and -6 / 3"
    assert best.logprobs == (-1.1,)
    assert best.avg_logprob == pytest.approx(-0.6)


@pytest.mark.parametrize(
    "bad",
    [
        Decode((999_999,)),
        Decode((-1,)),
        Decode((1,), rules=Rules(suppress=(999_999,))),
        Decode((1,), search=Search(no_repeat_ngram_size=449)),
        Detect((999_999,)),
        Align((1,), (-5,)),
        Align((1, 2, 3), (5,) * 444),
        Decode((1,), i_sot=1),
        Decode((1,), search=Search(temperature=1.0, seed=1 << 64)),
    ],
)
def test_what_would_fail_the_neighbours_is_refused_at_the_door(engine: Engine, bad: Decode | Detect | Align) -> None:
    with pytest.raises(OptionError, match="was given"):
        engine.admit(Window("k", a_sound(0), bad))


@pytest.mark.parametrize(
    "sound",
    [
        Sound(),
        Sound(mel=np.zeros((79, 3000), np.float32)),
        Sound(mel=np.zeros((80, 3001), np.float32)),
        Sound(features=np.zeros((1500, 31), np.float32)),
        Sound(samples=np.zeros(100, np.float32), n_frames=10),
        Sound(samples=np.zeros(160 * 3001 + 240, np.float32), n_frames=3001),
        Sound(mel=np.full((80, 3000), np.nan, np.float32)),
        Sound(features=np.full((1500, 32), np.inf, np.float32)),
    ],
)
def test_a_sound_that_would_fail_the_neighbours_is_refused_at_the_door(engine: Engine, sound: Sound) -> None:
    with pytest.raises(OptionError, match="expected"):
        engine.admit(Window("k", sound, Decode((1,))))


def test_warm_sound_gives_the_same_words_without_the_encoder(engine: Engine) -> None:
    ask = an_ask(random.Random(5))
    (first,) = run(engine, [Window("same", a_sound(4), ask)])
    # what stands in the second window's sound must not matter: the slot remembers the first
    (second,) = run(engine, [Window("same", a_sound(9), ask)])
    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    assert first.tokens == second.tokens


def test_languages_are_probabilities_over_the_asked_tokens(engine: Engine, model: Whisper) -> None:
    (answer,) = run(engine, [Window("k", a_sound(2), Detect((10, 20, 30)))])
    assert isinstance(answer, Detected)
    logits = twin.next_logits(model, features(2), [twin.SOT])[0]
    expected = logits[[10, 20, 30]].softmax(-1).tolist()
    assert answer.probs == pytest.approx(expected, abs=1e-5)


def test_alignment_walks_forward_through_the_sound(engine: Engine) -> None:
    text = tuple(range(20, 35))
    (answer,) = run(engine, [Window("k", a_sound(2), Align((twin.SOT, 103), text))])
    assert isinstance(answer, Aligned)
    assert len(answer.jumps) == len(text) + 1
    assert len(answer.probs) == len(text)
    assert list(answer.jumps) == sorted(answer.jumps)
    assert all(0 <= j < 1500 for j in answer.jumps)


def test_the_encoders_output_can_be_asked_for(engine: Engine, model: Whisper) -> None:
    mel = np.random.default_rng(0).normal(size=(80, 3000)).astype(np.float32)
    (answer,) = run(engine, [Window("k", Sound(mel=mel), Encode())])
    assert isinstance(answer, Encoded)
    expected = model.encoder(torch.from_numpy(mel)[None])[0].numpy()
    np.testing.assert_allclose(answer.features, expected, atol=1e-4)


def test_a_repeated_ngram_is_never_completed(engine: Engine) -> None:
    search = Search(no_repeat_ngram_size=2, max_tokens=60)
    (answer,) = run(
        engine, [Window("k", a_sound(1), Decode((twin.SOT,), search=search, rules=Rules(timestamps=False)))]
    )
    assert isinstance(answer, Decoded)
    pairs = list(zip(answer.tokens, answer.tokens[1:], strict=False))
    assert len(pairs) == len(set(pairs))


def test_a_penalty_divides_positive_scores_and_multiplies_negative_ones(engine: Engine, model: Whisper) -> None:
    """Beside a loop that recomputes every score; a neighbour without the penalty is not touched."""
    rules = Rules(timestamps=False, suppress=(V.eot,))
    plain, varied = (
        Decode((twin.SOT,), search=Search(repetition_penalty=p, max_tokens=30), rules=rules) for p in (1.0, 1.7)
    )
    a, b = run(engine, [Window("a", a_sound(1), plain), Window("b", a_sound(1), varied)])
    assert isinstance(a, Decoded)
    assert isinstance(b, Decoded)
    sampled: list[int] = []
    for _ in range(30):
        logits = twin.next_logits(model, features(1), [twin.SOT, *sampled])[-1].tolist()
        for token in set(sampled):
            logits[token] = logits[token] / 1.7 if logits[token] > 0 else logits[token] * 1.7
        logits[V.eot] = -math.inf
        sampled.append(max(range(len(logits)), key=lambda t: logits[t]))
    assert list(b.tokens) == sampled
    assert a.tokens != b.tokens
    assert list(a.tokens) == twin.decode(model, features(1), plain)[0]


def test_text_ends_where_the_context_ends(engine: Engine) -> None:
    prompt = (*([7] * 440), twin.SOT)
    rules = Rules(timestamps=False, suppress=(V.eot,))
    (answer,) = run(engine, [Window("k", a_sound(1), Decode(prompt, 440, Search(max_tokens=224), rules))])
    assert isinstance(answer, Decoded)
    assert len(prompt) + len(answer.tokens) == twin.DIMS.n_text_ctx + 1


def test_more_beams_than_rows_are_refused_at_the_door(engine: Engine) -> None:
    with pytest.raises(OptionError, match="9 was given, at most 8"):
        engine.admit(Window("k", a_sound(0), Decode((1,), search=Search(beam_size=9))))


def test_a_withdrawn_window_leaves_no_trace(engine: Engine) -> None:
    ask = an_ask(random.Random(2), beams=5)
    leaving = engine.add(Window("gone", a_sound(0), ask), Lane.REQUEST)
    engine.step()
    engine.withdraw(leaving)
    engine.check()
    assert engine.idle
    (answer,) = run(engine, [Window("next", a_sound(1), an_ask(random.Random(3)))])
    assert isinstance(answer, Decoded)


class FailingRunner(TorchRunner):
    """A device that dies when it is told to."""

    fails: str = ""
    guilty: Sequence | None = None  # dies whenever this one decodes

    def encode(self, sequences):  # type: ignore[no-untyped-def]
        if self.fails == "encode":
            raise RuntimeError("device lost")
        super().encode(sequences)

    def decode(self, sequences):  # type: ignore[no-untyped-def]
        if self.guilty in sequences or (self.fails == "decode" and len(sequences)):
            raise RuntimeError("device lost")
        return super().decode(sequences)

    def prefill(self, sequences):  # type: ignore[no-untyped-def]
        if self.fails == "prefill":
            raise RuntimeError("device lost")
        return super().prefill(sequences)


@pytest.fixture(params=AHEAD)
def failing(model: Whisper, request: pytest.FixtureRequest) -> Iterator[FailingRunner]:
    yield FailingRunner(model, V, n_rows=4, n_threads=1, parts=AHEAD[request.param])


@pytest.mark.parametrize("where", ["encode", "prefill", "decode"])
def test_when_the_device_fails_every_asker_is_told_and_the_next_is_served(failing: FailingRunner, where: str) -> None:
    loop = Loop(Engine(failing, twin.SOT))
    failing.fails = where
    futures = [loop.submit(Window(f"k{i}", a_sound(i), an_ask(random.Random(i)))) for i in range(6)]
    for future in futures:
        with pytest.raises(EngineError, match="device lost"):
            future.result(30)
    failing.fails = ""
    again = loop.submit(Window("k0", a_sound(0), an_ask(random.Random(0)))).result(30)
    assert isinstance(again, Decoded)
    assert not math.isnan(again.avg_logprob)
    loop.close()


def test_only_the_guilty_one_of_a_step_fails(failing: FailingRunner, model: Whisper) -> None:
    """A temperature of 1e-40 made infinities, and every window of that step died with it, also other people's."""
    engine = Engine(failing, twin.SOT)
    asks = [an_ask(random.Random(i)) for i in range(3)]
    sequences = [engine.add(Window(f"k{i}", a_sound(i), ask), Lane.REQUEST) for i, ask in enumerate(asks)]
    failing.guilty = sequences[1]
    outcomes = [o for _ in range(300) for o in engine.step()]
    assert {o.sequence for o in outcomes if o.error is not None} == {sequences[1]}
    answers = {o.sequence: o.answer for o in outcomes}
    for i in (0, 2):
        answer = answers[sequences[i]]
        assert isinstance(answer, Decoded)
        assert list(answer.tokens) == twin.decode(model, features(i), asks[i])[0]
    engine.check()


def test_a_newcomer_that_fails_does_not_touch_those_who_run(failing: FailingRunner, model: Whisper) -> None:
    engine = Engine(failing, twin.SOT)
    ask = an_ask(random.Random(11))
    running = engine.add(Window("old", a_sound(1), ask), Lane.REQUEST)
    engine.step()
    failing.fails = "prefill"
    engine.add(Window("new", a_sound(2), an_ask(random.Random(12))), Lane.REQUEST)
    (failed,) = engine.step()
    assert failed.error is not None
    failing.fails = ""
    answers = [o for _ in range(300) for o in engine.step()]
    assert [o.sequence for o in answers] == [running]
    assert isinstance(answers[0].answer, Decoded)
    assert list(answers[0].answer.tokens) == twin.decode(model, features(1), ask)[0]
    engine.check()


def test_masks_that_nobody_uses_are_forgotten(engine: Engine) -> None:
    for i in range(3 * MASKS_KEPT):
        ask = Decode((twin.SOT,), search=Search(max_tokens=1), rules=Rules(suppress=(i % 90, i // 90)))
        run(engine, [Window("same", a_sound(0), ask)])
    assert len(engine.runner.rules._masks) <= MASKS_KEPT + 2


def test_a_window_says_how_long_it_took_and_an_engine_what_it_has_to_do(model: Whisper) -> None:
    ticks = itertools.count()
    engine = Engine(TorchRunner(model, V, n_rows=2, n_threads=1), twin.SOT, clock=lambda: float(next(ticks)))
    first, second, third = (
        engine.add(Window(key, a_sound(0), an_ask(random.Random(0))), Lane.REQUEST) for key in ("a", "a", "b")
    )
    assert (engine.load().n_waiting, engine.load().n_rows) == (3, 2)
    engine.step()
    load = engine.load()
    assert (load.n_rows_used, load.n_running, load.n_waiting) == (2, 2, 1)
    assert 1 <= load.n_slots_used <= 2
    assert load.encode_s == 1.0, "one look at the clock before, one after"
    while not engine.idle:
        engine.step()
    assert first.timing.cold and not second.timing.cold, "the same sound is encoded once"
    assert third.timing.waited_s > first.timing.waited_s
    for sequence in (first, second, third):
        assert sequence.timing.decode_s > 0
        assert sequence.timing.n_tokens == sequence.n_sampled > 0
    assert (engine.load().n_running, engine.load().n_waiting, engine.load().n_rows_used) == (0, 0, 0)
