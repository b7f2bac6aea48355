"""Recordings without asking for their words: where somebody speaks, and when given words are said."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sottovoce.audio import vad
from sottovoce.request import Request as Wish
from sottovoce.server import document, wishes
from sottovoce.server.aims import Aim
from sottovoce.server.house import Asked, House
from sottovoce.server.received import RAW, received, told_of
from sottovoce.server.simple import MEDIA, WRITTEN, one, together, written
from sottovoce.types import SAMPLE_RATE

router = APIRouter(prefix="/v1/audio", tags=["audio"])

MS = 3_600_000
SPANS = (
    wishes.number("threshold", 0, 1, "speech begins at this probability", default=0.5),
    wishes.number("neg_threshold", 0, 1, "and ends below this one; 0.15 less if left out"),
    wishes.number("min_speech_duration_ms", 0, MS, "shorter spans are dropped", default=0),
    wishes.number("max_speech_duration_s", 0, MS, "longer spans are cut in a pause"),
    wishes.number("min_silence_duration_ms", 0, MS, "shorter pauses end no span", default=2000),
    wishes.number("speech_pad_ms", 0, MS, "added on either side", default=400),
)
SPAN = document.object_of({"start": {"type": "number"}, "end": {"type": "number"}})
SPEECH = document.object_of(
    {
        "duration": {"type": "number", "description": "seconds of the recording"},
        "speech": {"type": "number", "description": "seconds in which somebody speaks"},
        "spans": {"type": "array", "items": SPAN, "description": "in order of time, seconds"},
    }
)
TEXT = replace(
    wishes.text("text", "what is said: each line is a segment of the answer", maxLength=1_000_000), required=True
)
FORMAT = wishes.choice("format", [f for f in MEDIA if f != "diarized_json"], "how it is written", default="json")
ALIGNING = (wishes.MODEL, TEXT, wishes.LANGUAGE, FORMAT)


@router.post(
    "/vad",
    response_class=Response,
    responses=document.answers({document.JSON: SPEECH}, "Where somebody speaks"),
    openapi_extra=document.takes(document.form(SPANS, {"file": "a recording"}, ["file"]), SPANS, RAW),
)
async def speech(request: Request) -> Response:
    """Where somebody speaks: spans of seconds. Needs no model."""
    house: House = request.app.state.house
    async with received(request, house.uploads) as got:
        options = vad.VadOptions(**wishes.values(SPANS, got.fields, house.serving.unknown_fields, got.queried))
        file = one(got)
        with told_of(file):
            samples = await house.samples(file.path, Wish())
        spans = await asyncio.to_thread(found, samples, options)
    seconds = [{"start": s.start / SAMPLE_RATE, "end": s.end / SAMPLE_RATE} for s in spans]
    spoken = sum(s.end - s.start for s in spans) / SAMPLE_RATE
    return JSONResponse({"duration": len(samples) / SAMPLE_RATE, "speech": spoken, "spans": seconds})


@router.post(
    "/align",
    response_class=Response,
    responses=document.answers(WRITTEN, "The text with the times of its segments and words"),
    openapi_extra=document.takes(
        document.form(ALIGNING, {"file": "a recording"}, ["file"]), [replace(f, required=False) for f in ALIGNING]
    ),
)
async def align(request: Request) -> Response:
    """When each word of a given text is said. What nobody says of it is in `missing`."""
    house: House = request.app.state.house
    async with received(request, house.uploads) as got:
        wanted = wishes.values(ALIGNING, got.fields, house.serving.unknown_fields, got.queried)
        format, text = wanted.pop("format", "json"), wanted.pop("text")
        model = wanted.pop("model", house.config.model)
        asked = Asked(model, wishes.request_of(wanted), Aim.ALIGNMENT, text)
        aligned = await together(house, asked, [one(got)])
    return written(aligned, format)


def found(samples: np.ndarray, options: vad.VadOptions) -> list[vad.Span]:
    """Spans of speech, heard as decoding hears them."""
    return vad.spans(np.concatenate(list(vad.fresh_blocks(samples))), len(samples), options)
