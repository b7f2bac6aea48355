"""What a request brings: its fields as texts, its recordings as files on disk, which are gone when it ends."""

from __future__ import annotations

import asyncio
import tempfile
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from fastapi import Request
from starlette.datastructures import UploadFile

from sottovoce.errors import SottovoceError
from sottovoce.server.failures import BY_STATUS, RequestError
from sottovoce.types import SAMPLE_RATE

BLOCK = 1 << 20  # bytes
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
RAW = ("application/octet-stream", "audio/*", "video/*")


@dataclass(frozen=True, slots=True)
class File:
    """A recording. field: under which it came; name: what the client calls it, "" for a raw body."""

    field: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Received:
    """fields: texts by name, those of the query too. files: in the order in which they came."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)


@asynccontextmanager
async def received(request: Request, most_bytes: float) -> AsyncGenerator[Received]:
    """A request's fields and files. Raises RequestError if it is too large, or of another kind."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if int(request.headers.get("content-length") or 0) > most_bytes:
        raise _too_large(most_bytes)
    got = Received()
    for name, value in request.query_params.multi_items():
        got.fields.setdefault(name, []).append(value)
    with tempfile.TemporaryDirectory(prefix="sottovoce-") as folder:
        if kind in FORMS:
            async with request.form(max_part_size=BLOCK) as parts:
                for name, part in parts.multi_items():
                    if isinstance(part, UploadFile):
                        path = Path(folder) / str(len(got.files))
                        await _write(path, _blocks(part), most_bytes)
                        got.files.append(File(name, part.filename or "", path))
                    else:
                        got.fields.setdefault(name, []).append(part)
        elif not kind or kind == RAW[0] or kind.startswith(("audio/", "video/")):
            path = Path(folder) / "0"
            if await _write(path, request.stream(), most_bytes):
                got.files.append(File("", "", path))
        else:
            what = f"{kind[:80]!r} was given, multipart/form-data or a recording itself (audio/*) was expected"
            raise RequestError(f"content-type: {what}", BY_STATUS[415])
        yield got


@contextmanager
def told_of(file: File) -> Iterator[None]:
    """Errors about a file name it as the client does, and not its place on this disk."""
    try:
        yield
    except SottovoceError as e:
        name = repr(file.name) if file.name else "the recording"
        e.args = (str(e).replace(repr(str(file.path)), name).replace(str(file.path), name), *e.args[1:])
        raise


def as_wave(file: File) -> File:
    """A file of raw samples (16 bits, little-endian, 16 kHz, mono) as a WAV file beside it."""
    there = file.path.with_name(file.path.name + ".wav")
    with file.path.open("rb") as raw, wave.open(str(there), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        while block := raw.read(BLOCK):
            out.writeframesraw(block[: len(block) // 2 * 2])
    return replace(file, path=there)


async def _blocks(part: UploadFile) -> AsyncIterator[bytes]:
    while block := await part.read(BLOCK):
        yield block


async def _write(path: Path, blocks: AsyncIterator[bytes], most_bytes: float) -> int:
    n_bytes = 0
    with path.open("wb") as out:
        async for block in blocks:
            n_bytes += len(block)
            if n_bytes > most_bytes:
                raise _too_large(most_bytes)
            await _put(out, block)
    return n_bytes


async def _put(out: IO[bytes], block: bytes) -> None:
    if len(block) < BLOCK // 4:  # a copy into the page cache is cheaper than a way to another thread
        out.write(block)
    else:
        await asyncio.to_thread(out.write, block)


def _too_large(most_bytes: float) -> RequestError:
    what = f"at most {most_bytes / 1e6:g} MB are taken; send less, or raise --max-upload-mb"
    return RequestError(f"the request is too large: {what}", BY_STATUS[413])
