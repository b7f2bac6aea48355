"""OpenAI's audio routes. Source: openai-python resources/audio (3.3.1); what fields mean: fields.py."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from sottovoce.errors import AudioError
from sottovoce.flow.protocol import Event
from sottovoce.server import answers, described, forms, streaming
from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.server.fields import IGNORED, wanted
from sottovoce.server.house import Asked, House
from sottovoce.serving import MB
from sottovoce.text.formats import Transcript

router = APIRouter(prefix="/v1/audio", tags=["audio"])
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
INVALID = Kind(400, code="invalid_audio")
BLOCK = 1 << 20  # bytes
MOST_FIELD_BYTES = 4 << 20  # a voice of ten seconds in base64
MOST_FIELDS = 200
Answer = answers.Transcription | answers.TranscriptionVerbose | answers.TranscriptionDiarized


@dataclass(frozen=True, slots=True)
class Given:
    """A request's fields by name, and its recording on disk."""

    fields: dict[str, Any]
    path: Path


@router.post(
    "/transcriptions",
    response_model=Answer,
    responses=described.texts("The transcript, in the format that was asked for"),
    openapi_extra=described.body(),
)
async def transcriptions(request: Request) -> Response:
    """The words of a recording, as they are spoken."""
    return await _answered(request, translates=False)


@router.post(
    "/translations",
    response_model=Answer,
    responses=described.texts("The translation, in the format that was asked for"),
    openapi_extra=described.body(translates=True),
)
async def translations(request: Request) -> Response:
    """The words of a recording, in English."""
    return await _answered(request, translates=True)


async def _answered(request: Request, translates: bool) -> Response:
    house: House = request.app.state.house
    async with AsyncExitStack() as stack:
        got = await stack.enter_async_context(given(request, house))
        ignores = house.serving.unknown_fields == "ignore"
        want = wanted(got.fields, translates=translates, ignores_unknown=ignores)
        await house.named(want.name)  # an unknown model is told before anything is decoded
        asked = Asked(want.name or house.config.model, want.request)
        headers = {IGNORED: ", ".join(want.ignored).encode("ascii", "replace").decode()} if want.ignored else {}
        if want.stream:
            run = await stack.enter_async_context(aclosing(streaming.ahead(_run(house, asked, got.path))))
            first = await anext(run)  # what fails before anything is said has a status
            tokenizer = await house.tokenizer(asked.model) if want.logprobs else None
            return streaming.EventStream(streaming.told(first, run, want, tokenizer), headers, stack.pop_all())
        async with aclosing(_run(house, asked, got.path)) as run:
            transcript = [said async for said in run][-1]
        assert isinstance(transcript, Transcript), "a flow ends with its transcript"
        tokenizer = await house.tokenizer(asked.model) if want.logprobs else None
        body, media = await asyncio.to_thread(answers.rendered, transcript, want, tokenizer)
        return Response(body, media_type=media, headers=headers)


async def _run(house: House, asked: Asked, path: Path) -> AsyncGenerator[Event | Transcript, None]:
    """As House.run; what is wrong with the recording is wrong with a field, and where it lies here is not told."""
    try:
        async with aclosing(house.run(asked, path)) as run:
            async for said in run:
                yield said
    except AudioError as e:
        param, colon, _ = str(e).partition(":")
        if not (colon and param.startswith("known_speaker_references")):
            param = "file"
        message = str(e).replace(f"{str(path)!r}: ", "").replace(str(path), "the recording")
        message = message if message.startswith(f"{param}:") else f"{param}: {message}"
        raise RequestError(message, INVALID, param) from e


@asynccontextmanager
async def given(request: Request, house: House) -> AsyncGenerator[Given]:
    """A request's fields, and its recording, which is gone at the end. Raises RequestError, OptionError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if int(request.headers.get("content-length") or 0) > house.serving.max_upload_mb * MB:
        what = f"at most {house.serving.max_upload_mb:g} MB are taken; send less, or raise --max-upload-mb"
        raise RequestError(f"file: the request is too large, {what}", BY_STATUS[413], "file")
    if kind not in FORMS:
        what = f"{kind[:80]!r} was given, multipart/form-data was expected; send the recording as its field file"
        raise RequestError(f"content-type: {what}", BY_STATUS[415])
    async with request.form(max_files=2, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES) as form:
        files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
        others = [name for name, part in form.multi_items() if isinstance(part, UploadFile) and name != "file"]
        fields = forms.gathered((name, part) for name, part in form.multi_items() if isinstance(part, str))
        if others:
            raise RequestError(f"{others[0]}: a file was given, it was expected as file", Kind(400), others[0])
        if "url" in fields and not files:
            raise RequestError("url: fetching is off in this service; send the recording as file", Kind(400), "url")
        if len(files) != 1 or "file" in fields:
            what = f"{len(files)} recordings were given, one was expected; send it as a file of the form"
            raise RequestError(f"file: {what}", Kind(400), "file")
        with tempfile.NamedTemporaryFile(prefix="sottovoce-") as kept:
            await asyncio.to_thread(shutil.copyfileobj, files[0].file, kept, BLOCK)
            kept.flush()
            if kept.tell() == 0:
                raise RequestError("file: it is empty, a recording was expected; send another", INVALID, "file")
            yield Given(fields, Path(kept.name))
