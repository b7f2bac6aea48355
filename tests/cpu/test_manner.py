"""Where openai-whisper and faster-whisper differ, and one is asked for: the prefix, the last resort, the beams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sottovoce.engine.engine import Engine
from sottovoce.engine.sampler import Proposal, advance, conclude
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.flow import longform
from sottovoce.options import Options
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Answer, Decode, Decoded, Manner, Rules, Search, Sound, Window
from tests.cpu import plain_engine as twin
from tests.cpu.test_engine import a_sound, features, run
from tests.null.flows import play

V = twin.VOCABULARY
TOKENIZER = Tokenizer(51865, "en", "transcribe")
CHECKPOINT = longform.Checkpoint(80, 51865)


# --- the rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [(), (110, 7), (110, 7, 120), (110, 7, 120, 120), (5, 6)], ids=str)
def test_the_grammar_goes_on_from_what_counts_as_sampled(begun: tuple[int, ...]) -> None:
    """Beside the plain rules on the same ids: pairs of timestamps, their order and the blank know the prefix."""
    model = twin.a_model()
    engine = Engine(TorchRunner(model, V, n_rows=2, n_threads=1), twin.SOT)
    rules = Rules(suppress=(3, 4), suppress_first=(5, V.eot), max_initial=20, begun=begun)
    prompt = (twin.SOT, 103)
    ask = Decode((*prompt, *begun), 0, Search(max_tokens=12), rules)
    (answer,) = run(engine, [Window("a", a_sound(1), ask)])
    assert isinstance(answer, Decoded)
    sampled = list(begun)
    for _ in range(12):
        logits = twin.next_logits(model, features(1), [*prompt, *sampled])[-1]
        token = int(twin.filtered(logits, sampled, rules, V).argmax())
        if token == V.eot:
            break
        sampled.append(token)
    assert begun + answer.tokens == tuple(sampled)


# --- the beams ------------------------------------------------------------------------------------------------------


def a_step(search: Search) -> tuple[Sequence, bool]:
    """Two beams whose joint order is: a word, a word, the end, a word."""
    sequence = Sequence(Window("a", Sound(), Decode((1,), 0, search)), rows=[0, 1])
    sequence.start()
    sequence.tokens, sequence.logprobs = [[7], [8]], [[-1.0], [-1.0]]
    tokens = np.array([[20, V.eot, 21], [22, 23, 24]])
    logprobs = np.log(np.array([[0.5, 0.3, 0.1], [0.4, 0.2, 0.1]], np.float32))
    return sequence, advance(sequence, Proposal(tokens, logprobs), V.eot).done


def test_an_end_outside_the_beam_counts_for_neither_but_inside_for_both() -> None:
    for ends_in_beam in (False, True):
        sequence, _ = a_step(Search(beam_size=2, ends_in_beam=ends_in_beam))
        assert not sequence.finished  # two words are better, and fill the beam


def test_an_end_behind_another_end_counts_only_where_it_need_not_be_in_the_beam() -> None:
    found = {}
    for ends_in_beam in (False, True):
        search = Search(beam_size=2, ends_in_beam=ends_in_beam)
        sequence = Sequence(Window("a", Sound(), Decode((1,), 0, search)), rows=[0, 1])
        sequence.start()
        sequence.tokens, sequence.logprobs = [[7], [8]], [[-1.0], [-1.0]]
        tokens = np.array([[V.eot, 20, 21], [V.eot, 23, 24]])  # order: end, word, end, word
        logprobs = np.log(np.array([[0.5, 0.4, 0.1], [0.3, 0.2, 0.1]], np.float32))
        advance(sequence, Proposal(tokens, logprobs), V.eot)
        found[ends_in_beam] = set(sequence.finished)
        assert sequence.tokens == [[7, 20], [8, 23]]
    assert found == {False: {(7, V.eot), (8, V.eot)}, True: {(7, V.eot)}}


@pytest.mark.parametrize(("exponent", "best"), [(0.0, (9,)), (1.0, (9, 9, 9)), (2.0, (9, 9, 9))])
def test_a_score_is_divided_by_a_power_of_its_length(exponent: float, best: tuple[int, ...]) -> None:
    search = Search(beam_size=2, length_exponent=exponent)
    sequence = Sequence(Window("a", Sound(), Decode((1,), 0, search)), rows=[0, 1])
    sequence.start()
    sequence.finished = {(9, V.eot): (-1.0, 0.0, (-1.0, 0.0)), (9, 9, 9, V.eot): (-2.0, 0.0, (-1.0, -0.5, -0.5, 0.0))}
    assert conclude(sequence, V.eot).tokens == best


# --- the flow -------------------------------------------------------------------------------------------------------


def saying(text: str, *, avg_logprob: float = -0.2, seconds: float = 30.0) -> Decoded:
    end = TOKENIZER.timestamp_begin + round(seconds / 0.02)
    return Decoded((TOKENIZER.timestamp_begin, *TOKENIZER.encode(text), end, end), avg_logprob, 0.0)


def ask_of(window: Window) -> Decode:
    assert isinstance(window.ask, Decode)
    return window.ask


def played(options: Options, answer: Callable[[Window], Answer], duration_s: int = 45) -> list[Window]:
    samples = np.zeros(duration_s * 16_000, np.float32)
    return play(longform.transcribe(samples, options, CHECKPOINT, "f"), answer).windows


def test_fasters_prefix_begins_the_first_window_and_belongs_to_the_text() -> None:
    prefix = tuple(TOKENIZER.encode(" Dear all"))

    def answer(window: Window) -> Answer:
        begun = ask_of(window).rules.begun
        said = saying(" we begin").tokens
        return Decoded(said[1:] if begun else said, -0.2, 0.0)

    options = Options(language="en", prefix="Dear all", manner=Manner.FASTER, condition_on_previous_text=False)
    result = play(longform.transcribe(np.zeros(45 * 16_000, np.float32), options, CHECKPOINT, "f"), answer)
    first, second = (ask_of(w) for w in result.windows)
    begun = (TOKENIZER.timestamp_begin, *prefix)
    assert first.rules.begun == begun and first.prompt[-len(begun) :] == begun
    assert second.rules.begun == () and not set(prefix) & set(second.prompt)
    assert result.transcript.segments[0].text == " Dear all we begin"
    assert result.transcript.segments[1].text == " we begin"


def test_openais_prefix_stands_before_every_window_and_not_in_the_text() -> None:
    prefix = tuple(TOKENIZER.encode(" Dear all"))
    options = Options(language="en", prefix="Dear all", condition_on_previous_text=False)
    windows = played(options, lambda _: saying(" we begin"))
    assert len(windows) == 2
    for window in windows:
        assert ask_of(window).prompt[-len(prefix) :] == prefix and ask_of(window).rules.begun == ()


@pytest.mark.parametrize(("manner", "kept"), [(Manner.OPENAI, " at last"), (Manner.FASTER, " better")])
def test_when_every_temperature_fails(manner: Manner, kept: str) -> None:
    """openai keeps the last; faster the most probable of those that are not repetitive, at the last temperature."""
    said = {
        0.0: saying(" la la la la la la la la la la la la la la la la la la la la la la", avg_logprob=-1.1),
        0.5: saying(" better", avg_logprob=-1.5),
        1.0: saying(" at last", avg_logprob=-1.9),
    }
    options = Options(language="en", temperature=(0.0, 0.5, 1.0), manner=manner)
    samples = np.zeros(20 * 16_000, np.float32)
    result = play(longform.transcribe(samples, options, CHECKPOINT, "f"), lambda w: said[ask_of(w).search.temperature])
    (segment,) = result.transcript.segments
    assert segment.text == kept
    assert len(result.windows) == 3


def test_only_fasters_beams_and_lengths_are_ctranslate2s() -> None:
    for manner in Manner:
        options = Options(language="en", length_penalty=0.6, beam_size=2, manner=manner)
        search = ask_of(played(options, lambda _: saying(" yes"), 10)[0]).search
        is_faster = manner is Manner.FASTER
        assert search.ends_in_beam is is_faster
        assert (search.length_penalty, search.length_exponent) == ((None, 0.6) if is_faster else (0.6, None))
