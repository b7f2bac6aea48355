"""The network beside an independent implementation, with random weights of the published dimensions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from sottovoce.model import export
from sottovoce.model.dims import Dims
from tests.plain_cache import PlainCache, logits_of, random_model

DIMS = {
    "tiny": Dims(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "large-v3": Dims(128, 1500, 1280, 20, 1, 51866, 448, 1280, 20, 1),  # one layer of 32: a layer is like the next
    "large-v3-turbo": Dims(128, 1500, 1280, 20, 2, 51866, 448, 1280, 20, 1),  # more encoder than decoder, as 32 : 4
}


@pytest.mark.parametrize("name", DIMS)
def test_the_network_equals_transformers(name: str, tmp_path: Path) -> None:
    """Encoder output and logits within 1e-4 of their largest magnitude, float32. Goes through export_safetensors."""
    model = random_model(DIMS[name])
    export.export_safetensors(model, tmp_path)
    peer = WhisperForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager").eval()
    mel = torch.randn(1, model.dims.n_mels, 2 * model.dims.n_audio_ctx).clamp(-1, 2)
    tokens = torch.randint(model.dims.n_vocab, (1, 12))
    with torch.inference_mode():
        features = model.encoder(mel)
        theirs = peer(input_features=mel, decoder_input_ids=tokens)
        logits = logits_of(model, features, tokens)
    assert relative(features, theirs.encoder_last_hidden_state) < 1e-4
    assert relative(logits, theirs.logits) < 1e-4
    assert logits.std() > 0.1  # else everything would be equal


def test_one_position_at_a_time_equals_all_at_once() -> None:
    model = random_model(Dims(80, 1500, 64, 2, 1, 51865, 448, 64, 2, 2))
    mel, tokens = torch.randn(2, 80, 3000), torch.randint(51865, (2, 6))
    with torch.inference_mode():
        features = model.encoder(mel)
        cache = PlainCache(model, features)
        steps = [
            model.decoder.logits(model.decoder(tokens[:, i : i + 1], torch.full((2, 1), i), cache)) for i in range(6)
        ]
        whole = logits_of(model, features, tokens)
    assert relative(torch.cat(steps, dim=1), whole) < 1e-5


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())
