"""How options become the question about one window: its prompt, its search and its rules. Knows no recording.

Source: openai/whisper decoding.py:DecodingTask (20250625).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sottovoce.audio.mel import HOP
from sottovoce.options import Options
from sottovoce.text.tokenizer import Tokenizer, suppressed
from sottovoce.types import SAMPLE_RATE, Align, Manner, Rules, Search

POSITION_FRAMES = 2  # mel frames of one audio position, that is of one timestamp token
POSITION_S = POSITION_FRAMES * HOP / SAMPLE_RATE  # 0.02


def ids(tokenizer: Tokenizer, text: str | Sequence[int]) -> list[int]:
    """The ids of a prompt that may be given as text or as ids; text begins with a space, as words do."""
    return tokenizer.encode(" " + text.strip()) if isinstance(text, str) else list(text)


def prompt(
    tokenizer: Tokenizer, context: Sequence[int], o: Options, n_text_ctx: int, *, is_first: bool = True
) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """The ids before the first sampled token, where <|startoftranscript|> stands, which of them count as sampled.

    context: ids of the text before the window; its end is taken, as far as there is room. is_first: of the recording.
    """
    n_context = n_text_ctx // 2 - 1
    prefix = o.prefix if o.manner is Manner.OPENAI or is_first else None
    context = list(context)[-n_context:]
    if o.hotwords and not prefix:
        hot = ids(tokenizer, o.hotwords)[:n_context]
        n_left = n_context - len(hot)
        context = hot + (context[-n_left:] if n_left else [])
    found = [tokenizer.sot_prev, *context] if context else []
    i_sot = len(found)
    found += tokenizer.sot_sequence_including_notimestamps if o.without_timestamps else tokenizer.sot_sequence
    begun: list[int] = []
    if prefix and o.manner is Manner.OPENAI:
        n_prefix = n_text_ctx // 2 - (o.max_tokens or n_text_ctx // 2)
        found += ids(tokenizer, prefix)[-n_prefix:]
    elif prefix:
        begun = [] if o.without_timestamps else [tokenizer.timestamp_begin]
        begun += ids(tokenizer, prefix)[:n_context]
    return (*found, *begun), i_sot, tuple(begun)


def alignment(tokenizer: Tokenizer, text: tuple[int, ...], n_text_ctx: int) -> Align:
    """When a text is spoken; of one that is longer than the decoder can read at once, as much as it can."""
    n_around = len(tokenizer.sot_sequence) + 2  # <|notimestamps|> before the text, <|endoftext|> behind it
    return Align(tokenizer.sot_sequence, text[: n_text_ctx - n_around])


def search(o: Options, temperature: float, seed: int, n_text_ctx: int) -> Search:
    """How the tokens of one window are chosen at one temperature."""
    return Search(
        temperature=temperature,
        beam_size=o.beam_size if temperature == 0 else 1,
        best_of=o.best_of if temperature > 0 else 1,
        patience=o.patience,
        length_penalty=o.length_penalty if o.manner is Manner.OPENAI else None,
        length_exponent=o.length_penalty if o.manner is Manner.FASTER else None,
        ends_in_beam=o.manner is Manner.FASTER,
        repetition_penalty=o.repetition_penalty,
        no_repeat_ngram_size=o.no_repeat_ngram_size,
        max_tokens=o.max_tokens or n_text_ctx // 2,
        seed=seed,
    )


def rules(o: Options, tokenizer: Tokenizer, begun: tuple[int, ...] = ()) -> Rules:
    """Which tokens may follow which. begun: the end of the prompt that counts as sampled."""
    blank = (*tokenizer.encode(" "), tokenizer.eot) if o.suppress_blank else ()
    limit = o.max_initial_timestamp
    return Rules(
        suppress=suppressed(tokenizer, o.suppress_tokens) if o.suppress_tokens else (),
        suppress_first=tuple(blank),
        timestamps=not o.without_timestamps,
        max_initial=round(limit / POSITION_S) if limit else None,
        begun=begun,
    )


def rules_to_go_on(o: Options, tokenizer: Tokenizer) -> Rules:
    """As `rules`, of a text that goes on behind a timestamp: a word comes first. Nobody watches its times."""
    words_only = (*tokenizer.encode(" "), *range(tokenizer.eot, tokenizer.n_vocab))
    return replace(rules(o, tokenizer), suppress_first=words_only, timestamps=False)
