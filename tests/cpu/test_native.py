"""Compiled kernels beside their plain twin: the same network in float32, with weights that bfloat16 can hold.

Tolerances: products take bfloat16 inputs (8 bits), so activations differ by up to 2 ** -8 of their size a layer.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sottovoce.engine import kernels, native
from sottovoce.engine.network import NOWHERE
from sottovoce.engine.plain import PlainNetwork, probabilities
from sottovoce.model.dims import Dims
from sottovoce.model.modules import numbers_of
from sottovoce.model.stored import Numbers
from sottovoce.model.whisper import Whisper
from tests.cpu.networks import a_network, prompts_and_steps_agree

DIMS = Dims(
    n_mels=80, n_audio_ctx=150, n_audio_state=128, n_audio_head=2, n_audio_layer=2,
    n_vocab=1003, n_text_ctx=96, n_text_state=128, n_text_head=2, n_text_layer=2,
)  # fmt: skip
N_SLOTS, N_ROWS = 6, 20
TOLERANCE = 0.03  # of the largest value
TOLERANCE_7_BITS = 0.05  # without VNNI lines that are multiplied in 8 bits have 7

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: nothing to compare")


@pytest.fixture(scope="module")
def model() -> Whisper:
    return a_network(DIMS, 0.08)


@pytest.fixture(params=[(16, 16), (8, 16), (8, 8)], ids=["bfloat16", "kv in 8 bits", "all in 8 bits"])
def twins(model: Whisper, request: pytest.FixtureRequest) -> tuple[native.NativeNetwork, PlainNetwork]:
    plain = Whisper(DIMS).eval().requires_grad_(False)
    plain.load_state_dict({name: t.float() for name, t in model.state_dict().items()})
    pair = (
        native.NativeNetwork(DIMS, numbers_of(model), N_SLOTS, N_ROWS, 2, *request.param),
        PlainNetwork(plain, N_SLOTS, N_ROWS),
    )
    torch.manual_seed(1)
    features = torch.randn(N_SLOTS, DIMS.n_audio_ctx, DIMS.n_audio_state).to(torch.bfloat16)
    pair[0].put_sound_(range(N_SLOTS), features.view(torch.uint16).numpy())
    pair[1].put_sound_(range(N_SLOTS), features.float())
    return pair


def close(ours: np.ndarray, theirs: torch.Tensor) -> bool:
    assert ours.shape == theirs.shape
    most = TOLERANCE_7_BITS if kernels.name() in ("avx512", "avx2") else TOLERANCE
    return bool(np.abs(ours - theirs.numpy()).max() <= most * theirs.abs().max().item())


@pytest.mark.parametrize("n_windows", [1, 3])
def test_the_encoder_hears_the_same(twins: tuple[native.NativeNetwork, PlainNetwork], n_windows: int) -> None:
    mel = torch.randn(n_windows, DIMS.n_mels, 2 * DIMS.n_audio_ctx)
    assert close(kernels.from_bfloat16(twins[0].features(mel.numpy())), twins[1].features(mel))


def test_what_memory_held_before_does_not_matter(twins: tuple[native.NativeNetwork, PlainNetwork]) -> None:
    """A compiler moved stores behind the instruction that reads them, and NaN of an earlier call came through."""
    network = twins[0]
    mel = torch.randn(1, DIMS.n_mels, 2 * DIMS.n_audio_ctx).numpy()
    found = []
    for byte in (0, 0x7F, 0xFF):
        network.encoder.features(mel)
        for scratch in (network.encoder._scratch, network.decoder._scratch):
            scratch.fill(byte)
        logits = network.read([[5, 6, 7]] * 5, range(5), [0, 0, 1, 2, 3], [(1, 2)] * 5)
        found.append((network.features(mel), logits, *network.scores([5, 6, 7], 1, (0, 1), [(1, 0)], 700)))
    for later in found[1:]:
        assert all(np.array_equal(ours, first) for ours, first in zip(later, found[0], strict=True))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 20])
def test_prompts_and_steps_of_any_number_of_rows(twins: tuple[native.NativeNetwork, PlainNetwork], n: int) -> None:
    sizes = {"n_slots": N_SLOTS, "n_vocab": DIMS.n_vocab}
    prompts_and_steps_agree(twins, close, n=n, longest=11, n_steps=3, **sizes)


def test_a_prompt_longer_than_a_pass(twins: tuple[native.NativeNetwork, PlainNetwork]) -> None:
    texts = [[(3 * i) % DIMS.n_vocab for i in range(90)], [5, 6], list(range(70))]
    ours, theirs = (network.read(texts, [0, 1, 2], [1, 1, 4], [(89,), (0, 1), (3, 69)]) for network in twins)
    assert close(ours, theirs)


def test_a_row_continues_another(twins: tuple[native.NativeNetwork, PlainNetwork]) -> None:
    for network in twins:
        network.read([[1, 2, 3]], [0], [2], [(2,)])
        network.copy_rows_([3, 4], [0, 0], 3)
    ours, theirs = (network.step([9, 8], [3, 4], [3, 3], [(2, 2)]) for network in twins)
    assert close(ours, theirs)


def test_what_is_kept_nowhere_touches_no_row(twins: tuple[native.NativeNetwork, PlainNetwork]) -> None:
    network, twin = twins
    network.read([[1, 2, 3]], [0], [2], [(2,)])
    before = [k.copy() for k in network.decoder.self_k]
    ours, theirs = (n.read([(7,)] * 3, [NOWHERE] * 3, [0, 2, 5], [(0,)] * 3) for n in (network, twin))
    assert close(ours, theirs)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.decoder.self_k, strict=True))


@pytest.mark.parametrize("n_ids", [398, 700, 1003])
@pytest.mark.parametrize("n", [3, 64, 80])
def test_scores_of_chosen_heads(twins: tuple[native.NativeNetwork, PlainNetwork], n: int, n_ids: int) -> None:
    """And how probable tokens are, of a text of one pass and of several: from logits that are never written."""
    twins[0].decoder._most_lines = 64
    heads, text = [(1, 0), (0, 1)], [(5 * i) % 398 for i in range(n)]
    (probs, ours), (known, theirs) = (net.scores(text, 3, range(1, n - 1), heads, n_ids) for net in twins)
    logits = twins[0].read([text], [0], [3], [range(1, n - 1)])
    exact = probabilities(torch.from_numpy(logits), torch.tensor(text[2:]), n_ids)
    np.testing.assert_allclose(probs, exact.numpy(), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(probs, known.numpy(), rtol=0.3, atol=0.001)
    assert close(ours, theirs)


def test_a_token_beyond_those_asked_about_is_impossible(twins: tuple[native.NativeNetwork, PlainNetwork]) -> None:
    probs, _ = twins[0].scores([1, 2, 500, 3], 0, range(3), [(0, 0)], 500)
    assert probs[1] == 0 < probs[0] < probs.sum() < 3


def test_a_rows_answer_does_not_depend_on_its_neighbours(twins: tuple[native.NativeNetwork, PlainNetwork]) -> None:
    network = twins[0]
    texts = [[11, 12, 13], [40, 41], [7]]
    network.read(texts, [0, 1, 2], [0, 3, 5], [(0,)] * 3)
    together = network.step([1, 2, 3], [0, 1, 2], [3, 2, 1], [(0, 1), (3, 1), (5, 1)])
    alone = [
        network.step([token], [row], [place], [(slot, 1)])
        for token, row, place, slot in ((1, 0, 3, 0), (2, 1, 2, 3), (3, 2, 1, 5))
    ]
    assert np.array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("name", ["avx512_bf16", "avx512", "avx2"])
def test_every_instruction_set_gives_the_same(name: str) -> None:
    """The libraries for lesser CPUs run on this one."""
    if name not in kernels.instruction_sets():
        pytest.skip("this CPU has not got it")
    env = os.environ | {"SOTTOVOCE_KERNELS": name, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "not instruction"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ran.returncode == 0 and "skipped" not in ran.stdout, ran.stdout[-3000:]


def test_rows_continue_one_another_step_after_step(
    twins: tuple[native.NativeNetwork, PlainNetwork],
) -> None:
    """As beams do: every step each row goes on with what some row held, and then the rows serve another text."""
    draw = np.random.default_rng(0)
    rows = [7, 2, 9, 4, 3]
    for n_prompt in (6, 2):
        prompt = draw.integers(0, DIMS.n_vocab, n_prompt).tolist()
        for network in twins:
            network.read([prompt], [rows[0]], [1], [(n_prompt - 1,)])
            network.copy_rows_(rows[1:], [rows[0]] * 4, n_prompt)
        for step in range(12):
            tokens = draw.integers(0, DIMS.n_vocab, len(rows)).tolist()
            ours, theirs = (n.step(tokens, rows, [n_prompt + step] * 5, [(1, 5)]) for n in twins)
            assert close(ours, theirs)
            sources = draw.choice(rows, len(rows)).tolist()
            for network in twins:
                network.copy_rows_(rows, sources, n_prompt + step + 1)


def test_what_is_read_of_a_file_is_copied(model: Whisper) -> None:
    """Norms and positions stayed views of the mapped file: its replacement changed them, its end ended the process."""
    state = {name: tensor.float().numpy().copy() for name, tensor in model.state_dict().items()}
    network = native.NativeNetwork(DIMS, lambda name: Numbers(state[name]), N_SLOTS, N_ROWS, 2)
    mel = np.random.default_rng(0).normal(size=(1, DIMS.n_mels, 2 * DIMS.n_audio_ctx)).astype(np.float32)
    found = []
    for _ in range(2):
        features = network.features(mel)
        network.put_sound_([0], features)
        found.append((features, network.read([[1, 2, 3]], [0], [0], [(2,)])))
        for array in state.values():
            array.fill(7)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
