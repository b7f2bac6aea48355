"""OpenAI's audio routes. Source: openai-python resources/audio (3.3.1)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from sottovoce import request as wishes
from sottovoce.server.failures import Kind, RequestError
from sottovoce.server.house import Asked, House

router = APIRouter(prefix="/v1/audio", tags=["audio"])


@router.post("/transcriptions")
async def transcriptions(request: Request) -> dict[str, Any]:
    house: House = request.app.state.house
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError("file: nothing was given, a recording was expected", Kind(400), "file")
        asked = Asked(str(form.get("model") or house.config.model), wishes.Request.of({}))
        with tempfile.NamedTemporaryFile() as kept:
            while block := await file.read(1 << 20):
                kept.write(block)
            kept.flush()
            return {"text": (await house.transcript(asked, Path(kept.name))).text.strip()}
