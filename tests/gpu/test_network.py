"""Large models' dimensions with few layers and random weights: on the device beside float32 on the CPU.

Tolerances: of the largest value, by layer of rounding: float32 sums in another order, 11 bits (float16), 8 (bfloat16).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from sottovoce.engine.cuda import CudaNetwork
from sottovoce.engine.fused import Fused
from sottovoce.engine.network import NOWHERE
from sottovoce.engine.plain import PlainNetwork
from sottovoce.engine.stream import Stream
from sottovoce.model import catalogue
from sottovoce.model.whisper import Whisper
from tests.plain_cache import random_model

N_SLOTS, N_ROWS = 5, 20
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.04}
Parts = tuple[Stream, Fused]


@pytest.fixture(scope="module", params=["large-v3", "large-v3-turbo"])
def model(request: pytest.FixtureRequest) -> Whisper:
    card = catalogue.find(request.param)
    assert card is not None
    return random_model(replace(card.dims, n_audio_layer=1, n_text_layer=2))


@pytest.fixture(scope="module")
def sound(model: Whisper) -> torch.Tensor:
    d = model.dims
    return torch.randn(N_SLOTS, d.n_audio_ctx, d.n_audio_state, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plain(model: Whisper, sound: torch.Tensor) -> PlainNetwork:
    network = PlainNetwork(model, N_SLOTS, N_ROWS)
    network.put_sound_(range(N_SLOTS), sound)
    return network


@pytest.fixture(params=TOLERANCE, ids=str)
def network(model: Whisper, sound: torch.Tensor, parts: Parts, request: pytest.FixtureRequest) -> CudaNetwork:
    return a_network(model, sound, parts, request.param)


def a_network(model: Whisper, sound: torch.Tensor, parts: Parts, dtype: torch.dtype, int8: bool = False) -> CudaNetwork:
    stream, fused = parts
    there = copy.deepcopy(model).to(stream.device, dtype)
    network = CudaNetwork(there, N_SLOTS, N_ROWS, stream, fused.attend, int8)
    network.put_sound_(range(N_SLOTS), sound.to(stream.device, dtype))
    return network


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    assert ours.shape == theirs.shape
    return bool(((ours.cpu().float() - theirs).abs().max() <= tolerance * theirs.abs().max()).item())


def steps(network: CudaNetwork | PlainNetwork, n: int) -> list[torch.Tensor]:
    """Prompts of several lengths, then three steps; rows backwards, several at a slot."""
    texts = [[(7 * i + j) % 50000 for j in range(2 + 3 * i % 40)] for i in range(n)]
    rows, slots = list(range(n))[::-1], sorted(i % N_SLOTS for i in range(n))
    found = [network.read(texts, rows, slots, [(0, len(t) - 1) for t in texts]).clone()]
    groups = [(slot, slots.count(slot)) for slot in sorted(set(slots))]
    for i in range(3):
        positions = [len(t) + i for t in texts]
        found.append(network.step([11 * row + i for row in rows], rows, positions, groups).clone())
    return found


@pytest.mark.parametrize("n", [1, 3, 20])
def test_prompts_and_steps(network: CudaNetwork, plain: PlainNetwork, n: int) -> None:
    with torch.inference_mode():
        for ours, theirs in zip(steps(network, n), steps(plain, n), strict=True):
            assert close(ours, theirs, TOLERANCE[network.dtype])


@pytest.mark.parametrize("n_windows", [1, 3])
def test_the_encoder(network: CudaNetwork, plain: PlainNetwork, n_windows: int) -> None:
    with torch.inference_mode():
        for seed in range(2):
            d, draw = network.model.dims, torch.Generator().manual_seed(seed)
            mel = torch.randn(n_windows, d.n_mels, 2 * d.n_audio_ctx, generator=draw)
            ours = network.features(mel.to(network.device))
            assert close(ours, plain.features(mel), TOLERANCE[network.dtype])


def test_sounds_in_8_bits(model: Whisper, sound: torch.Tensor, parts: Parts, plain: PlainNetwork) -> None:
    network = a_network(model, sound, parts, torch.float32, int8=True)
    with torch.inference_mode():
        for ours, theirs in zip(steps(network, 3), steps(plain, 3), strict=True):
            assert close(ours, theirs, 0.03)


def test_with_and_without_graphs_every_bit_is_the_same(network: CudaNetwork) -> None:
    with torch.inference_mode():
        recorded = steps(network, 7)
        assert any(name == "step" for name, *_ in network.graphs.keys)
        network.graphs.enabled = False
        network.graphs.forget()
        for with_graphs, without in zip(recorded, steps(network, 7), strict=True):
            assert torch.equal(with_graphs, without)


def test_scores_of_heads_and_texts_that_are_kept_nowhere(network: CudaNetwork, plain: PlainNetwork) -> None:
    heads, text = [(1, 0), (0, 3)], [(5 * i) % 50000 for i in range(40)]
    with torch.inference_mode():
        for ours, theirs in zip(
            *(n.scores(text, 3, range(2, 39), heads, 50257) for n in (network, plain)), strict=True
        ):
            assert close(ours, theirs, TOLERANCE[network.dtype])
        asked = [(7,)] * 3, [NOWHERE] * 3, [0, 2, 4], [(0,)] * 3
        assert close(network.read(*asked), plain.read(*asked), TOLERANCE[network.dtype])
