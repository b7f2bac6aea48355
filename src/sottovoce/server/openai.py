"""OpenAI's audio routes. Source: openai-python resources/audio (3.3.1); what fields mean: fields.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from sottovoce.errors import AudioError
from sottovoce.flow.protocol import Event, Opened
from sottovoce.server import answers, described, forms, streaming
from sottovoce.server.failures import Kind, RequestError
from sottovoce.server.fields import IGNORED, wanted
from sottovoce.server.house import Asked, House
from sottovoce.server.uploads import Upload
from sottovoce.text.formats import Transcript

router = APIRouter(prefix="/v1/audio", tags=["audio"])
INVALID = Kind(400, code="invalid_audio")
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
            first: Event | Transcript | None = Opened(0.0)
            while isinstance(first, Opened):  # what fails before anything is said has a status
                first = await anext(run)
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
    async with house.uploads.form(request) as form:
        files = [part for part in form.getlist("file") if isinstance(part, Upload)]
        others = [name for name, part in form.multi_items() if isinstance(part, Upload) and name != "file"]
        fields = forms.gathered((name, part) for name, part in form.multi_items() if isinstance(part, str))
        if others:
            raise RequestError(f"{others[0]}: a file was given, it was expected as file", Kind(400), others[0])
        url = fields.pop("url", None)
        if url is not None and not files and "file" not in fields:
            async with house.fetched(str(url)) as path:
                yield Given(fields, path)
            return
        if url is not None or len(files) != 1 or "file" in fields:
            what = f"{len(files)} recordings were given, one was expected; send it as a file of the form"
            raise RequestError(f"file: {what}", Kind(400), "file")
        if not files[0].size:
            raise RequestError("file: it is empty, a recording was expected; send another", INVALID, "file")
        yield Given(fields, files[0].path)
