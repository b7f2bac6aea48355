"""faster-whisper's `vad` over ours: spans of speech, their joining into chunks, and the way back to recording time.

Source: faster_whisper/vad.py (1.2.1). Two of its faults are not kept: `collect_chunks` forgot to note the span that
opens a chunk, and put an empty chunk first where the first span alone is too long.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np

from sottovoce.audio import vad as ours
from sottovoce.errors import OptionError
from sottovoce.types import SAMPLE_RATE

__all__ = [
    "SileroVADModel",
    "SpeechTimestampsMap",
    "VadOptions",
    "collect_chunks",
    "get_speech_timestamps",
    "get_vad_model",
]


@dataclass
class VadOptions:
    """When a frame is speech, and which frames make a span; the fields are those of sottovoce.audio.vad.VadOptions."""

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 0
    max_speech_duration_s: float = inf
    min_silence_duration_ms: float = 2000
    speech_pad_ms: float = 400
    min_silence_at_max_speech: float = 98
    use_max_poss_sil_at_max_speech: bool = False


def get_speech_timestamps(
    audio: np.ndarray,
    vad_options: VadOptions | None = None,
    sampling_rate: int = SAMPLE_RATE,
    **kwargs: Any,
) -> list[dict[str, int]]:
    """The spans in which somebody speaks: [{"start": sample, "end": sample}, ...].

    kwargs: the options' fields, where vad_options is None. Raises OptionError (a ValueError), also for another rate.
    """
    if sampling_rate != SAMPLE_RATE:
        raise OptionError(f"sampling_rate: {sampling_rate} was given, 16000 was expected; decode_audio resamples")
    options = vad_options if vad_options is not None else VadOptions(**kwargs)
    return [{"start": s.start, "end": s.end} for s in ours.speech(audio, ours.VadOptions(**asdict(options)))]


def collect_chunks(
    audio: np.ndarray,
    chunks: Sequence[dict[str, int]],
    sampling_rate: int = SAMPLE_RATE,
    max_duration: float = inf,
) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Spans joined into chunks of at most max_duration (s): their samples, and of each its metadata.

    Metadata: "offset" and "duration" (s) on the time line from which the silences have been cut, and "segments", the
    spans that it is made of. A span that is too long by itself is a chunk by itself. No spans: one empty chunk.
    """
    groups: list[list[dict[str, int]]] = [[]]
    n_samples = 0
    for span in chunks:
        n_span = span["end"] - span["start"]
        if groups[-1] and n_samples + n_span > max_duration * sampling_rate:
            groups.append([])
            n_samples = 0
        groups[-1].append(span)
        n_samples += n_span
    found, metadata = [], []
    offset = 0
    for group in groups:
        pieces = [audio[span["start"] : span["end"]] for span in group]
        found.append(np.concatenate(pieces) if pieces else np.zeros(0, np.float32))
        n = sum(span["end"] - span["start"] for span in group)
        metadata.append({"offset": offset / sampling_rate, "duration": n / sampling_rate, "segments": group})
        offset += n
    return found, metadata


class SpeechTimestampsMap:
    """From the time line without silences back to the recording's."""

    def __init__(self, chunks: Sequence[dict[str, int]], sampling_rate: int, time_precision: int = 2) -> None:
        self.sampling_rate = sampling_rate
        self.time_precision = time_precision
        self.chunk_end_sample: list[int] = []
        self.total_silence_before: list[float] = []  # seconds
        last_end = n_silent = 0
        for span in chunks:
            n_silent += span["start"] - last_end
            last_end = span["end"]
            self.chunk_end_sample.append(last_end - n_silent)
            self.total_silence_before.append(n_silent / sampling_rate)

    def get_original_time(self, time: float, chunk_index: int | None = None, is_end: bool = False) -> float:
        """A time in the recording; chunk_index: of the span that it lies in, if that is known."""
        i = self.get_chunk_index(time, is_end) if chunk_index is None else chunk_index
        return round(self.total_silence_before[i] + time, self.time_precision)

    def get_chunk_index(self, time: float, is_end: bool = False) -> int:
        """The span that a time lies in. Where two spans meet, an end belongs to the first, all else to the second."""
        sample = int(time * self.sampling_rate)
        if is_end and sample in self.chunk_end_sample:
            return self.chunk_end_sample.index(sample)
        return min(bisect(self.chunk_end_sample, sample), len(self.chunk_end_sample) - 1)


class SileroVADModel:
    """The network itself: whole frames of samples in, the probability of speech in each out."""

    def __call__(self, audio: np.ndarray, num_samples: int = ours.FRAME, context_size_samples: int = 64) -> np.ndarray:
        """(N // 512,) float32. Raises OptionError if N is no multiple of 512, or for other frames."""
        if (num_samples, context_size_samples) != (ours.FRAME, 64) or audio.size % ours.FRAME:
            raise OptionError(
                f"{audio.size} samples in frames of {num_samples} after {context_size_samples} were given, a multiple "
                f"of {ours.FRAME} in frames of {ours.FRAME} after 64 was expected; append zeros"
            )
        return ours.probabilities(audio)[:-1]


def get_vad_model() -> SileroVADModel:
    """The network that tells speech from silence."""
    return SileroVADModel()
