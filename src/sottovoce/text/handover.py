"""The vocabulary in the files that transformers and faster-whisper read. Knows no network and no disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from sottovoce.text.tokenizer import Tokenizer

PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """By name: tokenizer.json (`tokenizers`, faster-whisper), vocab.json and merges.txt (older transformers), settings.

    Takes about a second: merges are found again from the ranks, by merging each token up to its last step.
    """
    ranks = {bytes(tokenizer.encoding.decode_single_token_bytes(i)): i for i in range(tokenizer.eot)}
    letters = _letters()
    vocabulary = {_spell(token, letters): i for token, i in ranks.items()}
    merges = [[_spell(left, letters), _spell(right, letters)] for left, right in _merges(ranks)]
    special = tokenizer.special_tokens
    end = "<|endoftext|>"
    marks: dict[str, Any] = {"bos_token": end, "eos_token": end, "unk_token": end, "pad_token": end}
    settings = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "errors": "replace",
        "model_max_length": 1024,
        **marks,
        "additional_special_tokens": [name for name, i in special.items() if i < tokenizer.timestamp_begin],
    }
    return {
        "tokenizer.json": _json(_fast(tokenizer, vocabulary, merges)),
        "tokenizer_config.json": _json(settings),
        "special_tokens_map.json": _json(marks),
        "vocab.json": _json({**vocabulary, end: tokenizer.eot}),
        "added_tokens.json": _json({name: i for name, i in special.items() if i > tokenizer.eot}),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]).encode(),
    }


def _fast(tokenizer: Tokenizer, vocabulary: Mapping[str, int], merges: list[list[str]]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": name, **plain, "special": i < tokenizer.timestamp_begin}
            for name, i in tokenizer.special_tokens.items()
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {**vocabulary, "<|endoftext|>": tokenizer.eot},
            "merges": merges,
        },
    }


def _merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The two halves that each token was last merged from, in the order of their ranks."""
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            found = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
            lowest = min(found)
            assert lowest < rank, "a token that no merge leads to"
            i = found.index(lowest)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


def _letters() -> dict[int, str]:
    """A visible letter for every byte: itself where it is one, else the next from U+0100 on (GPT-2's encoder.py)."""
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    return {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _spell(token: bytes, letters: Mapping[int, str]) -> str:
    return "".join(letters[byte] for byte in token)


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
