"""Which parts of a recording the batched pipeline decodes: where somebody speaks, or the clips of the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.compat.faster_whisper import asked
from sottovoce.compat.faster_whisper.vad import VadOptions, collect_chunks, get_speech_timestamps
from sottovoce.errors import OptionError
from sottovoce.types import SAMPLE_RATE

MIN_SILENCE_MS = 160  # that ends a span; faster_whisper/transcribe.py:BatchedInferencePipeline.transcribe


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Samples to be decoded apart from others. offset_s: where they stand on the time line of their segments."""

    offset_s: float
    samples: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """What is to be decoded. spans: the parts of the recording that it is made of, in samples."""

    chunks: list[Chunk]
    spans: list[dict[str, int]]

    @property
    def duration_s(self) -> float:
        return sum(span["end"] - span["start"] for span in self.spans) / SAMPLE_RATE


def of_speech(samples: np.ndarray, options: VadOptions | None, longest_s: float) -> Spoken:
    """Speech joined into chunks of at most longest_s, on the time line from which the silences have been cut.

    options None: no detector; the recording is one chunk, and RuntimeError is raised if that is too long, as in the
    reference.
    """
    if options is not None:
        spans = get_speech_timestamps(samples, options)
    elif len(samples) < longest_s * SAMPLE_RATE:
        spans = [{"start": 0, "end": len(samples)}]
    else:
        raise RuntimeError(
            f"a recording of {len(samples) / SAMPLE_RATE:.1f} s was given without clip_timestamps and with "
            f"vad_filter=False, less than {longest_s:g} s was expected; leave vad_filter on, or pass clip_timestamps"
        )
    parts, metadata = collect_chunks(samples, spans, max_duration=longest_s)
    chunks = [Chunk(m["offset"], part) for m, part in zip(metadata, parts, strict=True) if len(part)]
    return Spoken(chunks, spans)


def of_clips(samples: np.ndarray, clips: Sequence[Mapping[str, float]]) -> Spoken:
    """The clips [{"start": s, "end": s}, ...] of a caller, whatever their length, on the recording's time line.

    Raises OptionError (a ValueError) for another form.
    """
    spans = []
    for clip in clips:
        good = isinstance(clip, Mapping) and set(clip) == {"start", "end"} and 0 <= clip["start"] < clip["end"]
        if not good:
            raise OptionError(
                f"clip_timestamps: {clip!r} was given, seconds as {{'start': 0.0, 'end': 12.5}} were expected"
            )
        span = {key: min(int(clip[key] * SAMPLE_RATE), len(samples)) for key in ("start", "end")}
        spans.append(span)
    chunks = [Chunk(s["start"] / SAMPLE_RATE, samples[s["start"] : s["end"]]) for s in spans]
    return Spoken([chunk for chunk in chunks if len(chunk.samples)], spans)


def vad_options(given: Mapping[str, Any] | VadOptions | None, longest_s: float) -> VadOptions:
    """The detector's options: those given; of a dictionary, over defaults that make spans no longer than a chunk."""
    default = VadOptions(max_speech_duration_s=longest_s, min_silence_duration_ms=MIN_SILENCE_MS)
    if given is not None and not isinstance(given, VadOptions):
        # the reference takes its general default here
        default = VadOptions(max_speech_duration_s=longest_s)
        given = {**given, "max_speech_duration_s": min(longest_s, given.get("max_speech_duration_s", longest_s))}
    return asked.vad_options(given, default)
