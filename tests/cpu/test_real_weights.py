"""Published weights in the forms in which packages carry them: .pt, ggml, CTranslate2."""

from __future__ import annotations

import time

import pytest
import torch

from sottovoce.audio import mel
from sottovoce.config import Config
from sottovoce.model import hub, weights
from sottovoce.text.tokenizer import Tokenizer
from tests.plain_cache import logits_of

TEXT = " The quick brown fox jumps over the lazy dog, and the children are laughing in the garden."


@pytest.mark.weights
@pytest.mark.parametrize(("name", "form"), [("tiny.en", "pt"), ("tiny", "ggml"), ("base", "ct2")])
def test_published_weights_know_english(name: str, form: str) -> None:
    """Words in their order are far more probable than the same words backwards; a wrong tensor makes them alike.

    Silence is heard, so that the decoder speaks from what it knows of the language.
    """
    files = hub.fetch(name, Config())
    assert files.form == form
    start = time.perf_counter()
    model = weights.load(files.path)
    assert time.perf_counter() - start < 5  # a tenth of that on an idle machine; the memory is touched once
    tokenizer = Tokenizer(model.dims.n_vocab, language="en" if model.dims.is_multilingual else None)
    text = tokenizer.encode(TEXT)
    prompt = list(tokenizer.sot_sequence_including_notimestamps)
    silence = mel.log_mel(torch.zeros(480_000).numpy(), model.dims.n_mels)[None, :, :3000]
    with torch.inference_mode():
        features = model.encoder(silence)
        scores = []
        for words in (text, text[::-1]):
            logits = logits_of(model, features, torch.tensor([prompt + words]))[0]
            assert logits.isfinite().all()
            logprobs = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
            scores.append(float(logprobs.gather(1, torch.tensor(words)[:, None]).mean()))
    assert scores[0] > scores[1] + 2
