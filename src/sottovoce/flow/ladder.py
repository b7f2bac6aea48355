"""Decoding one window until it passes: the ladder of temperatures and the gates. Knows no seek, no neighbour.

Source: openai/whisper transcribe.py:decode_with_fallback (20250625).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from sottovoce.flow import question
from sottovoce.flow.lines import joined
from sottovoce.flow.listen import Asker
from sottovoce.flow.protocol import Event, Got, Wait
from sottovoce.flow.terms import Terms
from sottovoce.options import Options
from sottovoce.text.formats import compression_ratio
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Decoded, Sound, Window


@dataclass(frozen=True, slots=True)
class Prompt:
    """What stands before the first sampled token; see `question.prompt`."""

    tokens: tuple[int, ...]
    i_sot: int = 0
    begun: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Climbed:
    """Every decoding that was tried; the last one passed the gates, or none did. best: what stands, terms heard."""

    tried: tuple[Decoded, ...]
    best: Decoded
    passed: bool


def climb(
    asker: Asker,
    o: Options,
    tokenizer: Tokenizer,
    prompt: Prompt,
    sound: tuple[str, Sound],
    badness: Callable[[Decoded], int],
    stands: Callable[[Sequence[Decoded]], Decoded],
    *,
    salt: int,
    n_text_ctx: int,
    terms: Terms | None = None,
) -> Generator[Window | Wait | Event, Got | None, Climbed]:
    """Decode a sound, given with its name, at each temperature until one passes. salt: the window's, of the seed.

    badness: how far one is from passing, 0 if it does. stands: which of all is taken if none does. terms: those that
    are listened for in what is taken.
    """
    answers: list[Decoded] = []
    tried: list[Decoded] = []
    rules = question.rules(o, tokenizer, prompt.begun)

    def asked(temperature: float) -> Decode:
        seed = hash((o.seed, salt, round(temperature * 1000))) & 0x7FFF_FFFF
        return Decode(prompt.tokens, prompt.i_sot, question.search(o, temperature, seed, n_text_ctx), rules)

    def whole(answer: Decoded) -> Decoded:
        return joined(prompt.begun, answer)

    for temperature in o.temperature:
        answer = yield from asker.ask(asked(temperature), *sound)
        assert isinstance(answer, Decoded)
        answers.append(answer)
        tried.append(whole(answer))
        if not badness(tried[-1]):
            break
    passed = not badness(tried[-1])
    best = tried[-1] if passed else stands(tried)
    if terms is not None and not is_silence(o, best):
        found = next(answer for answer, one in zip(answers, tried, strict=True) if one is best)
        most = badness(best)

        def passes(answer: Decoded) -> bool:
            return not is_silence(o, answer) and badness(whole(answer)) <= most

        best = whole((yield from terms.hear(asker, tokenizer, asked(0.0), sound, found, passes)))
    return Climbed(tuple(tried), best, passed)


def is_repetitive(o: Options, tokenizer: Tokenizer, decoded: Decoded) -> bool:
    """Does its text repeat itself?"""
    ratio = compression_ratio(tokenizer.decode(decoded.tokens).strip())
    return o.compression_ratio_threshold is not None and ratio > o.compression_ratio_threshold


def is_unsure(o: Options, decoded: Decoded) -> bool:
    """Are its tokens improbable?"""
    return o.logprob_threshold is not None and decoded.avg_logprob < o.logprob_threshold


def is_silent(o: Options, decoded: Decoded) -> bool:
    """Does the model hear no speech, whatever it wrote?"""
    return o.no_speech_threshold is not None and decoded.no_speech_prob > o.no_speech_threshold


def is_silence(o: Options, decoded: Decoded) -> bool:
    """Is the window to be skipped: no speech, and not sure of what it wrote?"""
    return is_silent(o, decoded) and (o.logprob_threshold is None or not decoded.avg_logprob > o.logprob_threshold)
