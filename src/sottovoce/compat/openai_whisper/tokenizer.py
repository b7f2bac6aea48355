"""openai-whisper's `whisper.tokenizer` over ours. Source: openai/whisper tokenizer.py (20250625)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.text import tokenizer as ours
from sottovoce.text.languages import LANGUAGES, TO_LANGUAGE_CODE

__all__ = ["LANGUAGES", "TO_LANGUAGE_CODE", "Tokenizer", "get_encoding", "get_tokenizer"]

N_VOCAB = {("gpt2", 99): 51864, ("multilingual", 99): 51865, ("multilingual", 100): 51866}  # by encoding, languages


class Tokenizer(ours.Tokenizer):
    """Our tokenizer under openai-whisper's names."""

    @property
    def num_languages(self) -> int:
        return self.n_languages

    @property
    def all_language_tokens(self) -> tuple[int, ...]:
        return self.language_tokens

    @property
    def all_language_codes(self) -> tuple[str, ...]:
        return self.language_codes

    @property
    def language_token(self) -> int:
        """Raises OptionError (a ValueError) if the vocabulary is English-only."""
        if self.language is None:
            raise OptionError(
                "language_token: this tokenizer is English-only and has no language; use a multilingual one"
            )
        return self.to_language_token(self.language)

    def to_language_token(self, language: str) -> int:
        """Raises KeyError, as the reference does, if this vocabulary has none."""
        try:
            return super().to_language_token(language)
        except OptionError as e:
            raise KeyError(str(e)) from e

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        """kwargs: tiktoken's own. Raises ValueError for text that looks like a special token, unless they allow it."""
        return self.encoding.encode(text, **kwargs)

    # NOTE: what is overridden below takes `tokens`; the reference's name is public here
    def decode(self, token_ids: Sequence[int], **kwargs: Any) -> str:  # type: ignore[override]
        """The text of ids, without timestamps. kwargs: tiktoken's own."""
        return str(self.encoding.decode([t for t in token_ids if t < self.timestamp_begin], **kwargs))

    def decode_with_timestamps(self, token_ids: Sequence[int], **kwargs: Any) -> str:  # type: ignore[override]
        """The text of ids; a timestamp is written like <|1.08|>. kwargs: tiktoken's own."""
        return str(self.encoding.decode(token_ids, **kwargs))

    def split_tokens_on_unicode(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        return self.split_on_unicode(tokens)

    def split_tokens_on_spaces(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        return self.split_on_spaces(tokens)


@cache
def get_tokenizer(
    multilingual: bool, *, num_languages: int = 99, language: str | None = None, task: str | None = None
) -> Tokenizer:
    """The tokenizer of a multilingual or English-only vocabulary; of a multilingual one language defaults to en.

    Raises OptionError (a ValueError) for an unknown language.
    """
    name = "multilingual" if multilingual else "gpt2"
    return Tokenizer(_n_vocab(name, num_languages), language, task if multilingual else None)


@cache
def get_encoding(name: str = "gpt2", num_languages: int = 99) -> Any:
    """tiktoken's encoding of a vocabulary: gpt2 (English-only) or multilingual."""
    return ours.Tokenizer(_n_vocab(name, num_languages)).encoding


def _n_vocab(name: str, num_languages: int) -> int:
    if (name, num_languages) not in N_VOCAB:
        known = ", ".join(f"{n} with {languages}" for n, languages in N_VOCAB)
        raise OptionError(
            f"encoding {name!r} with num_languages {num_languages} was given, one of {known} was expected; "
            "pass model.is_multilingual and model.num_languages"
        )
    return N_VOCAB[name, num_languages]
