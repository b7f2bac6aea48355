"""openai-whisper's `whisper.transcribe` over ours: a recording, or several together, to dictionaries.

Source: openai/whisper transcribe.py (20250625).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import tqdm

from sottovoce import api
from sottovoce.audio import decode
from sottovoce.compat.openai_whisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, LoadError, check_kind, load_audio
from sottovoce.compat.openai_whisper.decoding import DecodingOptions, engine_options, precision, seed, verify
from sottovoce.compat.openai_whisper.utils import format_timestamp, make_safe
from sottovoce.errors import AudioError, OptionError
from sottovoce.flow.drive import Done
from sottovoce.flow.protocol import Flow, Heard, Known
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.text.formats import Transcript
from sottovoce.text.languages import LANGUAGES, language_code
from sottovoce.types import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, TEMPERATURES

if TYPE_CHECKING:
    from sottovoce.compat.openai_whisper.model import Whisper

__all__ = ["transcribe"]

Audio: TypeAlias = str | os.PathLike[str] | bytes | np.ndarray | torch.Tensor
N_TOGETHER = 16  # recordings of a list that are open at once where batch_size does not say

# What DecodingOptions has and `transcribe` says by other names
ELSEWHERE: Mapping[str, str] = {"prompt": "initial_prompt"}


def transcribe(
    model: Whisper,
    audio: Audio | Sequence[Audio],
    *,
    verbose: bool | None = None,
    temperature: float | Iterable[float] = TEMPERATURES,
    compression_ratio_threshold: float | None = 2.4,
    logprob_threshold: float | None = -1.0,
    no_speech_threshold: float | None = 0.6,
    condition_on_previous_text: bool = True,
    initial_prompt: str | None = None,
    carry_initial_prompt: bool = False,
    word_timestamps: bool = False,
    prepend_punctuations: str = PREPEND_PUNCTUATIONS,
    append_punctuations: str = APPEND_PUNCTUATIONS,
    clip_timestamps: str | list[float] = "0",
    hallucination_silence_threshold: float | None = None,
    batch_size: int | None = None,
    chunk_length: float | None = None,
    stride_length: float | None = None,
    **decode_options: Any,
) -> dict[str, Any] | list[dict[str, Any]]:
    """A recording's text, segments and language; of a list of recordings, a list, decoded together.

    audio: a path, an http(s) URL, bytes, or (N,) samples at 16 kHz; a list or tuple of those.
    verbose: True prints the text as it is known, False a progress bar, None nothing.
    clip_timestamps: start,end,start,end,... seconds. decode_options: fields of DecodingOptions; fp16 decides the
    precision on a GPU. Sampling at temperatures above 0 is governed by torch.manual_seed.
    Beyond the reference: batch_size, how many recordings of a list are open at once; chunk_length, the longest window
    in seconds; stride_length, which warns that windows do not overlap here.
    Raises OptionError (a ValueError), LoadError (a RuntimeError), TypeError for an unknown keyword.
    """
    decoding = _decoding_options(decode_options)
    ladder = (float(temperature),) if isinstance(temperature, int | float) else tuple(float(t) for t in temperature)
    ours = replace(
        _checked(decoding, ladder),
        temperature=ladder,
        compression_ratio_threshold=compression_ratio_threshold,
        logprob_threshold=logprob_threshold,
        no_speech_threshold=no_speech_threshold,
        condition_on_previous_text=condition_on_previous_text,
        initial_prompt=initial_prompt
        if initial_prompt is None or isinstance(initial_prompt, str)
        else tuple(initial_prompt),
        carry_initial_prompt=carry_initial_prompt,
        word_timestamps=word_timestamps,
        prepend_punctuations=prepend_punctuations,
        append_punctuations=append_punctuations,
        clips=_clips(clip_timestamps),
        hallucination_silence_threshold=hallucination_silence_threshold,
        chunk_length=30.0 if chunk_length is None else float(chunk_length),
        seed=seed() if any(t > 0 for t in ladder) else 0,
    )
    _warn(model, ours, isinstance(audio, list | tuple), batch_size, stride_length)
    engine = model.engine(precision(model, decoding.fp16))
    if isinstance(audio, list | tuple):
        return _several(engine, list(audio), ours, decoding.language, verbose, batch_size or N_TOGETHER)
    return _one(engine, audio, ours, decoding.language, verbose)


def _decoding_options(given: Mapping[str, Any]) -> DecodingOptions:
    known = [f.name for f in fields(DecodingOptions)]
    for name in given:
        if name in ELSEWHERE:
            raise OptionError(
                f"{name} was given, but transcribe makes it of what was said before; use {ELSEWHERE[name]}"
            )
        if name not in known:
            near = get_close_matches(name, [*known, *(transcribe.__kwdefaults__ or {})], n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; DecodingOptions has {', '.join(known)}"
            raise TypeError(f"transcribe() got an unexpected keyword argument {name!r}{hint}")
    return DecodingOptions(**given)


def _checked(o: DecodingOptions, ladder: Sequence[float]) -> Options:
    """Our options; beam_size acts where the temperature is 0, best_of where it is not."""
    for t in ladder:
        if t > 0:
            verify(replace(o, temperature=t, beam_size=None, patience=None))
        else:
            verify(replace(o, temperature=t, best_of=None))
    patience = o.patience if o.beam_size is not None else None
    ours = engine_options(replace(o, temperature=0.0, best_of=None, patience=patience))
    if o.task != ours.task:
        raise OptionError(
            f"task: {o.task!r} was given, transcribe or translate was expected; use model.detect_language"
        )
    return replace(ours, best_of=1 if o.best_of is None else o.best_of)


def _clips(given: Any) -> tuple[tuple[float, float | None], ...]:
    try:
        return Request.of({"clips": given}).options.clips
    except OptionError as e:
        raise OptionError(f"clip_timestamps{str(e).removeprefix('clips')}") from e


def _warn(model: Whisper, o: Options, several: bool, batch_size: Any, stride_length: Any) -> None:
    """Say what has no effect, or may disappoint."""
    said = []
    if model.device.type == "cpu" and torch.cuda.is_available():
        said.append("Performing inference on CPU when CUDA is available")
    if o.word_timestamps and o.task == "translate":
        said.append("Word-level timestamps on translations may not be reliable.")
    if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
        raise OptionError(f"batch_size: {batch_size!r} was given, a whole number above 0 was expected; leave it out")
    if batch_size is not None and not several:
        said.append(
            "batch_size has no effect on one recording, whose windows follow one another; pass a list of recordings"
        )
    if stride_length:
        said.append(
            "stride_length has no effect: each window begins where the timestamps of the one before end, so that no "
            "overlap is needed"
        )
    for text in said:
        warnings.warn(text, stacklevel=3)


def _one(engine: api.Whisper, audio: Any, o: Options, language: str | None, verbose: bool | None) -> dict[str, Any]:
    samples = _samples(audio)
    detects = o.language is None and engine.is_multilingual
    if verbose and detects:
        print("Detecting language using up to the first 30 seconds. Use `--language` to specify the language")
    run = engine.events(engine.flow(samples, o))
    heard = next(run)
    assert isinstance(heard, Heard), "a flow says first which language it hears"
    if verbose is not None and detects:
        print(f"Detected language: {LANGUAGES[heard.language].title()}")
    with tqdm.tqdm(total=len(samples) // HOP_LENGTH, unit="frames", disable=verbose is not False) as bar:
        position = 0
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                return _result(end.value, language)
            if isinstance(event, Known):
                if verbose:
                    _print(event)
                frame = round(event.position_s * FRAMES_PER_SECOND)
                bar.update(frame - position)
                position = frame


def _several(
    engine: api.Whisper, audios: list[Any], o: Options, language: str | None, verbose: bool | None, batch_size: int
) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    flows = ((i, _opened(engine, audio, o)) for i, audio in enumerate(audios))
    with tqdm.tqdm(total=len(audios), unit="files", disable=verbose is not False) as bar:
        for i, said in engine.events_each(flows, batch_size):
            if isinstance(said, Done):
                if said.error is not None:
                    raise said.error
                assert said.transcript is not None, "a flow without error has a transcript"
                found[i] = _result(said.transcript, language)
                bar.update(1)
            elif verbose and isinstance(said, Known):
                _print(said, f"{_name(audios[i], i)}: ")
    return [found[i] for i in range(len(audios))]


def _opened(engine: api.Whisper, audio: Any, o: Options) -> Flow:
    """A flow that opens its recording when its turn comes."""
    return (yield from engine.flow(_samples(audio), o))


def _samples(audio: Any) -> np.ndarray:
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu()
        audio = audio.float().numpy() if audio.is_floating_point() else audio.numpy()
    if isinstance(audio, str | os.PathLike):
        return load_audio(audio)
    if isinstance(audio, np.ndarray) and audio.shape == (0,):
        return np.zeros(0, np.float32)  # no sound, no text: a live program may hand over an empty buffer
    if not isinstance(audio, bytes | bytearray | memoryview) and not hasattr(audio, "read"):
        check_kind(audio)
    try:
        return decode.load(audio)
    except AudioError as e:
        raise LoadError(f"Failed to load audio: {e}") from e


def _result(transcript: Transcript, language: str | None) -> dict[str, Any]:
    """language: as it was given, which the reference returns unchanged."""
    result = transcript.to_dict()
    if language_code(language) is not None:
        result["language"] = language
    return result


def _print(known: Known, name: str = "") -> None:
    for s in known.segments:
        if s.text:
            print(make_safe(f"{name}[{format_timestamp(s.start)} --> {format_timestamp(s.end)}] {s.text}"), flush=True)


def _name(audio: Any, i: int) -> str:
    return os.fspath(audio) if isinstance(audio, str | os.PathLike) else f"recording {i}"
