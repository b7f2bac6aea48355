"""What faster-whisper gives back, and how its tokens and times are put right. Knows no engine.

Source: faster_whisper/transcribe.py (1.2.1).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from warnings import warn

from sottovoce.compat.faster_whisper.tokenizer import Tokenizer
from sottovoce.compat.faster_whisper.vad import SpeechTimestampsMap, VadOptions
from sottovoce.types import Segment as Known


@dataclass
class Word:
    start: float
    end: float
    word: str
    probability: float

    def _asdict(self) -> dict[str, Any]:
        warn("Word._asdict() is deprecated, use dataclasses.asdict(word)", DeprecationWarning, 2)
        return asdict(self)


@dataclass
class Segment:
    """start, end: seconds. seek: mel frame (10 ms) at which its window began. words: None unless asked for."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None
    temperature: float | None

    def _asdict(self) -> dict[str, Any]:
        warn("Segment._asdict() is deprecated, use dataclasses.asdict(segment)", DeprecationWarning, 2)
        return asdict(self)


@dataclass
class TranscriptionOptions:
    """The options in force, for the reader: changing them changes nothing."""

    beam_size: int
    best_of: int
    patience: float
    length_penalty: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    log_prob_threshold: float | None
    no_speech_threshold: float | None
    compression_ratio_threshold: float | None
    condition_on_previous_text: bool
    prompt_reset_on_temperature: float
    temperatures: list[float]
    initial_prompt: str | Iterable[int] | None
    prefix: str | None
    suppress_blank: bool
    suppress_tokens: Sequence[int] | None
    without_timestamps: bool
    max_initial_timestamp: float
    word_timestamps: bool
    prepend_punctuations: str
    append_punctuations: str
    multilingual: bool
    max_new_tokens: int | None
    clip_timestamps: str | list[float] | list[dict[str, int]]
    hallucination_silence_threshold: float | None
    hotwords: str | None


@dataclass
class TranscriptionInfo:
    """duration, duration_after_vad: seconds. all_language_probs: (code, probability), the most probable first, if the
    language was detected."""

    language: str
    language_probability: float
    duration: float
    duration_after_vad: float
    all_language_probs: list[tuple[str, float]] | None
    transcription_options: TranscriptionOptions
    vad_options: VadOptions | None


def segment_of(known: Known, id: int, offset_s: float = 0.0) -> Segment:
    """One of our segments as faster-whisper's; offset_s: where the sound that it counts from begins."""
    words = None
    if known.words is not None:
        words = [Word(offset_s + w.start, offset_s + w.end, w.word, w.probability) for w in known.words]
    return Segment(
        id=id,
        seek=int(offset_s * 100) + known.seek,
        start=offset_s + known.start,
        end=offset_s + known.end,
        text=known.text,
        tokens=list(known.tokens),
        avg_logprob=known.avg_logprob,
        compression_ratio=known.compression_ratio,
        no_speech_prob=known.no_speech_prob,
        words=words,
        temperature=known.temperature,
    )


def restore_speech_timestamps(
    segments: Iterable[Segment], speech_chunks: Sequence[dict[str, int]], sampling_rate: int
) -> Iterator[Segment]:
    """The segments with their times moved from the time line without silences to the recording's.

    A word's two ends are looked up by its middle, so that it does not straddle a silence.
    """
    times = SpeechTimestampsMap(speech_chunks, sampling_rate)
    for segment in segments:
        if segment.words:
            for word in segment.words:
                i = times.get_chunk_index((word.start + word.end) / 2)
                word.start, word.end = times.get_original_time(word.start, i), times.get_original_time(word.end, i)
            segment.start, segment.end = segment.words[0].start, segment.words[-1].end
        else:
            segment.start = times.get_original_time(segment.start)
            segment.end = times.get_original_time(segment.end, is_end=True)
        yield segment


def get_compression_ratio(text: str) -> float:
    """Bytes of a text by bytes of it compressed: high where it repeats itself."""
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


def get_suppressed_tokens(tokenizer: Tokenizer, suppress_tokens: Sequence[int]) -> tuple[int, ...]:
    """Ids that are never sampled, sorted: those given (-1: the marks that are no speech), and those of prompts only."""
    t = tokenizer
    ids = {i for i in suppress_tokens if i >= 0} if -1 in suppress_tokens else set(suppress_tokens)
    if -1 in suppress_tokens:
        ids.update(t.non_speech_tokens)
    return tuple(sorted(ids | {t.transcribe, t.translate, t.sot, t.sot_prev, t.sot_lm, t.no_speech}))


def merge_punctuations(alignment: list[dict[str, Any]], prepended: str, appended: str) -> None:
    """Opening marks join the word after them, closing marks the word before, in place; what is emptied stays.

    alignment: dictionaries with "word" and "tokens".
    """
    following = len(alignment) - 1
    for i in range(len(alignment) - 2, -1, -1):
        mark, word = alignment[i], alignment[following]
        if mark["word"].startswith(" ") and mark["word"].strip() in prepended:
            _join(word, mark, word)
        else:
            following = i
    preceding = 0
    for i in range(1, len(alignment)):
        word, mark = alignment[preceding], alignment[i]
        if not word["word"].endswith(" ") and mark["word"] in appended:
            _join(word, word, mark)
        else:
            preceding = i


def _join(into: dict[str, Any], first: dict[str, Any], second: dict[str, Any]) -> None:
    emptied = second if into is first else first
    into["word"], into["tokens"] = first["word"] + second["word"], first["tokens"] + second["tokens"]
    emptied["word"], emptied["tokens"] = "", []
