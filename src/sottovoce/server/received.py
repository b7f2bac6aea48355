"""What a request brings: its fields as texts, its recordings as files on disk, which are gone when it ends."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastapi import Request

from sottovoce.errors import SottovoceError
from sottovoce.server.failures import BY_STATUS, RequestError
from sottovoce.server.uploads import Upload, Uploads
from sottovoce.types import SAMPLE_RATE

BLOCK = 1 << 20  # bytes
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
UNNAMED = "the recording"
RAW = ("application/octet-stream", "audio/*", "video/*")


@dataclass(frozen=True, slots=True)
class File:
    """A recording. field: under which it came; name: what the client calls it, "" for a raw body."""

    field: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Received:
    """fields: texts by name, of the query too; queried: those alone. files: in the order in which they came."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    queried: dict[str, list[str]] = field(default_factory=dict)


@asynccontextmanager
async def received(request: Request, uploads: Uploads) -> AsyncGenerator[Received]:
    """A request's fields and files. Raises RequestError if it is of another kind, or its body is refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    got = Received()
    for name, value in request.query_params.multi_items():
        got.fields.setdefault(name, []).append(value)
        got.queried.setdefault(name, []).append(value)
    if kind in FORMS:
        async with uploads.form(request) as form:
            for name, part in form.multi_items():
                if isinstance(part, Upload):
                    got.files.append(File(name, part.filename or "", part.path))
                else:
                    got.fields.setdefault(name, []).append(str(part))
            yield got
    elif not kind or kind == RAW[0] or kind.startswith(("audio/", "video/")):
        async with uploads.body(request) as path:
            if (await asyncio.to_thread(path.stat)).st_size:
                got.files.append(File("", "", path))
            yield got
    else:
        what = f"{kind[:80]!r} was given, multipart/form-data or a recording itself (audio/*) was expected"
        raise RequestError(f"content-type: {what}", BY_STATUS[415])


@contextmanager
def told_of(file: File) -> Iterator[None]:
    """Errors about a file name it as the client does, and not its place on this disk."""
    try:
        yield
    except SottovoceError as e:
        said = str(e).replace(repr(str(file.path)), UNNAMED).replace(str(file.path), UNNAMED)
        if file.name and said.startswith(UNNAMED):
            said = repr(file.name) + said.removeprefix(UNNAMED)
        e.args = (said, *e.args[1:])
        raise


@asynccontextmanager
async def as_wave(file: File) -> AsyncGenerator[File]:
    """A file of raw samples (16 bits, little-endian, 16 kHz, mono) as a WAV file, while the context lasts."""
    there = file.path.with_name(file.path.name + ".wav")
    try:
        await asyncio.to_thread(_wave, file.path, there)
        yield replace(file, path=there)
    finally:
        await asyncio.to_thread(there.unlink, missing_ok=True)


def _wave(here: Path, there: Path) -> None:
    with here.open("rb") as raw, wave.open(str(there), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        while block := raw.read(BLOCK):
            out.writeframesraw(block[: len(block) // 2 * 2])
