"""faster-whisper's `tokenizer` over ours. Source: faster_whisper/tokenizer.py (1.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sottovoce.text import tokenizer as ours
from sottovoce.text.languages import LANGUAGES

__all__ = ["Tokenizer", "Vocabulary"]

_TASKS = ("transcribe", "translate")
_LANGUAGE_CODES = (*sorted(code for code in LANGUAGES if code not in ("zh", "yue")), "zh", "yue")
_N_VOCAB = {(True, False): 51865, (True, True): 51866, (False, False): 51864}  # is it multilingual, has it Cantonese?


@dataclass(frozen=True, slots=True)
class Encoding:
    """What `Vocabulary.encode` gives back."""

    ids: list[int]
    tokens: list[str]


class Vocabulary:
    """What programs use of a `tokenizers.Tokenizer`: ids, texts, and nothing that changes it."""

    def __init__(self, n_vocab: int) -> None:
        self.tokenizer = ours.Tokenizer(n_vocab)

    def token_to_id(self, token: str) -> int | None:
        special = self.tokenizer.special_tokens.get(token)
        if special is not None:
            return special
        found = self.tokenizer.encode(token)
        return found[0] if len(found) == 1 else None

    def id_to_token(self, id: int) -> str | None:
        return self.tokenizer.decode_with_timestamps([id]) if 0 <= id < self.tokenizer.n_vocab else None

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        return self.tokenizer.n_vocab if with_added_tokens else self.tokenizer.eot

    def encode(self, sequence: str, add_special_tokens: bool = True) -> Encoding:
        ids = self.tokenizer.encode(sequence)
        if add_special_tokens:
            start, end = self.tokenizer.sot_sequence_including_notimestamps, self.tokenizer.eot
            ids = [start[0], start[-1], *ids, end]
        return Encoding(ids, [self.tokenizer.decode_with_timestamps([i]) for i in ids])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        if skip_special_tokens:
            return self.tokenizer.decode([i for i in ids if i < self.tokenizer.eot])
        return self.tokenizer.decode_with_timestamps(ids)


class Tokenizer:
    """A vocabulary set to a language and a task.

    tokenizer: a `Vocabulary` (WhisperModel.hf_tokenizer), or a `tokenizers.Tokenizer` of a Whisper checkpoint.
    Raises ValueError for a task or language that there is not, if the vocabulary is to be used as multilingual.
    """

    def __init__(
        self, tokenizer: Any, multilingual: bool, task: str | None = None, language: str | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.task: int | None = None
        self.language: int | None = None
        self.language_code = "en"
        has_languages = tokenizer.token_to_id("<|endoftext|>") != ours.Tokenizer(51864).eot
        n_vocab = _N_VOCAB[has_languages, tokenizer.token_to_id("<|yue|>") is not None]
        if multilingual:
            if task not in _TASKS:
                raise ValueError(f"task: {task!r} was given, one of {', '.join(_TASKS)} was expected")
            if language not in _LANGUAGE_CODES:
                raise ValueError(f"language: {language!r} was given, one of {', '.join(_LANGUAGE_CODES)} was expected")
            assert language is not None
            self.language_code = language
        self._ours = ours.Tokenizer(
            n_vocab, self.language_code if has_languages else None, task if multilingual else None
        )
        if multilingual:
            self.task = self._ours.transcribe if task == "transcribe" else self._ours.translate
            self.language = self._ours.to_language_token(self.language_code)

    transcribe = property(lambda self: self._ours.transcribe)
    translate = property(lambda self: self._ours.translate)
    sot = property(lambda self: self._ours.sot)
    sot_lm = property(lambda self: self._ours.sot_lm)
    sot_prev = property(lambda self: self._ours.sot_prev)
    eot = property(lambda self: self._ours.eot)
    no_timestamps = property(lambda self: self._ours.no_timestamps)
    no_speech = property(lambda self: self._ours.no_speech)
    timestamp_begin = property(lambda self: self._ours.timestamp_begin)
    non_speech_tokens = property(lambda self: self._ours.non_speech_tokens)

    @property
    def sot_sequence(self) -> list[int]:
        return [self._ours.sot, *(i for i in (self.language, self.task) if i is not None)]

    def encode(self, text: str) -> list[int]:
        return self._ours.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids, without special tokens and timestamps."""
        return self._ours.decode([t for t in tokens if t < self._ours.eot])

    def decode_with_timestamps(self, tokens: Sequence[int]) -> str:
        """The text of ids, without special tokens; a timestamp is written like <|1.08|>."""
        begin = self._ours.timestamp_begin
        return self._ours.decode_with_timestamps([t for t in tokens if t < self._ours.eot or t >= begin])

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        return self._ours.split_to_word_tokens(tokens)

    def split_tokens_on_unicode(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        return self._ours.split_on_unicode(tokens)

    def split_tokens_on_spaces(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        return self._ours.split_on_spaces(tokens)
