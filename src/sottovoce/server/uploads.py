"""What a request brings, kept on disk while it is needed: forms with files, bodies that are files. Knows no sound.

A process has a folder of its own; what a killed one left behind is taken away by the next.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import BinaryIO, cast
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.requests import ClientDisconnect, Request

from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.server.parts import BAD, FIELD_BYTES, N_FIELDS, Parts
from sottovoce.serving import MB

log = logging.getLogger(__name__)

PREFIX = "sottovoce-serve-"  # of folders; the number of the process follows
BLOCK_BYTES = 1 << 19  # written at once, in a thread
GONE = Kind(400, code="client_disconnected")
NO_ROOM = Kind(507, "server_error", "disk_full", retry_after_s=30)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Upload(UploadFile):
    """A file of a form, on disk. path: where, until the form is closed."""

    def __init__(self, kept: Kept, filename: str, headers: Headers) -> None:
        super().__init__(kept.path.open("rb"), size=kept.n_bytes, filename=filename, headers=headers)
        self.path = kept.path


class Kept:
    """A file that is being written, never by the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_bytes = 0
        self._file = cast(BinaryIO, path.open("xb", buffering=0))
        self._waiting = bytearray()

    async def add(self, data: bytes) -> None:
        """Write what comes next. Raises RequestError if the disk is full."""
        self.n_bytes += len(data)
        self._waiting += data
        if len(self._waiting) >= BLOCK_BYTES:
            await self._write()

    async def finish(self) -> None:
        """Write the rest. Raises RequestError if the disk is full."""
        await self._write()
        self._file.close()

    async def _write(self) -> None:
        block, self._waiting = self._waiting, bytearray()
        try:
            await asyncio.to_thread(_write_all, self._file, block)
        except OSError as e:
            if e.errno not in FULL:
                raise
            log.error("%s is full: an upload of more than %d bytes was refused", self.path.parent, self.n_bytes)
            raise RequestError("there is no room left for uploads here; try again later", NO_ROOM) from e

    def drop(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class Uploads:
    """The folder of one server."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._n = 0

    async def open(self) -> None:
        """Make the folder, and take those away whose server was killed."""
        self._folder = await asyncio.to_thread(_opened)

    async def close(self) -> None:
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "uploads are kept in an open house"
        return self._folder

    @asynccontextmanager
    async def room(self) -> AsyncIterator[Kept]:
        """A new file, which goes when the context ends."""
        self._n += 1
        try:
            kept = Kept(self.folder / str(self._n))
        except OSError as e:
            raise RequestError("there is no room left for uploads here; try again later", NO_ROOM) from e
        try:
            yield kept
        finally:
            asyncio.get_running_loop().run_in_executor(None, kept.drop)

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[Path]:
        """A request's whole body as a file. Raises RequestError."""
        async with self.room() as kept:
            with _gone():
                async for data in request.stream():
                    await kept.add(data)
            await kept.finish()
            yield kept.path

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[FormData]:
        """The fields of a form; its files are `Upload`s. As starlette's Request.form. Raises RequestError."""
        given = request.headers.get("content-type", "")
        kind, options = parse_options_header(given)
        async with AsyncExitStack() as stack:
            if kind == b"application/x-www-form-urlencoded":
                form = await _of_text(request)
            elif kind == b"multipart/form-data":
                boundary = options.get(b"boundary")
                if not boundary:
                    raise RequestError("Content-Type: a form without a boundary was given; let your client set it", BAD)
                form = await self._of_parts(request, boundary, stack)
            else:
                expected = "multipart/form-data was expected; in curl, use -F"
                raise RequestError(f"Content-Type: {given or 'nothing'} was given, {expected}", BY_STATUS[415])
            stack.push_async_callback(form.close)
            yield form

    async def _of_parts(self, request: Request, boundary: bytes, stack: AsyncExitStack) -> FormData:
        parts = Parts()
        items: list[tuple[str, UploadFile | str]] = []
        kept: Kept | None = None
        with _gone(), _readable():
            parser = MultipartParser(boundary, parts.callbacks())
            async for data in request.stream():
                parser.write(data)
                for what, value in parts.take():
                    match what:
                        case "begin":
                            kept = await stack.enter_async_context(self.room())
                        case "data":
                            assert kept is not None
                            await kept.add(value)
                        case "file":
                            assert kept is not None
                            await kept.finish()
                            upload = Upload(kept, value[1], value[2])
                            stack.callback(upload.file.close)  # also where the form never comes to its end
                            items.append((value[0], upload))
                        case "field":
                            items.append(value)
        if not parts.is_whole:
            raise RequestError(
                "the form ends in the middle of a part, its last boundary was expected; send it again", BAD
            )
        return FormData(items)


async def _of_text(request: Request) -> FormData:
    """The fields of a form without files, as in a URL."""
    data = bytearray()
    with _gone():
        async for piece in request.stream():
            data += piece
            if len(data) > FIELD_BYTES:
                what = f"a form without files of more than {FIELD_BYTES // MB} MB was given"
                raise RequestError(f"{what}; send files as multipart/form-data", BY_STATUS[413])
    try:
        return FormData([*parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=N_FIELDS)])
    except ValueError as e:
        raise RequestError(f"the form cannot be read ({e}); send multipart/form-data", BAD) from e


def _write_all(file: BinaryIO, data: bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ClientDisconnect as e:
        raise RequestError("the client left before its request was whole", GONE) from e


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FormParserError as e:
        raise RequestError(f"the form cannot be read ({e}); let your client make it", BAD) from e


def _opened() -> Path:
    """A folder of this process. Those of processes that are no more go."""
    home = Path(tempfile.gettempdir())
    for folder in home.glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not _is_running(int(pid)) and _is_ours(folder):
            log.info("%s was left behind by a server that was killed, and is taken away", folder)
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))


def _is_ours(folder: Path) -> bool:
    state = folder.lstat()
    return S_ISDIR(state.st_mode) and (not hasattr(os, "getuid") or state.st_uid == os.getuid())


def _is_running(pid: int) -> bool:
    if os.name == "nt":
        return True  # where asking by a signal would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
