"""Promises of bench/costs.py: counts agree with a network's own parameters, and with hand-made sums."""

from __future__ import annotations

import pytest
from bench import costs

from sottovoce.model import catalogue
from sottovoce.model.dims import Dims

SMALL = Dims(
    n_mels=2, n_audio_ctx=3, n_audio_state=4, n_audio_head=1, n_audio_layer=1,
    n_vocab=10, n_text_ctx=8, n_text_state=4, n_text_head=1, n_text_layer=1,
)  # fmt: skip


def by_name(parts: list[costs.Part]) -> dict[str, costs.Part]:
    return {p.name: p for p in parts}


def test_the_encoder_by_hand() -> None:
    found = by_name(costs.encoder(SMALL, 1, 2))
    assert found["convolutions"].operations == 2 * (6 * 3 * 2 * 4 + 3 * 3 * 4 * 4)
    assert found["encoder matrices"].operations == 2 * 3 * 12 * 16
    assert found["encoder attention"].operations == 2 * 2 * 3 * 3 * 4


def test_a_decoding_step_by_hand() -> None:
    found = by_name(costs.decode(SMALL, n_rows=3, n_bytes_each=2, position=5))
    assert found["decoder weights"] == costs.Part("decoder weights", 2 * 3 * 14 * 16, 14 * 16 * 2)
    assert found["cross attention"] == costs.Part("cross attention", 3 * 4 * 3 * 4, 3 * 2 * 3 * 4 * 2)
    assert found["self attention"].operations == 3 * 4 * 6 * 4  # positions 0 to 5
    assert found["logits"] == costs.Part("logits", 2 * 3 * 10 * 4, 10 * 4 * 2 + 3 * 10 * 4)


def test_beams_of_one_sound_read_it_once() -> None:
    alone = by_name(costs.decode(SMALL, 5, 2, 0, n_slots=1))["cross attention"]
    apart = by_name(costs.decode(SMALL, 5, 2, 0))["cross attention"]
    assert (alone.operations, 5 * alone.n_bytes) == (apart.operations, apart.n_bytes)


@pytest.mark.parametrize("name", ["tiny", "base", "large-v3", "large-v3-turbo"])
def test_weights_add_up_to_the_network(name: str) -> None:
    """Bytes of weights with one byte each, against the parameters of the dimensions; what is left are biases, norms
    and text positions, below 2 %."""
    card = catalogue.find(name)
    assert card is not None
    d = card.dims
    sound = 2 * d.n_audio_ctx * d.n_mels * costs.FLOAT_BYTES
    features = d.n_audio_ctx * d.n_audio_state
    encoder = by_name(costs.encoder(d, 1, 1))
    decoder = by_name(costs.decode(d, 1, 1, 0))
    counted = encoder["convolutions"].n_bytes - sound + encoder["encoder matrices"].n_bytes - features
    counted += costs.cross_kv(d, 1, 1)[0].n_bytes - d.n_text_layer * 2 * d.n_audio_ctx * d.n_text_state
    counted += decoder["decoder weights"].n_bytes + decoder["logits"].n_bytes - d.n_vocab * costs.FLOAT_BYTES
    assert 0.98 < counted / d.n_parameters < 1


def test_the_slower_of_two_limits_is_the_bound() -> None:
    part = costs.Part("p", operations=100, n_bytes=10)
    assert part.bound_s(rate=100, bandwidth=100) == 1.0
    assert part.bound_s(rate=1000, bandwidth=2) == 5.0
    assert costs.bound_s([part, part], 100, 100) == 2.0
    assert costs.total("all", [part, part]) == costs.Part("all", 200, 20)
