"""The vocabulary in others' files cuts text as ours does."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from sottovoce.text.handover import tokenizer_files
from sottovoce.text.tokenizer import VOCABULARIES, Tokenizer

TEXTS = (
    " Hello, world! It's 12:30 — isn't it?\n\n",
    "Größe, Straße, naïve café",
    "我们今天去北京。 東京は寒い",
    "नमस्ते مرحبا 안녕 🎉\t  x",
)


@pytest.mark.parametrize("n_vocab", VOCABULARIES)
def test_tokenizers_cuts_text_as_tiktoken_does(n_vocab: int) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    ours = Tokenizer(n_vocab)
    files = tokenizer_files(ours)
    theirs = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
    assert theirs.get_vocab_size() == n_vocab
    for text in TEXTS:
        assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    for name, i in ours.special_tokens.items():
        assert theirs.token_to_id(name) == i


def test_older_files_hold_the_same_merges() -> None:
    files = tokenizer_files(Tokenizer(51865))
    vocabulary = json.loads(files["vocab.json"])
    merges = [line.split(" ") for line in files["merges.txt"].decode().splitlines()[1:]]
    assert len(merges) == 50_000
    ranks = [vocabulary[left + right] for left, right in merges]
    assert all(a < b for a, b in pairwise(ranks))
