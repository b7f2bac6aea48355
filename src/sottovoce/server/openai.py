"""OpenAI's audio routes. Source: openai-python resources/audio (3.3.1)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from sottovoce import request as wishes
from sottovoce.server.failures import Kind, RequestError
from sottovoce.server.house import Asked, House
from sottovoce.server.uploads import Upload

router = APIRouter(prefix="/v1/audio", tags=["audio"])


@router.post("/transcriptions")
async def transcriptions(request: Request) -> dict[str, Any]:
    house: House = request.app.state.house
    async with house.uploads.form(request) as form:
        file = form.get("file")
        if not isinstance(file, Upload):
            raise RequestError("file: nothing was given, a recording was expected", Kind(400), "file")
        asked = Asked(str(form.get("model") or house.config.model), wishes.Request.of({}))
        return {"text": (await house.transcript(asked, file.path)).text.strip()}
