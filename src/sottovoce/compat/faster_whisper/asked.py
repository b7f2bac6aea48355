"""What the keywords of faster-whisper's transcribe mean to our flow, and how they are reported back.

Source: faster_whisper/transcribe.py (1.2.1).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from numbers import Integral
from typing import Any

from sottovoce.audio import mel
from sottovoce.compat.faster_whisper.segments import TranscriptionOptions, get_suppressed_tokens
from sottovoce.compat.faster_whisper.tokenizer import Tokenizer
from sottovoce.compat.faster_whisper.vad import VadOptions
from sottovoce.errors import OptionError
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.types import Manner, Strategy

N_TEXT_CTX = 448  # of every published checkpoint
AS_OURS = {  # keyword of theirs -> of ours, where the names differ
    "max_new_tokens": "max_tokens",
    "log_prob_threshold": "logprob_threshold",
    "clip_timestamps": "clips",
}
NOT_OURS = {"self", "audio", "log_progress", "vad_filter", "vad_parameters", "batch_size"}  # the surface's own


def keywords(given: Mapping[str, Any], is_multilingual: bool, log: logging.Logger) -> dict[str, Any]:
    """The arguments of a call, put right as the reference does, with its warnings, where the model is English-only.

    Raises OptionError (a ValueError) for what the reference would ignore or only find out on the way.
    """
    known = {name: value for name, value in given.items() if name not in NOT_OURS}
    n_together = given.get("batch_size", 1)
    if not isinstance(n_together, Integral) or n_together < 1:
        raise OptionError(f"batch_size: {n_together!r} was given, a whole number above 0 was expected; leave it out")
    if not is_multilingual:
        if known["multilingual"]:
            log.warning("multilingual: this model knows English only; it is taken as False")
        if known["language"] not in (None, "en"):
            log.warning("language: this model knows English only; %r is taken as 'en'", known["language"])
        if known["task"] != "transcribe":
            raise OptionError(
                f"task: {known['task']!r} was given, but this model knows English only; use a model without '.en'"
            )
        known |= {"multilingual": False, "language": "en"}
    n_start = 4 if is_multilingual else 2
    n_new = known["max_new_tokens"]
    if n_new is not None and n_new + n_start > N_TEXT_CTX:
        raise OptionError(
            f"max_new_tokens: {n_new} was given, at most {N_TEXT_CTX - n_start} was expected, the model's {N_TEXT_CTX} "
            "tokens without the start of the prompt; leave it out"
        )
    return known


def options(known: Mapping[str, Any]) -> Options:
    """The flow's options. Raises OptionError for a value that cannot be honoured."""
    values = {AS_OURS.get(name, name): value for name, value in known.items()}
    values["chunk_length"] = values["chunk_length"] or mel.WINDOW_S
    threshold = values["language_detection_threshold"]
    values["language_detection_threshold"] = 0.5 if threshold is None else threshold
    if values["max_initial_timestamp"] == 0:
        values["max_initial_timestamp"] = 1e-3  # ours reads 0 as no limit, theirs as <|0.00|>
    values |= {"manner": Manner.FASTER, "strategy": Strategy.SEQUENTIAL}
    try:
        return Request.of(values).options
    except OptionError as e:
        name, colon, rest = str(e).partition(":")
        theirs = {our: their for their, our in AS_OURS.items()}
        raise OptionError(theirs.get(name, name) + colon + rest) from e


def reported(known: Mapping[str, Any], tokenizer: Tokenizer) -> TranscriptionOptions:
    """The options in the reference's own words."""
    temperature, suppress = known["temperature"], known["suppress_tokens"]
    values = {f.name: known[f.name] for f in fields(TranscriptionOptions) if f.name in known}
    values["temperatures"] = list(temperature) if isinstance(temperature, list | tuple) else [temperature]
    values["suppress_tokens"] = get_suppressed_tokens(tokenizer, suppress) if suppress else suppress
    return TranscriptionOptions(**values)


def vad_options(given: Mapping[str, Any] | VadOptions | None, default: VadOptions) -> VadOptions:
    """The options of speech detection: those given over the defaults. Raises OptionError for an unknown name."""
    if isinstance(given, VadOptions):
        return given
    known = {f.name for f in fields(VadOptions)}
    for name in given or ():
        if name not in known:
            raise OptionError(f"vad_parameters: {name!r} was given, one of {', '.join(sorted(known))} was expected")
    return replace(default, **(given or {}))
