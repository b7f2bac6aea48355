"""Routes of programs that were written for whisper.cpp's server, and for whisper-asr-webservice.

Sources: ggml-org/whisper.cpp examples/server/server.cpp (c838670, 0349811); ahmetoner/whisper-asr-webservice
app/webservice.py (0bcc587, 1.9.1). Failures are told in our shape, with a status that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sottovoce.errors import OptionError
from sottovoce.server import document, wishes
from sottovoce.server.aims import Aim
from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.server.house import Asked, House
from sottovoce.server.received import as_wave, received
from sottovoce.server.simple import ENCODE, one, together
from sottovoce.text.clock import format_timestamp, srt_time
from sottovoce.text.formats import Transcript
from sottovoce.text.languages import LANGUAGES
from sottovoce.types import Segment, Word

router = APIRouter(tags=["other servers' routes"])

MS = 2**31 - 1
RARE = 0.001  # probability below which whisper.cpp does not tell a language
# Read and left aside: what they tune is not done here (a context window for the encoder, a tokens' entropy, a detector
# of speech that is off by default: ours is always on), or is printed on their terminal
ASIDE = (
    *("word_thold", "entropy_thold", "max_context", "audio_ctx", "debug_mode", "token_timestamps", "split_on_word"),
    *("vad", "vad_threshold", "vad_min_speech_duration_ms", "vad_min_silence_duration_ms", "vad_samples_overlap"),
    *("vad_max_speech_duration_s", "vad_speech_pad_ms", "suppress_nst", "suppress_non_speech"),
)
FORMATS = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/html",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}
INFERENCE = (
    wishes.whole("offset_t", 0, MS, "milliseconds at which it begins", default=0),
    wishes.whole("offset_n", 0, MS, "what numbers of srt begin after", default=0),
    wishes.whole("duration", 0, MS, "milliseconds that are heard; 0: to the end", default=0),
    wishes.whole("max_len", 0, 10_000, "characters of a segment; 0: as it is spoken", default=0),
    wishes.whole("best_of", 1, 32, "candidates where the temperature is above 0", default=2),
    wishes.whole("beam_size", -1, 32, "1 or less: the most probable word each time", default=-1),
    wishes.number("logprob_thold", -100, 100, "below it, the next temperature is tried", default=-1.0),
    wishes.number("no_speech_thold", 0, 1, "above it, and unsure, a window is silence", default=0.6),
    wishes.number("temperature", 0, 2, "", default=0.0),
    wishes.number("temperature_inc", 0, 2, "added where a window fails; 0: no other is tried", default=0.2),
    wishes.flag("translate", "into English"),
    wishes.flag("diarize", "a stereo recording is two speakers"),
    wishes.flag("no_timestamps", "no times"),
    wishes.flag("detect_language", "the language only"),
    wishes.flag("no_language_probabilities", "leave them out of verbose_json"),
    wishes.flag("carry_initial_prompt", "the prompt stands before every window"),
    wishes.text("language", "code or name; auto, or left out: detected", maxLength=40),
    wishes.text("prompt", "what was said before, or words to expect"),
    wishes.choice("response_format", FORMATS, "", default="json"),
    *(wishes.text(name, "read, and without effect here", maxLength=40) for name in ASIDE),
)
INFERRED = {
    "application/json": document.object_of(
        {"text": {"type": "string"}},
        {
            "task": {"type": "string"},
            "language": {"type": "string"},
            "duration": {"type": "number"},
            "segments": {"type": "array", "items": document.object_of({"id": {"type": "integer"}})},
            "detected_language": {"type": "string"},
            "detected_language_probability": {"type": "number"},
            "language_probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    ),
    **{kind: None for kind in FORMATS.values() if kind != "application/json"},
}
OUTPUTS = ("txt", "vtt", "srt", "tsv", "json")
ASR = (
    ENCODE,
    wishes.choice("task", ("transcribe", "translate"), "", default="transcribe"),
    wishes.text("language", "code or name; detected if left out", maxLength=40),
    wishes.text("initial_prompt", "what was said before, or words to expect"),
    wishes.flag("vad_filter", "read, and without effect: speech is always looked for"),
    wishes.flag("word_timestamps", "the times of words"),
    wishes.flag("diarize", "tell who speaks"),
    wishes.whole("min_speakers", 1, 100, "only with diarize"),
    wishes.whole("max_speakers", 1, 100, "only with diarize"),
    wishes.choice("output", OUTPUTS, "", default="txt"),
)


@router.post(
    "/inference",
    response_class=Response,
    responses=document.answers(INFERRED, "As whisper.cpp's server answers"),
    openapi_extra=document.takes(document.form(INFERENCE, {"file": "a recording"}, ["file"])),
)
async def inference(request: Request) -> Response:
    """whisper.cpp's route. Differences: the language is detected unless it is given, and words are whole words."""
    house: House = request.app.state.house
    async with received(request, house.uploads) as got:
        if not any(file.field == "file" for file in got.files):
            raise RequestError("file: no 'file' field in the request; send a form with one", Kind(400), "file")
        wanted = wishes.values(INFERENCE, got.fields, house.serving.unknown_fields, got.queried)
        aim = Aim.LANGUAGE if wanted.get("detect_language") else Aim.TRANSCRIPT
        asked = Asked(house.config.model, wishes.request_of(as_options(wanted)), aim)
        (t,) = await together(house, asked, [one(got)])
    format = wanted.get("response_format", "json")
    segments = list(cut(t.segments, wanted.get("max_len", 0)))
    if format == "json":
        return JSONResponse({"text": lines(segments)})
    if format == "verbose_json":
        return JSONResponse(verbose(t, segments, wanted))
    if format == "text":
        return Response(lines(segments), media_type="text/html")
    if format == "srt":
        return Response(srt(segments, wanted.get("offset_n", 0)), media_type="application/x-subrip")
    return Response(vtt(segments), media_type="text/vtt")


@router.post(
    "/load",
    response_class=Response,
    responses={403: {"description": "A file of the server's is not loaded by its path"}},
)
async def load() -> Response:
    """whisper.cpp's route to another model's file: refused, for a path of the server's is not a client's to name."""
    what = "a path of the server's was given, which clients do not name; use POST /v1/models/NAME/load"
    raise RequestError(f"model: {what}", BY_STATUS[403], "model")


@router.post(
    "/asr",
    response_class=Response,
    responses=document.answers(
        {"text/plain": None},
        "The transcript, whatever its form, as a file",
        {"Asr-Engine": "sottovoce", "Content-Disposition": "a name for the file"},
    ),
    openapi_extra=document.takes(document.form((), {"audio_file": "a recording"}, ["audio_file"]), ASR),
)
async def asr(request: Request) -> Response:
    """whisper-asr-webservice's route."""
    house: House = request.app.state.house
    async with received(request, house.uploads) as got, AsyncExitStack() as stack:
        if not any(file.field == "audio_file" for file in got.files):
            raise RequestError("audio_file: nothing was given, a recording was expected", BY_STATUS[422], "audio_file")
        wanted = wishes.values(ASR, got.fields, house.serving.unknown_fields, got.queried)
        file, output = one(got), wanted.pop("output", "txt")
        if not wanted.pop("encode", True):
            file = await stack.enter_async_context(as_wave(file))
        wanted.pop("vad_filter", None)
        (t,) = await together(house, Asked(house.config.model, wishes.request_of(wanted)), [file])
    headers = {
        "Asr-Engine": "sottovoce",
        "Content-Disposition": f'attachment; filename="{quote(file.name)}.{output}"',
    }
    return Response(t.render(output), media_type="text/plain", headers=headers)


def as_options(wanted: dict[str, Any]) -> dict[str, Any]:
    """whisper.cpp's fields as options of ours. Raises OptionError."""
    first, step = wanted.get("temperature", 0.0), wanted.get("temperature_inc", 0.2)
    start_s = wanted.get("offset_t", 0) / 1000
    length_s = wanted.get("duration", 0) / 1000
    if start_s and wanted.get("detect_language"):
        raise OptionError("offset_t: it was given with detect_language, which hears the beginning; leave one out")
    options: dict[str, Any] = {
        "temperature": tuple(ladder(first, step)),
        "beam_size": max(1, wanted.get("beam_size", -1)),
        "best_of": wanted.get("best_of", 2),
        "logprob_threshold": wanted.get("logprob_thold", -1.0),
        "no_speech_threshold": wanted.get("no_speech_thold", 0.6),
        "task": "translate" if wanted.get("translate") else "transcribe",
        "without_timestamps": wanted.get("no_timestamps", False),
        "carry_initial_prompt": wanted.get("carry_initial_prompt", False),
        "initial_prompt": wanted.get("prompt"),
        "channels": wanted.get("diarize", False),
        "word_timestamps": wanted.get("response_format") == "verbose_json" or wanted.get("max_len", 0) > 0,
    }
    if start_s or length_s:
        options["clips"] = [(start_s, start_s + length_s if length_s else None)]
    language = wanted.get("language")
    if language not in (None, "auto") and not wanted.get("detect_language"):
        options["language"] = language
    return options


def ladder(first: float, step: float) -> Iterator[float]:
    """Temperatures from the first to 1, as whisper.cpp climbs; the first alone without a step."""
    yield first
    n = 1
    while step > 0.01 and first + n * step <= 1 + 1e-6:
        yield round(first + n * step, 6)
        n += 1


def cut(segments: Sequence[Segment], most: int) -> Iterator[Segment]:
    """Segments of so many characters at most, cut between words; as they are if most is 0 or words have no times.

    Pieces have no tokens: which of them a word has is not known here.
    """
    for s in segments:
        if not most or not s.words:
            yield s
            continue
        line: list[Word] = []
        for word in s.words:
            if line and len("".join(w.word for w in line).strip()) + len(word.word) > most:
                yield replace(s, start=line[0].start, end=line[-1].end, text=joined(line), tokens=(), words=tuple(line))
                line = []
            line.append(word)
        yield replace(s, start=line[0].start, end=line[-1].end, text=joined(line), tokens=(), words=tuple(line))


def joined(words: Sequence[Word]) -> str:
    return "".join(w.word for w in words)


def said(s: Segment, before: str = "(speaker ", after: str = ")") -> str:
    """A segment's text as whisper.cpp prints it: with the space before it, and the channel of a stereo recording."""
    speaker = {"left": "0", "right": "1"}.get(s.speaker or "", s.speaker)
    return f"{before}{speaker}{after}{s.text}" if speaker else s.text


def lines(segments: Sequence[Segment]) -> str:
    return "".join(said(s) + "\n" for s in segments)


def srt(segments: Sequence[Segment], offset: int) -> str:
    return "".join(
        f"{i}\n{srt_time(s.start)} --> {srt_time(s.end)}\n{said(s)}\n\n" for i, s in enumerate(segments, 1 + offset)
    )


def vtt(segments: Sequence[Segment]) -> str:
    times = [(format_timestamp(s.start, True), format_timestamp(s.end, True)) for s in segments]
    told = [f"{a} --> {b}\n{said(s, '<v Speaker', '>')}\n\n" for (a, b), s in zip(times, segments, strict=True)]
    return "WEBVTT\n\n" + "".join(told)


def verbose(t: Transcript, segments: Sequence[Segment], wanted: dict[str, Any]) -> dict[str, Any]:
    """whisper.cpp's verbose_json; what stands there of tokens is here of words."""
    name = LANGUAGES.get(t.language, t.language)
    timed = not wanted.get("no_timestamps")
    body: dict[str, Any] = {
        "task": "translate" if wanted.get("translate") else "transcribe",
        "language": name,
        "duration": t.duration,
        "text": lines(segments),
        "segments": [_segment(i, s, timed) for i, s in enumerate(segments)],
    }
    if not wanted.get("no_language_probabilities"):
        body["detected_language"] = name
        body["detected_language_probability"] = t.language_probability
        body["language_probabilities"] = {code: p for code, p in t.language_probs.items() if p > RARE}
    return body


def _segment(i: int, s: Segment, timed: bool) -> dict[str, Any]:
    times = {"start": s.start, "end": s.end} if timed else {}
    words = [
        {
            "word": w.word,
            **({"start": w.start, "end": w.end, "t_dtw": -1} if timed else {}),
            "probability": w.probability,
        }
        for w in s.words or ()
    ]
    return {
        "id": i,
        "text": said(s),
        **times,
        "tokens": list(s.tokens),
        "words": words,
        "temperature": s.temperature,
        "avg_logprob": s.avg_logprob,
        "no_speech_prob": s.no_speech_prob,
    }
