"""A transcript as OpenAI's objects, or as text in any format. Values in, values out; knows no request.

Source: openai-python types/audio/transcription.py, transcription_verbose.py, transcription_diarized.py,
translation_verbose.py (3.3.1). Of optional fields, those that are None are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, isfinite
from typing import Literal

from pydantic import BaseModel

from sottovoce.server.fields import Format, Wanted
from sottovoce.text.diarized import diarized
from sottovoce.text.formats import Transcript
from sottovoce.text.languages import LANGUAGES
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Segment, Task

FIRST_SPECIAL = 50257  # ids from here on are no text, in either vocabulary; the English one has its end of text before
POSITIONS_PER_S = 50  # what the encoder makes of a second: tokens of sound
LEAST_LOGPROB = -1000.0  # JSON has no infinity
MEDIA = {Format.VTT: "text/vtt", Format.CSV: "text/csv", Format.MD: "text/markdown"}
PLAIN = "text/plain"


class Logprob(BaseModel):
    """A token, its bytes, and how probable it was. token: a part of a character is U+FFFD there."""

    token: str
    bytes: list[int]
    logprob: float


class Language(BaseModel):
    """A language by its code."""

    code: str


class InputTokens(BaseModel):
    """What was read: sound in steps of 20 ms, and the prompt."""

    audio_tokens: int
    text_tokens: int


class UsageTokens(BaseModel):
    """What a request took, as OpenAI's younger models count."""

    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: InputTokens


class UsageDuration(BaseModel):
    """What a request took, as whisper-1 counts."""

    type: Literal["duration"] = "duration"
    seconds: float


class Transcription(BaseModel):
    """json. languages: where more than one was possible."""

    text: str
    logprobs: list[Logprob] | None = None
    languages: list[Language] | None = None
    usage: UsageTokens | UsageDuration


class WordTimes(BaseModel):
    """A word; start, end: seconds. speaker: where speakers are told apart."""

    word: str
    start: float
    end: float
    speaker: str | None = None


class SegmentTimes(BaseModel):
    """A line; start, end: seconds. seek: where its window began, in steps of 10 ms."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    language: str | None = None
    speaker: str | None = None


class TranscriptionVerbose(BaseModel):
    """verbose_json. language: its English name. words, segments: as timestamp_granularities says."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    segments: list[SegmentTimes] | None = None
    words: list[WordTimes] | None = None
    usage: UsageDuration


class Turn(BaseModel):
    """A line of one speaker: A, B, ... or a name that was given."""

    type: Literal["transcript.text.segment"] = "transcript.text.segment"
    id: str
    start: float
    end: float
    text: str
    speaker: str


class TranscriptionDiarized(BaseModel):
    """diarized_json."""

    task: Literal["transcribe", "translate"]
    duration: float
    text: str
    segments: list[Turn]
    usage: UsageTokens | UsageDuration


def rendered(transcript: Transcript, wanted: Wanted, tokenizer: Tokenizer | None = None) -> tuple[str, str]:
    """(body, media type) of an answer. tokenizer: the model's, where log-probabilities are wanted."""
    if wanted.format is Format.TEXT:
        return transcript.text.strip() + "\n", PLAIN
    made = answer(transcript, wanted, tokenizer)
    if made is None:
        return transcript.render(wanted.format, wanted.layout), MEDIA.get(wanted.format, PLAIN)
    return made.model_dump_json(exclude_none=True), "application/json"


def answer(transcript: Transcript, wanted: Wanted, tokenizer: Tokenizer | None = None) -> BaseModel | None:
    """The object of a JSON format; None for texts."""
    text = transcript.text.strip()
    if wanted.format is Format.JSON:
        known = logprobs(transcript.segments, tokenizer) if wanted.logprobs and tokenizer else None
        return Transcription(
            text=text, logprobs=known, languages=languages(transcript), usage=usage(transcript, wanted)
        )
    if wanted.format is Format.VERBOSE_JSON:
        return TranscriptionVerbose(
            task=transcript.task.value,
            language=_language(transcript),
            duration=transcript.duration,
            text=text,
            segments=[_segment(s) for s in transcript.segments] if wanted.segments else None,
            words=list(_words(transcript.segments)) if wanted.words else None,
            usage=UsageDuration(seconds=transcript.duration),
        )
    if wanted.format is Format.DIARIZED_JSON:
        made = diarized(text, transcript.segments, transcript.duration)
        made["task"] = transcript.task.value
        return TranscriptionDiarized(**made, usage=usage(transcript, wanted))
    return None


def usage(transcript: Transcript, wanted: Wanted) -> UsageTokens | UsageDuration:
    """What was read and written, in tokens or in seconds."""
    if not wanted.in_tokens:
        return UsageDuration(seconds=transcript.duration)
    return usage_tokens(transcript, wanted)


def usage_tokens(transcript: Transcript, wanted: Wanted) -> UsageTokens:
    """In tokens. Those of the prompt are the multilingual vocabulary's."""
    given = wanted.request.options.initial_prompt
    n_text = len(given) if isinstance(given, tuple) else len(Tokenizer(51865).encode(given)) if given else 0
    n_audio = ceil(transcript.duration * POSITIONS_PER_S)
    n_said = sum(token < FIRST_SPECIAL for s in transcript.segments for token in s.tokens)
    details = InputTokens(audio_tokens=n_audio, text_tokens=n_text)
    n_read = n_audio + n_text
    return UsageTokens(
        input_tokens=n_read, output_tokens=n_said, total_tokens=n_read + n_said, input_token_details=details
    )


def languages(transcript: Transcript) -> list[Language] | None:
    """Those of a recording in which they may differ, most seconds first."""
    return [Language(code=code) for code in transcript.languages] or None


def _language(transcript: Transcript) -> str:
    """The English name of what is written."""
    if transcript.task is Task.TRANSLATE:
        return "english"
    return LANGUAGES.get(transcript.language.partition("-")[0], transcript.language)


def _segment(s: Segment) -> SegmentTimes:
    return SegmentTimes(
        id=s.id,
        seek=s.seek,
        start=s.start,
        end=s.end,
        text=s.text,
        tokens=list(s.tokens),
        temperature=s.temperature,
        avg_logprob=_finite(s.avg_logprob, LEAST_LOGPROB),
        compression_ratio=s.compression_ratio,
        no_speech_prob=_finite(s.no_speech_prob, 0.0),  # English vocabularies have no token for it
        language=s.language,
        speaker=s.speaker,
    )


def _words(segments: Sequence[Segment]) -> Iterator[WordTimes]:
    for s in segments:
        for w in s.words or ():
            yield WordTimes(word=w.word.strip(), start=w.start, end=w.end, speaker=w.speaker)


def logprobs(segments: Sequence[Segment], tokenizer: Tokenizer) -> list[Logprob]:
    """Tokens of text, each with its bytes and log-probability."""
    found = []
    for s in segments:
        for token, logprob in zip(s.tokens, s.logprobs, strict=False):
            if token < tokenizer.eot:
                of_token = tokenizer.encoding.decode_single_token_bytes(token)
                text = of_token.decode("utf-8", errors="replace")
                found.append(Logprob(token=text, bytes=list(of_token), logprob=_finite(logprob, LEAST_LOGPROB)))
    return found


def _finite(value: float, instead: float) -> float:
    return float(value) if isfinite(value) else instead
