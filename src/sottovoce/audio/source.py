"""What a recording may be read from: paths, URLs, bytes, pipes -> an open container. Knows nothing of its samples.

A recording may open nothing but itself: local files are read by us and handed over as bytes, and a playlist in
disguise is refused by FFmpeg's protocol whitelist. Only an http(s) URL may lead to further http(s) URLs.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO, TextIOBase
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import av
import av.error
import numpy as np

from sottovoce.errors import AudioError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | np.ndarray

OPEN_TIMEOUT_S = 15.0  # until a URL has answered and shown what it holds
READ_TIMEOUT_S = 30.0  # until more of it comes
READ_BYTES = 1 << 16  # asked of a file at once
HEAD_BYTES = 1 << 10  # of a pipe: as many tell what it is
BOXES = (b"ftyp", b"free", b"skip", b"wide", b"uuid")  # of an mp4, that stand before index and sound
URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")  # two letters or more: C:\ is a path
URL_PROTOCOLS = "http,https,tcp,tls,httpproxy,crypto"
NO_PROTOCOLS = "none"  # the name of no protocol: FFmpeg takes an empty list for no limit
KINDS = "a media file such as wav, mp3, m4a, ogg, flac, webm or mp4 was expected"


@contextmanager
def opened(source: Source) -> Iterator[Any]:
    """An open container with at least one audio stream. Whatever FFmpeg says against it becomes an AudioError."""
    name = name_of(source)
    with ExitStack() as stack:
        url = isinstance(source, str) and URL.match(source)
        if url:
            container = _open_url(str(source), url[1].lower(), name)
        else:
            container = _open_file(stack.enter_context(_file(source, name)), name)
        stack.enter_context(container)
        if not container.streams.audio:
            kinds = sorted({s.type for s in container.streams})
            held = f"only {' and '.join(kinds)} was found, no sound" if kinds else "it holds no stream at all"
            raise AudioError(f"{name}: {held}; {KINDS}, with an audio stream")
        for track in container.streams.audio:
            if track.codec_context is None:
                raise AudioError(f"{name}: no decoder knows its sound, {KINDS}; convert it")
        yield container


def _open_url(url: str, scheme: str, name: str) -> Any:
    if scheme not in ("http", "https"):
        raise AudioError(
            f"{name}: a URL of {scheme} was given, http or https was expected; pass a path for local files"
        )
    options = {"protocol_whitelist": URL_PROTOCOLS, "tls_verify": "1"}
    authorities = ssl.get_default_verify_paths().cafile
    if authorities:
        options["ca_file"] = authorities  # FFmpeg would look where its builder kept them
    try:
        return av.open(
            url, container_options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), metadata_errors="replace"
        )
    except av.error.InvalidDataError as e:
        raise AudioError(f"{name}: what the URL serves is not media; {KINDS}") from e
    except av.error.ExitError as e:
        raise AudioError(f"{name}: no answer came within {OPEN_TIMEOUT_S:g} s; check the URL, or try again") from e
    except (av.error.FFmpegError, OSError) as e:
        raise AudioError(f"{name}: the URL could not be opened ({why(e)}); check it in a browser") from e


def _open_file(file: _Bytes, name: str) -> Any:
    options = {"protocol_whitelist": NO_PROTOCOLS}
    try:
        return av.open(file, container_options=options, buffer_size=READ_BYTES, metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as e:
        if not file.any:
            raise AudioError(f"{name}: it is empty (0 bytes), {KINDS}; check how it was made") from e
        raise AudioError(f"{name}: it is not media that FFmpeg understands ({why(e)}), {KINDS}") from e


@contextmanager
def _file(source: Source, name: str) -> Iterator[_Bytes]:
    if isinstance(source, (str, os.PathLike)):
        try:
            file = open(source, "rb")  # noqa: SIM115  (closed below)
        except FileNotFoundError as e:
            raise AudioError(f"{name}: there is no such file; check the path") from e
        except IsADirectoryError as e:
            raise AudioError(f"{name}: a folder was given, a recording was expected; name a file in it") from e
        except PermissionError as e:
            raise AudioError(f"{name}: the file may not be read by this user; change its permissions") from e
        except (OSError, ValueError) as e:
            raise AudioError(f"{name}: the file could not be opened ({e}); check the path") from e
        with file:
            yield _Bytes(file)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield _Bytes(BytesIO(source))
    elif isinstance(source, TextIOBase):
        raise AudioError(f"{name}: it was opened as text, a binary file was expected; open it with mode 'rb'")
    elif hasattr(source, "read"):
        given = _Bytes(source)
        if given.seekable() or not _index_is_last(given.head(HEAD_BYTES)):
            yield given
            return
        with TemporaryFile() as whole:
            try:
                while data := given.read(READ_BYTES):
                    whole.write(data)
                whole.seek(0)
            except OSError as e:
                remedy = "set TMPDIR to a folder with room, or pass the recording as a file"
                raise AudioError(f"{name}: it could not be kept in a temporary file ({why(e)}); {remedy}") from e
            yield _Bytes(whole)
    else:
        expected = "a path, an http(s) URL, bytes, a binary file object or samples were expected"
        raise AudioError(f"{name} was given, {expected}")


def _index_is_last(head: bytes) -> bool:
    """Does an mp4, m4a or mov begin so, whose index comes after its sound? It cannot be decoded before it is whole."""
    at = 0
    while (kind := head[at + 4 : at + 8]) in BOXES:
        at += max(8, int.from_bytes(head[at : at + 4]))
    return kind == b"mdat"


class _Bytes:
    """A binary file as PyAV wants it: it begins where the caller left it, and seeks only if it can."""

    def __init__(self, file: Any) -> None:
        self.any = False
        self._file = file
        self._head = b""  # read already, and to be read again
        self._seekable = bool(getattr(file, "seekable", lambda: hasattr(file, "seek"))())
        self._start = file.tell() if self._seekable else 0

    def seekable(self) -> bool:
        return self._seekable

    def head(self, n: int) -> bytes:
        """The first n bytes, or as many as there are, of a file that cannot seek and was not read from yet."""
        data = b""
        while len(data) < n and (more := self.read(n - len(data))):
            data += more
        self._head = data
        return data

    def read(self, n: int) -> bytes:
        if self._head:
            data, self._head = self._head[:n], self._head[n:]
            return data
        data = self._file.read(n)
        if not isinstance(data, bytes):
            raise AudioError(f"the file object gave {type(data).__name__}, bytes were expected; open it with mode 'rb'")
        self.any = self.any or bool(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            self._file.seek(offset + self._start if whence == os.SEEK_SET else offset, whence)
        except (OSError, ValueError):  # before the beginning
            return -errno.EINVAL  # as FFmpeg's own files say it
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell()) - self._start


def name_of(source: Source) -> str:
    """What messages call a source. A URL loses its user and query: they hold secrets."""
    if isinstance(source, str) and URL.match(source):
        try:
            parts = urlsplit(source)
        except ValueError:
            return "a URL"
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if isinstance(source, (str, os.PathLike)):
        return repr(os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{type(source).__name__} of length {len(source)}"
    name = getattr(source, "name", None)
    return repr(name) if isinstance(name, str) else f"an object of type {type(source).__name__}"


def is_at_hand(source: Source) -> bool:
    """Whether reading it ends by itself. A pipe or a device may stay silent for ever; URLs have a time limit."""
    if isinstance(source, str) and URL.match(source):
        return True
    if isinstance(source, (str, os.PathLike)):
        return not os.path.exists(source) or os.path.isfile(source)
    return not hasattr(source, "read")


def why(e: BaseException) -> str:
    """The reason that FFmpeg or the system gives, in one line."""
    return str(getattr(e, "strerror", None) or e).splitlines()[0]


def duration_s(container: Any, track: Any) -> float | None:
    """How long a stream says it is; None if it does not."""
    if track.duration and track.time_base:
        return float(track.duration * track.time_base)
    return container.duration / 1e6 if container.duration else None  # FFmpeg counts containers in microseconds
