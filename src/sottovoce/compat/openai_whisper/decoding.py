"""openai-whisper's `whisper.decoding` over ours: one window of 30 s, or several decoded together.

Source: openai/whisper decoding.py (20250625).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import nan
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from sottovoce import api
from sottovoce.compat.openai_whisper.tokenizer import Tokenizer, get_tokenizer
from sottovoce.errors import OptionError
from sottovoce.flow import question
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.text.formats import compression_ratio
from sottovoce.text.languages import language_code
from sottovoce.types import Answer, Ask, Decode, Decoded, Detect, Detected, Sound, Strategy, Task

if TYPE_CHECKING:
    from sottovoce.compat.openai_whisper.model import Whisper

__all__ = ["DecodingOptions", "DecodingResult", "decode", "detect_language"]

HALF_ON_CPU = "FP16 is not supported on CPU; using FP32 instead"
LANG_ID = "lang_id"  # the task of only detecting the language
T = TypeVar("T")


@dataclass(frozen=True)
class DecodingOptions:
    """How a window is to be decoded.

    task: transcribe, translate or lang_id. language: None detects it. sample_len: at most so many tokens.
    best_of: candidates where temperature > 0. beam_size: beams, whatever the temperature. prompt, prefix: text or ids.
    suppress_tokens: ids, or ids separated by commas; -1 stands for what is no speech. fp16: on the CPU it warns only.
    """

    task: str = "transcribe"
    language: str | None = None
    temperature: float = 0.0
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prompt: str | list[int] | None = None
    prefix: str | list[int] | None = None
    suppress_tokens: str | Iterable[int] | None = "-1"
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    fp16: bool = True


@dataclass(frozen=True)
class DecodingResult:
    """audio_features: (1500, C). tokens: without the end of text. text: stripped."""

    audio_features: Tensor
    language: str
    language_probs: dict[str, float] | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    avg_logprob: float = nan
    no_speech_prob: float = nan
    temperature: float = nan
    compression_ratio: float = nan


@torch.no_grad()
def detect_language(
    model: Whisper, mel: Tensor, tokenizer: Tokenizer | None = None
) -> tuple[Tensor, dict[str, float] | list[dict[str, float]]]:
    """The most probable language's token, and every language's probability by code; of a batch, one of each a window.

    mel: (n_mels, 3000), (B, n_mels, 3000), or encoded sound. Raises OptionError (a ValueError) if the model is
    English-only.
    """
    if tokenizer is None:
        tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    if tokenizer.language is None:
        raise OptionError("This model doesn't have language tokens so it can't perform lang id; use one without '.en'")
    single = mel.ndim == 2
    engine = model.engine(model.dtype == torch.float16)
    features = encoded(engine, mel.unsqueeze(0) if single else mel)
    probs = _heard(engine, _sounds(features), [engine.mint() for _ in features], tokenizer)
    codes = [max(p, key=p.__getitem__) for p in probs]
    tokens = torch.tensor([tokenizer.to_language_token(c) for c in codes], device=model.device)
    return (tokens[0], probs[0]) if single else (tokens, probs)


@torch.no_grad()
def decode(
    model: Whisper, mel: Tensor, options: DecodingOptions | None = None, **kwargs: Any
) -> DecodingResult | list[DecodingResult]:
    """The text of a window; of a batch of windows, which are decoded together, a list.

    mel: (n_mels, 3000), (B, n_mels, 3000), or encoded sound. kwargs: fields of DecodingOptions, over those of options.
    Sampling at temperatures above 0 is governed by torch.manual_seed.
    Raises OptionError (a ValueError), TypeError for an unknown keyword.
    """
    options = replace(options or DecodingOptions(), **kwargs)
    single = mel.ndim == 2
    ours, fp16 = engine_options(options), precision(model, options.fp16)
    results = _decoded(model, mel.unsqueeze(0) if single else mel, options, ours, fp16)
    return results[0] if single else results


def engine_options(o: DecodingOptions) -> Options:
    """Our options of openai-whisper's, for one temperature. Raises OptionError where those contradict one another."""
    verify(o)
    task = Task.TRANSCRIBE if o.task == LANG_ID else o.task
    given = {
        "language": o.language,
        "task": task,
        # beams are searched whatever the temperature is; only the result names it
        "temperature": 0.0 if o.beam_size is not None else o.temperature,
        "beam_size": 1 if o.beam_size is None else o.beam_size,
        "best_of": 1 if o.best_of is None else o.best_of,
        "patience": o.patience or 1.0,
        "length_penalty": o.length_penalty,
        "max_tokens": o.sample_len or None,
        "prefix": o.prefix or None,
        "suppress_tokens": o.suppress_tokens,
        "suppress_blank": o.suppress_blank,
        "without_timestamps": o.without_timestamps,
        "max_initial_timestamp": o.max_initial_timestamp,
        "strategy": Strategy.SEQUENTIAL,
    }
    try:
        return Request.of(given).options
    except OptionError as e:
        name, colon, rest = str(e).partition(":")
        raise OptionError(("sample_len" if name == "max_tokens" else name) + colon + rest) from e


def verify(o: DecodingOptions) -> None:
    """Raise OptionError (a ValueError) where the options contradict one another, as the reference does."""
    if o.beam_size is not None and o.best_of is not None:
        raise OptionError("beam_size and best_of can't be given together; leave one of them out")
    if o.temperature == 0 and o.best_of is not None:
        raise OptionError("best_of with greedy sampling (T=0) is not compatible; leave it out, or raise temperature")
    if o.patience is not None and o.beam_size is None:
        raise OptionError("patience requires beam_size to be given; pass beam_size=5, or leave patience out")
    if o.length_penalty is not None and not 0 <= o.length_penalty <= 1:
        raise OptionError("length_penalty (alpha) should be a value between 0 and 1; leave it out")


def precision(model: Whisper, fp16: bool) -> bool:
    """Whether a call computes in float16; warns where the device cannot."""
    if fp16 and model.device.type == "cpu":
        warnings.warn(HALF_ON_CPU, stacklevel=3)
        return False
    return fp16


def seed() -> int:
    """A seed from torch's own generator, so that torch.manual_seed governs what is sampled."""
    return int(torch.randint(2**31 - 1, ()).item())


def encoded(engine: api.Whisper, mel: Tensor) -> Tensor:
    """(B, 1500, C) of log-mel (B, n_mels, 3000), in the engine's precision; what is encoded already stays as it is."""
    dims = engine.dims
    if mel.shape[-2:] == (dims.n_audio_ctx, dims.n_audio_state):
        return mel
    frames = 2 * dims.n_audio_ctx
    if mel.ndim != 3 or mel.shape[1:] != (dims.n_mels, frames):
        raise OptionError(
            f"mel: a tensor of shape {list(mel.shape)} was given, [windows, {dims.n_mels}, {frames}] was expected; "
            "use pad_or_trim before log_mel_spectrogram, with n_mels=model.dims.n_mels, and unsqueeze(0) for one window"
        )
    weight = engine.network.encoder.conv1.weight
    features: Tensor = engine.network.encoder(mel.to(weight.device, weight.dtype))
    return features


def _decoded(model: Whisper, mel: Tensor, o: DecodingOptions, ours: Options, fp16: bool) -> list[DecodingResult]:
    engine = model.engine(fp16)
    features = encoded(engine, mel)
    sounds, keys = _sounds(features), [engine.mint() for _ in features]
    plain = engine.tokenizer()
    probs: list[dict[str, float]] | None = None
    languages = [o.language or "en"] * len(sounds)
    if plain.multilingual and (language_code(o.language) is None or o.task == LANG_ID):
        probs = _heard(engine, sounds, keys, plain)
        languages = [max(p, key=p.__getitem__) for p in probs]
    elif not plain.multilingual:
        _check_english(o)
    if o.task == LANG_ID:
        assert probs is not None, "an English-only model was refused"
        return [DecodingResult(f, code, p) for f, code, p in zip(features, languages, probs, strict=True)]
    n_text_ctx = model.dims.n_text_ctx
    asks, tokenizers = [], [engine.tokenizer(language, ours.task) for language in languages]
    for tokenizer in tokenizers:
        context = question.ids(tokenizer, o.prompt) if o.prompt else []
        prompt, i_sot, _ = question.prompt(tokenizer, context, ours, n_text_ctx)
        how = question.search(ours, ours.temperature[0], seed() if ours.temperature[0] > 0 else 0, n_text_ctx)
        asks.append(Decode(prompt, i_sot, how, question.rules(ours, tokenizer)))
    found = []
    for answer, tokenizer, f, code in zip(
        _answers(engine, sounds, keys, asks), tokenizers, features, languages, strict=True
    ):
        assert isinstance(answer, Decoded)
        text = tokenizer.decode(answer.tokens).strip()
        found.append(
            DecodingResult(
                audio_features=f,
                language=code,
                tokens=list(answer.tokens),
                text=text,
                avg_logprob=answer.avg_logprob,
                no_speech_prob=answer.no_speech_prob,
                temperature=o.temperature,
                compression_ratio=compression_ratio(text),
            )
        )
    return found


def _check_english(o: DecodingOptions) -> None:
    if language_code(o.language) not in (None, "en") or o.task != Task.TRANSCRIBE:
        asked = f"task {o.task!r}" if o.task != Task.TRANSCRIBE else f"language {o.language!r}"
        raise OptionError(f"{asked} was given, but this model knows English only; use a model without '.en'")


def _heard(engine: api.Whisper, sounds: list[Sound], keys: list[str], tokenizer: Any) -> list[dict[str, float]]:
    """Probabilities by language code, per window."""
    asks = [Detect(tokenizer.language_tokens)] * len(sounds)
    found = []
    for answer in _answers(engine, sounds, keys, asks):
        assert isinstance(answer, Detected)
        found.append(dict(zip(tokenizer.language_codes, answer.probs, strict=True)))
    return found


def _sounds(features: Tensor) -> list[Sound]:
    return [Sound(features=f.float().cpu().numpy()) for f in features]


def _answers(engine: api.Whisper, sounds: list[Sound], keys: list[str], asks: Sequence[Ask]) -> list[Answer]:
    """Put all questions at once, so that they are answered together; if one fails, the others are withdrawn."""
    futures: list[Future[Answer]] = []
    try:
        for sound, key, ask in zip(sounds, keys, asks, strict=True):
            futures.append(engine.ask(sound, ask, key))
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
