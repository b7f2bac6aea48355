"""The one-line microservice: recordings in, their text out; and in which language they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sottovoce.server import document, wishes
from sottovoce.server.aims import Aim
from sottovoce.server.failures import Kind, RequestError
from sottovoce.server.house import Asked, House
from sottovoce.server.received import RAW, File, Received, as_wave, received, told_of
from sottovoce.text.formats import WRITABLE, Transcript
from sottovoce.text.languages import LANGUAGES

router = APIRouter(tags=["simple"])

MOST_FILES = 100  # of one form
N_TOGETHER = 8  # of them at once: a form takes no more places than a few clients would
MEDIA = {
    "json": "application/json",
    "diarized_json": "application/json",
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "tsv": "text/tab-separated-values",
    "ass": "text/x-ssa",
    "lrc": "text/plain",
    "csv": "text/csv",
    "md": "text/markdown",
}
FORMAT = wishes.choice("format", WRITABLE, "how the transcript is written; left out: the text alone, in JSON")
FIELDS = (wishes.MODEL, FORMAT, *wishes.OPTIONS)
ENCODE = wishes.flag("encode", "false: the file is raw samples, 16 bits, little-endian, 16 kHz, mono", default=True)
HEARING = (
    wishes.MODEL,
    wishes.several("languages", wishes.WORD, "the only ones that may be spoken"),
    wishes.whole("language_detection_segments", 1, 100, "windows that may be listened to"),
    wishes.number("language_detection_threshold", 0, 1, "from which probability on one window is enough"),
    ENCODE,
)
TEXTS = document.object_of({"text": {"type": "array", "items": {"type": "string"}}})
HEARD = document.object_of(
    {
        "language": {"type": "string", "description": "its code"},
        "name": {"type": "string", "description": "in English"},
        "probability": {"type": "number"},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}, "description": "by code"},
        "detected_language": {"type": "string", "description": "name, as whisper-asr-webservice calls it"},
        "language_code": {"type": "string", "description": "language, likewise"},
        "confidence": {"type": "number", "description": "probability, likewise"},
    }
)
WRITTEN: dict[str, Any] = {kind: None for kind in MEDIA.values()} | {document.JSON: {"type": "object"}}


@router.post(
    "/transcribe",
    response_class=Response,
    responses=document.answers(WRITTEN, "The text of each recording, or the transcript as it was wished for"),
    openapi_extra=document.takes(
        document.form(FIELDS, {"file[]": "recordings, under any name; decoded together"}, ["file"]), FIELDS, RAW
    ),
)
async def transcribe(request: Request) -> Response:
    """The text of a recording, or of several: a form with files, or the recording itself as the body.

    {"text": ["..."]}; with `format` the transcript in it, for several recordings a list of them under that name.
    """
    house: House = request.app.state.house
    async with received(request, house.uploads) as got:
        wanted = wishes.values(FIELDS, got.fields, house.serving.unknown_fields, got.queried)
        format = wanted.pop("format", None)
        if format == "diarized_json":
            wanted["diarize"] = True
        model = wanted.pop("model", house.config.model)
        found = await together(house, Asked(model, wishes.request_of(wanted)), some(got))
    return written(found, format)


@router.post(
    "/detect-language",
    response_class=Response,
    responses=document.answers({document.JSON: HEARD}, "The language that is spoken"),
    openapi_extra=document.takes(document.form(HEARING, {"file": "a recording; audio_file is the same"}), HEARING, RAW),
)
async def detect_language(request: Request) -> Response:
    """The language of a recording: a form with a file, or the recording itself as the body.

    Also in the words of whisper-asr-webservice: detected_language, language_code, confidence.
    """
    house: House = request.app.state.house
    async with received(request, house.uploads) as got, AsyncExitStack() as stack:
        wanted = wishes.values(HEARING, got.fields, house.serving.unknown_fields, got.queried)
        file = one(got)
        if not wanted.pop("encode", True):
            file = await stack.enter_async_context(as_wave(file))
        model = wanted.pop("model", house.config.model)
        (t,) = await together(house, Asked(model, wishes.request_of(wanted), Aim.LANGUAGE), [file])
    name = LANGUAGES.get(t.language, t.language)
    probs = dict(t.language_probs) or {t.language: t.language_probability}
    both = {"detected_language": name, "language_code": t.language, "confidence": t.language_probability}
    ours = {"language": t.language, "name": name, "probability": t.language_probability, "probabilities": probs}
    return JSONResponse(ours | both)


def some(got: Received) -> list[File]:
    """The recordings of a request, one at least. Raises RequestError."""
    if not got.files:
        what = "nothing was given, a recording was expected; send a form with a file, or the recording as the body"
        raise RequestError(f"file: {what}", Kind(400), "file")
    if len(got.files) > MOST_FILES:
        what = f"{len(got.files)} recordings were given, {MOST_FILES} at most were expected; send them in turns"
        raise RequestError(f"file: {what}", Kind(400), "file")
    return got.files


def one(got: Received) -> File:
    """The recording of a request. Raises RequestError if there is none, or more than one."""
    files = some(got)
    if len(files) > 1:
        what = f"{len(files)} recordings were given, one was expected; send each by itself"
        raise RequestError(f"file: {what}", Kind(400), "file")
    return files[0]


async def together(house: House, asked: Asked, files: Sequence[File]) -> list[Transcript]:
    """What is asked of recordings, decoded together. The first that fails ends all. Raises as House.run."""
    places = asyncio.Semaphore(N_TOGETHER)

    async def each(file: File) -> Transcript:
        async with places:
            with told_of(file):
                return await house.transcript(asked, file.path)

    tasks = [asyncio.ensure_future(each(file)) for file in files]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # slots are free when this ends


def written(found: Sequence[Transcript], format: str | None) -> Response:
    """Transcripts as a client wants them. Raises OptionError."""
    if format is None:
        return JSONResponse({"text": [t.text.strip() for t in found]})
    if len(found) == 1:
        return Response(found[0].render(format), media_type=MEDIA[format])
    if format == "json":
        return JSONResponse({format: [t.to_dict() for t in found]})
    return JSONResponse({format: [t.render(format) for t in found]})
