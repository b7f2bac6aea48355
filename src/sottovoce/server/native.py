"""Our own route, for our own command: a recording in, and line by line what becomes known of it, without loss.

POST /v1/transcripts   form: options (JSON: the keywords of `Whisper.transcribe`), model, file
200, application/x-ndjson, one of these a line; an empty line now and then says that it goes on:
    {"opened": Opened} {"heard": Heard} {"known": Known} {"transcript": Transcript} {"error": ..., "kind": class}
GET  /v1/transcripts   {"sottovoce": version}: so a client knows that it may ask here
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.datastructures import UploadFile

from sottovoce import request as wishes
from sottovoce.errors import OptionError
from sottovoce.flow.protocol import Event, Heard, Known, Opened
from sottovoce.server.failures import Kind, RequestError, body, told
from sottovoce.server.house import Asked, House
from sottovoce.text.formats import Transcript
from sottovoce.text.packed import pack

router = APIRouter(prefix="/v1", tags=["transcripts"])

PING_S = 5.0
NAMES = {Opened: "opened", Heard: "heard", Known: "known", Transcript: "transcript"}
REFUSED = ("on_segment", "on_progress")  # functions


@dataclass(frozen=True, slots=True)
class Here:
    """That this is a sottovoce, and which."""

    sottovoce: str


@router.get("/transcripts")
async def here(request: Request) -> Here:
    """That this server knows the route below."""
    return Here(request.app.version)


@router.post("/transcripts", response_class=StreamingResponse)
async def transcripts(request: Request) -> StreamingResponse:
    """A recording in, and line by line what becomes known of it (JSON, without loss); the transcript comes last."""
    house: House = request.app.state.house
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError("file: nothing was given, a recording was expected", Kind(400), "file")
        asked = Asked(str(form.get("model") or house.config.model), _request(form.get("options")))
        kept = await asyncio.to_thread(tempfile.NamedTemporaryFile)
        try:
            while block := await file.read(1 << 20):
                await asyncio.to_thread(kept.write, block)
            await asyncio.to_thread(kept.flush)
            run = house.run(asked, Path(kept.name))
            first = await anext(run)  # what fails before anything is known has a status of its own
        except BaseException:
            kept.close()
            raise

    async def lines() -> AsyncGenerator[str, None]:
        try:
            async with aclosing(run):
                yield _line(first)
                async for line in _pinged(run):
                    yield line
        finally:
            kept.close()

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


async def _pinged(run: AsyncGenerator[Event | Transcript, None]) -> AsyncGenerator[str, None]:
    """The lines of a run; an empty one wherever there was none for PING_S. An error is its last."""
    while True:
        step = asyncio.ensure_future(anext(run))
        try:
            while not step.done():
                await asyncio.wait([step], timeout=PING_S)
                if not step.done():
                    yield "\n"
        finally:
            if not step.done():
                step.cancel()
                await asyncio.wait([step])
        try:
            said = step.result()
        except StopAsyncIteration:
            return
        except Exception as e:
            kind, message, param = told(e)
            yield json.dumps({**body(kind, message, param), "kind": type(e).__name__}) + "\n"
            return
        yield _line(said)


def _line(said: Event | Transcript) -> str:
    return f'{{"{NAMES[type(said)]}":{pack(said)}}}\n'


def _request(given: Any) -> wishes.Request:
    """From JSON. A client names no file of this machine: recordings of known speakers come along, in base64."""
    try:
        options = json.loads(given) if isinstance(given, str) else {}
        if not isinstance(options, dict):
            raise ValueError("an object was expected")
    except ValueError as e:
        raise OptionError(f"options: what was given is no JSON of an object ({e}); leave it out") from e
    for name in REFUSED:
        if options.pop(name, None) is not None:
            raise OptionError(f"{name}: a function was given, which cannot be sent; leave it out")
    if isinstance(options.get("replacements"), str):
        raise OptionError(
            "replacements: a text was given, a list of from=to was expected; files are read where you are"
        )
    try:
        known = options.get("known_speakers") or {}
        options["known_speakers"] = {str(who): base64.b64decode(sound, validate=True) for who, sound in known.items()}
    except (binascii.Error, ValueError, TypeError, AttributeError) as e:
        raise OptionError("known_speakers: recordings in base64, by name, were expected; leave it out") from e
    return wishes.Request.of(options)
