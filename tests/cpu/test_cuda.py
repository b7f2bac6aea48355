"""The network for CUDA beside PlainNetwork, on the CPU: static buffers, recorded steps, 8-bit sounds, rows ahead.

In float32, so that every token must be the same; what Triton computes is in test_triton.py.
"""

from __future__ import annotations

import logging
import random

import pytest
import torch

from sottovoce.engine import cuda
from sottovoce.engine.cuda import CudaNetwork
from sottovoce.engine.engine import Engine
from sottovoce.engine.fused import PLAIN
from sottovoce.engine.graphs import Graphs, bucket
from sottovoce.engine.indirect import GatherAttend
from sottovoce.engine.network import NOWHERE
from sottovoce.engine.plain import PlainNetwork
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.stream import PlainStream, Stream
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.model.whisper import Whisper
from sottovoce.types import Decode, Decoded, Lane, Rules, Search, Window
from tests.cpu import plain_engine as twin
from tests.cpu.networks import prompts_and_steps_agree
from tests.cpu.streams import CPU, FullStream, RecordingStream, WatchedStream
from tests.cpu.test_engine import V, a_sound, an_ask, features, run
from tests.cpu.test_native import DIMS, N_ROWS, N_SLOTS
from tests.cpu.test_native import model as model

Twins = tuple[CudaNetwork, PlainNetwork]
TOLERANCE = 2e-5  # of the largest value: the same sums in another order
IN_8_BITS = 0.02  # of the largest value: 7 bits of each key and value
STREAMS: dict[str, type[PlainStream]] = {"plain": PlainStream, "recorded": RecordingStream}


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> bool:
    assert ours.shape == theirs.shape
    return bool(((ours - theirs).abs().max() <= tolerance * theirs.abs().max()).item())


def a_pair(model: Whisper, stream: Stream, int8: bool = False) -> Twins:
    pair = CudaNetwork(model, N_SLOTS, N_ROWS, stream, GatherAttend(), int8), PlainNetwork(model, N_SLOTS, N_ROWS)
    sound = torch.randn(N_SLOTS, DIMS.n_audio_ctx, DIMS.n_audio_state, generator=torch.Generator().manual_seed(1))
    for network in pair:
        network.put_sound_(range(N_SLOTS), sound)
    return pair


@pytest.fixture(params=STREAMS)
def twins(model: Whisper, request: pytest.FixtureRequest) -> Twins:
    return a_pair(model.float(), STREAMS[request.param](CPU))


@pytest.mark.parametrize("n_windows", [1, 3, 11])
def test_the_encoder_hears_the_same(twins: Twins, n_windows: int) -> None:
    """Twice: the second time is a replay."""
    for _ in range(2):
        mel = torch.randn(n_windows, DIMS.n_mels, 2 * DIMS.n_audio_ctx)
        assert close(twins[0].features(mel), twins[1].features(mel))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 20])
def test_prompts_and_steps_of_any_number_of_rows(twins: Twins, n: int) -> None:
    sizes = {"n_slots": N_SLOTS, "n_vocab": DIMS.n_vocab}
    prompts_and_steps_agree(twins, close, n=n, longest=45, n_steps=4, **sizes)


def test_more_prompts_than_are_read_together(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "READ_TOGETHER", 3)
    texts = [[i, i + 1, *range(i % 4)] for i in range(8)]
    rows, slots, wanted = range(8), [i % N_SLOTS for i in range(8)], [(0, 1)] * 8
    ours, theirs = (network.read(texts, rows, slots, wanted) for network in twins)
    assert close(ours, theirs)


def test_rows_and_slots_in_any_order(twins: Twins) -> None:
    """The same size with other rows is the same recorded step."""
    network, plain = twins
    for rows, slots in (([4, 0, 2], [5, 1, 1]), ([3, 1, 7], [2, 0, 4])):
        for n in twins:
            n.read([[5, 6]] * 3, rows, slots, [(1,)] * 3)
        ours = network.step([1, 2, 3], rows, [2, 2, 2], [(slot, 1) for slot in slots])
        assert close(ours, plain.step([1, 2, 3], rows, [2, 2, 2], [(slot, 1) for slot in slots]))


def test_a_row_continues_another(twins: Twins) -> None:
    for network in twins:
        network.read([[1, 2, 3]], [0], [2], [(2,)])
        network.copy_rows_([3, 4], [0, 0], 3)
    ours, theirs = (network.step([9, 8], [3, 4], [3, 3], [(2, 2)]) for network in twins)
    assert close(ours, theirs)


def test_what_is_kept_nowhere_touches_no_row(twins: Twins) -> None:
    network, plain = twins
    network.read([[1, 2, 3]], [0], [2], [(2,)])
    before = [kept.keys.clone() for kept in network.own]
    ours, theirs = (n.read([(7,)] * 3, [NOWHERE] * 3, [0, 2, 5], [(0,)] * 3) for n in (network, plain))
    assert close(ours, theirs)
    rows = slice(network.spare_row)
    assert all(torch.equal(a[rows], kept.keys[rows]) for a, kept in zip(before, network.own, strict=True))


def test_scores_of_chosen_heads(twins: Twins) -> None:
    """Texts of any length, one after another, and other heads."""
    for heads, n, slot in (([(1, 0), (0, 1)], 80, 3), ([(1, 0), (0, 1)], 31, 1), ([(0, 0)], 70, 5), ([(0, 0)], 96, 0)):
        text = [(5 * i) % DIMS.n_vocab for i in range(n)]
        asked = text, slot, range(2, n - 1), heads, DIMS.n_vocab - 3
        (probs, ours), (their_probs, theirs) = (net.scores(*asked) for net in twins)
        assert close(probs, their_probs)
        assert close(ours, theirs)


def test_sounds_in_8_bits_are_heard_alike(model: Whisper) -> None:
    network, plain = a_pair(model.float(), PlainStream(CPU), int8=True)
    assert network.cross[0].keys.dtype == torch.int8
    texts = [[1, 2, 3], [4, 5]]
    ours, theirs = (n.read(texts, [0, 1], [5, 2], [(2,), (1,)]) for n in (network, plain))
    assert close(ours, theirs, IN_8_BITS)
    ours, theirs = (n.step([8, 9], [0, 1], [3, 2], [(5, 1), (2, 1)]) for n in (network, plain))
    assert close(ours, theirs, IN_8_BITS)


def test_a_recorded_step_is_replayed_and_not_recorded_again(model: Whisper) -> None:
    stream = RecordingStream()
    network, plain = a_pair(model.float(), stream)
    for n in (network, plain):
        n.read([[5, 6, 7, *range(6)]] * 3, [0, 1, 2], [0, 1, 2], [(2,)] * 3)
    for i in range(5):
        ours, theirs = (
            n.step([i, i + 1, i + 2], [0, 1, 2], [9 + i] * 3, [(0, 1), (1, 1), (2, 1)]) for n in (network, plain)
        )
        assert close(ours, theirs)
    assert (stream.n_recorded, stream.n_replayed) == (1, 5)


@pytest.mark.parametrize(("length", "recorded"), [(1, 1), (3, 4), (4, 4), (7, 8), (9, None)])
def test_short_prompts_are_recorded_too(model: Whisper, length: int, recorded: int | None) -> None:
    stream = RecordingStream()
    network, plain = a_pair(model.float(), stream)
    for i in range(3):
        texts = [[i + j for j in range(length)], [7 + i] * (1 + length // 2), [9]]
        rows, wanted = [i, 5, 2 + i], [(len(t) - 1,) for t in texts]
        ours, theirs = (n.read(texts, rows, [i, 5, 0], wanted) for n in (network, plain))
        assert close(ours, theirs)
        groups, positions = [(i, 1), (5, 1), (0, 1)], [len(t) for t in texts]
        ours, theirs = (n.step([1, 2, 3], rows, positions, groups) for n in (network, plain))
        assert close(ours, theirs)
    assert [n for name, _, n in network.graphs.keys if name == "read"] == ([] if recorded is None else [recorded])


# --- what cannot be recorded -----------------------------------------------------------------------------------------


def test_buckets_hold_what_they_are_for() -> None:
    assert [bucket(n) for n in (1, 2, 3, 5, 16, 17, 33, 128)] == [1, 2, 4, 8, 16, 32, 48, 128]


def test_what_cannot_be_recorded_runs_as_it_is_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    graphs = Graphs(FullStream(error=RuntimeError("operation not permitted when stream is capturing")))
    done: list[str] = []
    with caplog.at_level(logging.WARNING):
        for name in ("step", "step", "encoder"):
            graphs.run((name, 4, 0), lambda name=name: done.append(name))  # type: ignore[misc]
    assert done == ["step", "step", "encoder"]
    assert len(caplog.records) == 1
    assert "not permitted" in caplog.text


def test_without_memory_for_a_graph_all_are_dropped_and_the_work_is_still_done() -> None:
    stream = FullStream(most=2)
    graphs = Graphs(stream)
    done: list[int] = []
    for n in (1, 2):
        graphs.run(("step", n, 0), lambda n=n: done.append(n))  # type: ignore[misc]
    graphs.run(("step", 4, 0), lambda: done.append(4))
    assert done[-1] == 4
    assert graphs.keys == []
    assert stream.n_forgotten == 1


def test_no_window_is_lost_where_no_graph_fits() -> None:
    """Sizes that do not fit run as they are."""
    model = twin.a_model()
    dice = random.Random(1)
    windows = [Window(f"k{i}", a_sound(i), an_ask(dice), f"flow{i % 3}") for i in range(12)]
    expected = run(Engine(TorchRunner(model, V, n_rows=8, n_threads=1), twin.SOT), windows)
    for most in (0, 1, 3):
        runner = TorchRunner(model, V, n_rows=8, n_threads=1, parts=(FullStream(most=most), PLAIN))
        found = run(Engine(runner, twin.SOT), windows)
        assert [a.tokens for a in found if isinstance(a, Decoded)] == [
            a.tokens for a in expected if isinstance(a, Decoded)
        ]


class FirstFailsRunner(TorchRunner):
    """A step that finds no memory, once."""

    failed = False

    def decode(self, sequences):  # type: ignore[no-untyped-def]
        if not self.failed and self.network.graphs.keys:
            self.failed = True
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().decode(sequences)


def test_a_window_alone_begins_again_in_the_room_that_graphs_took() -> None:
    stream = RecordingStream()
    runner = FirstFailsRunner(twin.a_model(), V, n_rows=8, n_threads=1, parts=(stream, PLAIN))
    (window,) = greedy_windows(1)
    (answer,) = run(Engine(runner, twin.SOT), [window])
    assert isinstance(answer, Decoded)
    assert isinstance(window.ask, Decode)
    assert list(answer.tokens) == twin.decode(runner.model, features(0), window.ask)[0]
    assert stream.n_forgotten == 1


# --- one step ahead of the host --------------------------------------------------------------------------------------


def ahead(stream: Stream) -> Engine:
    return Engine(
        TorchRunner(twin.a_model(), V, n_rows=8, n_threads=1, parts=(stream, PLAIN)), twin.SOT, encode_windows=3
    )


def greedy_windows(n: int) -> list[Window]:
    dice = random.Random(n)
    return [Window(f"k{i}", a_sound(i), an_ask(dice), f"flow{i % 3}") for i in range(n)]


def test_memory_that_ran_out_while_recording_is_recognised_behind_the_error_of_the_recording() -> None:
    """torch ends a recording when it is left, and what that raises hides why it was left."""
    hidden = RuntimeError("capture was invalidated")
    hidden.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    stream = FullStream(most=1, error=hidden)
    graphs = Graphs(stream)
    graphs.run(("step", 1, 0), lambda: None)
    graphs.run(("step", 2, 0), lambda: None)
    assert stream.n_forgotten == 1


@pytest.mark.parametrize("stream", STREAMS)
def test_the_tokens_and_their_probabilities_are_those_of_the_plain_network(stream: str) -> None:
    """30 windows through 8 rows: rows are used again while what was chosen for them is still on its way."""
    windows = greedy_windows(30)
    expected = run(Engine(TorchRunner(twin.a_model(), V, n_rows=8, n_threads=1), twin.SOT, encode_windows=3), windows)
    for ours, theirs in zip(run(ahead(STREAMS[stream](CPU)), windows), expected, strict=True):
        assert isinstance(ours, Decoded)
        assert isinstance(theirs, Decoded)
        assert ours.tokens == theirs.tokens
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-5)


def test_greedy_rows_never_wait_for_the_device() -> None:
    stream = WatchedStream()
    windows = greedy_windows(12)
    answers = run(ahead(stream), windows)
    assert stream.n_read > max(len(a.tokens) for a in answers if isinstance(a, Decoded))
    assert stream.n_waits == 0


def test_the_step_too_many_changes_nothing() -> None:
    """After its end a row's token, place and memory stay as they were, however often it is run."""
    engine = ahead(PlainStream(CPU))
    late = engine.runner.late
    assert late is not None
    ask = Decode((twin.SOT,), search=Search(max_tokens=4), rules=Rules(suppress=(V.eot,)))
    sequence = engine.add(Window("k", a_sound(0), ask), Lane.REQUEST)
    for _ in range(4):
        engine.step()
    (row,) = sequence.rows
    state = (*(late.rows.tokens, late.rows.positions, late.rows.ended), engine.runner.rules.history)
    before = [t[row].clone() for t in state]
    assert late.rows.ended[row]
    (outcome,) = engine.step()
    assert outcome.answer is not None
    assert all(torch.equal(a, t[row]) for a, t in zip(before, state, strict=True))


def test_whoever_leaves_takes_what_is_on_its_way_along() -> None:
    """Its row goes to the next window at once, whose tokens must be its own."""
    engine = ahead(PlainStream(CPU))
    first, second = greedy_windows(2)
    leaving = engine.add(first, Lane.REQUEST)
    engine.step()
    engine.step()
    row = leaving.rows
    engine.withdraw(leaving)
    coming = engine.add(second, Lane.REQUEST)
    answers = []
    while not engine.idle:
        answers += engine.step()
        assert coming.rows == row
    (outcome,) = answers
    assert isinstance(outcome.answer, Decoded)
    assert isinstance(second.ask, Decode)
    assert list(outcome.answer.tokens) == twin.decode(engine.runner.model, features(1), second.ask)[0]
    engine.check()


class ShakyRunner(TorchRunner):
    """Runs out of memory now and then, before a stage or behind it."""

    dice = random.Random(0)

    def _shake(self, run):  # type: ignore[no-untyped-def]
        when = self.dice.random()
        if when < 0.03:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        found = run()
        if when > 0.97:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return found

    def prefill(self, sequences):  # type: ignore[no-untyped-def]
        prefill = super().prefill
        return self._shake(lambda: prefill(sequences)) if len(sequences) > 1 else prefill(sequences)

    def sample(self, sequences, logits):  # type: ignore[no-untyped-def]
        sample = super().sample
        return self._shake(lambda: sample(sequences, logits)) if len(sequences) > 1 else sample(sequences, logits)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_comes_and_goes_and_fails_the_others_say_what_they_would_say_alone(seed: int) -> None:
    """Windows come and leave at random steps, beams among them, and memory runs out again and again."""
    dice = random.Random(seed)
    model = twin.a_model()
    runner = ShakyRunner(model, V, n_rows=8, n_threads=1, parts=(RecordingStream(), PLAIN))
    runner.dice = random.Random(seed + 100)
    engine = Engine(runner, twin.SOT, encode_windows=3)
    asks = [an_ask(dice, dice.choice([1, 1, 1, 3])) for _ in range(24)]
    coming = [Window(f"k{i}", a_sound(i), ask, f"f{i % 3}") for i, ask in enumerate(asks)]
    there: dict[Sequence, Window] = {}
    answers: dict[str, Decoded] = {}
    while coming or not engine.idle:
        for _ in range(min(len(coming), dice.randint(0, 4))):
            window = coming.pop()
            there[engine.add(window, dice.choice(list(Lane)))] = window
        if there and dice.random() < 0.1:
            leaving = dice.choice(list(there))
            del there[leaving]
            engine.withdraw(leaving)
        for outcome in engine.step():
            assert isinstance(outcome.answer, Decoded), outcome.error
            answers[there.pop(outcome.sequence).key] = outcome.answer
        engine.check()
    assert len(answers) > 12
    for i in range(24):
        if f"k{i}" in answers:
            (alone,) = run(Engine(TorchRunner(model, V, 8, 1), twin.SOT), [Window("k", a_sound(i), asks[i])])
            assert isinstance(alone, Decoded)
            assert answers[f"k{i}"].tokens == alone.tokens
            assert answers[f"k{i}"].no_speech_prob == pytest.approx(alone.no_speech_prob, abs=1e-5)
