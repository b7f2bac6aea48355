"""Text <-> Whisper's token ids: byte-pair encoding, special tokens, words. Knows no sound, no tensor, no request.

Ids, lowest first; L languages, 1501 timestamps of 20 ms:

    [0, eot)  text      eot, sot, L languages, translate, transcribe, sot_lm, sot_prev, no_speech, no_timestamps
    [timestamp_begin, timestamp_begin + 1501)  <|0.00|> .. <|30.00|>
"""

from __future__ import annotations

import string
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import tiktoken

from sottovoce.errors import ModelError, OptionError
from sottovoce.text.languages import LANGUAGES, TO_LANGUAGE_CODE, language_code
from sottovoce.types import Task

__all__ = ["LANGUAGES", "TO_LANGUAGE_CODE", "Tokenizer", "language_code", "suppressed"]

VOCABULARIES = {51864: ("gpt2", 99), 51865: ("multilingual", 99), 51866: ("multilingual", 100)}  # n_vocab: file, L
N_TIMESTAMPS = 1501  # 0.00 s .. 30.00 s
TIMESTAMP_STEP_S = 0.02  # two mel frames: one audio position
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})  # written without spaces between words
REPLACEMENT = "\ufffd"  # what half a character decodes to

# How GPT-2 cuts text before it merges bytes; openai/whisper tokenizer.py:get_encoding (20250625)
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

# What is written for sounds that are no speech; openai/whisper tokenizer.py:non_speech_tokens (20250625).
# Brackets, quotes and rules are suppressed where they are one token; a note's first token, whatever follows it:
# all of U+2640..U+267F share it, and none of them is spoken.
_MARKS = [*'"#()*+/:;<=>@[\\]^_`{|}~「」『』']
_MARK_GROUPS = [
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "♪♪", "♪♪♪"),
    *("((", "))", "(((", ")))", "[[", "]]", "{{", "}}"),
]
_NOTES = [*"♩♪♫♬♭♮♯"]


class Tokenizer:
    """The vocabulary of a checkpoint, set to a language and a task.

    n_vocab: the checkpoint's; 51864 is the English-only vocabulary, where language and task have no tokens and are
    None. language: any spelling that `language_code` knows; of a multilingual vocabulary it defaults to en.
    Raises ModelError for an n_vocab that no published checkpoint has, OptionError for a language it has no token for.
    Source: openai/whisper tokenizer.py:Tokenizer, get_tokenizer (20250625).
    """

    def __init__(self, n_vocab: int, language: str | None = None, task: str | None = None) -> None:
        if n_vocab not in VOCABULARIES:
            known = ", ".join(str(n) for n in VOCABULARIES)
            raise ModelError(
                f"a vocabulary of {n_vocab} tokens was given, one of {known} was expected; "
                "use a checkpoint that keeps Whisper's own vocabulary"
            )
        if task is not None and task not in tuple(Task):
            raise OptionError(f"task: {task!r} was given, transcribe or translate was expected; leave it out")
        self.n_vocab = n_vocab
        self.multilingual = VOCABULARIES[n_vocab][0] == "multilingual"
        self.n_languages = VOCABULARIES[n_vocab][1]
        self.encoding = _encoding(n_vocab)
        self.special_tokens: Mapping[str, int] = _special_tokens(n_vocab)
        self.language_codes: tuple[str, ...] = tuple(LANGUAGES)[: self.n_languages]

        special = self.special_tokens
        self.eot = special["<|endoftext|>"]
        self.sot = special["<|startoftranscript|>"]
        self.translate = special["<|translate|>"]
        self.transcribe = special["<|transcribe|>"]
        self.sot_lm = special["<|startoflm|>"]
        self.sot_prev = special["<|startofprev|>"]
        self.no_speech = special["<|nospeech|>"]
        self.no_timestamps = special["<|notimestamps|>"]
        self.timestamp_begin = special["<|0.00|>"]
        self.language_tokens = tuple(special[f"<|{code}|>"] for code in self.language_codes)

        self.language: str | None = None
        self.task: Task | None = None
        self.sot_sequence: tuple[int, ...] = (self.sot,)
        if self.multilingual:
            self.language = language_code(language) or "en"
            self.task = Task(task or Task.TRANSCRIBE)
            i_task = self.transcribe if self.task is Task.TRANSCRIBE else self.translate
            self.sot_sequence = (self.sot, self.to_language_token(self.language), i_task)
        self.sot_sequence_including_notimestamps = (*self.sot_sequence, self.no_timestamps)

    @property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Ids of brackets, music notes and the like, sorted: suppressed, no speaker tags or noises are written."""
        return _non_speech_tokens(self.n_vocab)

    def to_language_token(self, language: str) -> int:
        """The id of a language's token. Raises OptionError if this vocabulary has none."""
        code = language_code(language)
        if code not in self.language_codes:
            remedy = "pass zh, or use large-v3 or large-v3-turbo" if code == "yue" else "pass for example en"
            raise OptionError(
                f"language: {language!r} was given, one of this model's {self.n_languages} was expected; {remedy}"
            )
        return self.special_tokens[f"<|{code}|>"]

    def encode(self, text: str) -> list[int]:
        """The ids of a text. What looks like a special token is taken as the characters it is written with."""
        return self.encoding.encode_ordinary(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids, without timestamps. Bytes that are no UTF-8 become U+FFFD."""
        return self.encoding.decode([t for t in tokens if t < self.timestamp_begin])

    def decode_with_timestamps(self, tokens: Sequence[int]) -> str:
        """The text of ids; a timestamp is written like <|1.08|>."""
        return self.encoding.decode(tokens)

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """The words of ids, and the ids of each word; no id is lost, and words keep their leading space.

        Of a language that writes no spaces, every whole character is a word.
        """
        return self.split_on_unicode(tokens) if self.language in UNSPACED else self.split_on_spaces(tokens)

    def split_on_unicode(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Every whole character, or every token that holds several, and the ids of each."""
        whole = self.decode_with_timestamps(tokens)
        words: list[str] = []
        word_tokens: list[list[int]] = []
        current: list[int] = []
        i_whole = 0
        for token in tokens:
            current.append(token)
            text = self.decode_with_timestamps(current)
            if REPLACEMENT in text:
                # half a character waits for its other half, unless the whole text is broken at this place too
                i = i_whole + text.index(REPLACEMENT)
                if i < len(whole) and whole[i] != REPLACEMENT:
                    continue
            words.append(text)
            word_tokens.append(current)
            current = []
            i_whole += len(text)
        if current:
            words.append(self.decode_with_timestamps(current))
            word_tokens.append(current)
        return words, word_tokens

    def split_on_spaces(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Words as spaces and punctuation part them, and the ids of each."""
        pieces, piece_tokens = self.split_on_unicode(tokens)
        words: list[str] = []
        word_tokens: list[list[int]] = []
        for piece, ids in zip(pieces, piece_tokens, strict=True):
            # NOTE: a substring of the list of marks counts as a mark, and so does a blank piece, as in the reference
            alone = ids[0] >= self.eot or piece.startswith(" ") or piece.strip() in string.punctuation
            if alone or not words:
                words.append(piece)
                word_tokens.append(list(ids))
            else:
                words[-1] += piece
                word_tokens[-1].extend(ids)
        return words, word_tokens


def suppressed(tokenizer: Tokenizer, suppress_tokens: Sequence[int]) -> tuple[int, ...]:
    """Ids that are never sampled: those given, and the special tokens that only a prompt may hold; sorted.

    suppress_tokens: ids; -1 stands for the vocabulary's non_speech_tokens. Other negative ids beside it are dropped.
    Source: openai/whisper decoding.py:_get_suppress_tokens (20250625).
    """
    t = tokenizer
    ids = {t.transcribe, t.translate, t.sot, t.sot_prev, t.sot_lm, t.no_speech}
    if -1 in suppress_tokens:
        ids.update(t.non_speech_tokens)
        suppress_tokens = [i for i in suppress_tokens if i >= 0]
    for i in suppress_tokens:
        if not 0 <= i < t.n_vocab:
            raise OptionError(
                f"suppress_tokens: {i} was given, ids from 0 to {t.n_vocab - 1} or -1 were expected; "
                "pass -1 for the marks that are no speech"
            )
    return tuple(sorted(ids.union(suppress_tokens)))


@cache
def _ranks(name: str) -> dict[bytes, int]:
    fields = files("sottovoce.text").joinpath(f"assets/{name}.tiktoken").read_bytes().split()
    return dict(zip(map(a2b_base64, fields[::2]), map(int, fields[1::2]), strict=True))


@cache
def _special_tokens(n_vocab: int) -> dict[str, int]:
    name, n_languages = VOCABULARIES[n_vocab]
    words = [
        "endoftext",
        "startoftranscript",
        *tuple(LANGUAGES)[:n_languages],
        "translate",
        "transcribe",
        "startoflm",
        "startofprev",
        "nospeech",
        "notimestamps",
        *(f"{i * TIMESTAMP_STEP_S:.2f}" for i in range(N_TIMESTAMPS)),
    ]
    return {f"<|{word}|>": i for i, word in enumerate(words, start=len(_ranks(name)))}


@cache
def _encoding(n_vocab: int) -> tiktoken.Encoding:
    ranks = _ranks(VOCABULARIES[n_vocab][0])
    special = _special_tokens(n_vocab)
    assert len(ranks) + len(special) == n_vocab, "the shipped vocabulary is not the checkpoints'"
    return tiktoken.Encoding(
        f"whisper-{n_vocab}",
        explicit_n_vocab=n_vocab,
        pat_str=PATTERN,
        mergeable_ranks=ranks,
        special_tokens=special,
    )


@cache
def _non_speech_tokens(n_vocab: int) -> tuple[int, ...]:
    encode = _encoding(n_vocab).encode_ordinary  # `encode` looks for special tokens, and takes 0.1 s to get ready
    ids = {encode(" -")[0], encode(" '")[0]}  # between words they may stand, not at the beginning of one
    for mark in [*_MARKS, *_MARK_GROUPS, *_NOTES]:
        for tokens in (encode(mark), encode(" " + mark)):
            if len(tokens) == 1 or mark in _NOTES:
                ids.add(tokens[0])
    return tuple(sorted(ids))
