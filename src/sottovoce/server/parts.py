"""The parts of a form as they come: multipart/form-data, counted and limited. Knows no file, no request.

Files are passed on in pieces; fields are kept here, since they are small or refused.
"""

from __future__ import annotations

from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers

from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.serving import MB

N_FILES = 16  # of a form
N_FIELDS = 2000  # keywords are a field each
FIELD_BYTES = 8 * MB  # a known speaker's sound comes as text
FIELDS_BYTES = 32 * MB  # all of them together: they are in memory
HEADER_BYTES = 1 << 14  # of one part
BAD = Kind(400)


class Parts:
    """What a parser says, in order.

    ("begin", None), ("data", bytes) ..., ("file", (name, filename, headers)); or ("field", (name, value)).
    Raises RequestError, from within the parser.
    """

    def __init__(self) -> None:
        self.is_whole = False  # the last boundary has come
        self._said: list[tuple[str, Any]] = []
        self._n_files = self._n_fields = self._fields_bytes = 0
        self._part_begin()

    def callbacks(self) -> Any:
        """What python-multipart's parser calls."""
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in (*names, "headers_finished", "end")}

    def take(self) -> list[tuple[str, Any]]:
        """What was said since it was asked last."""
        said, self._said = self._said, []
        return said

    def _part_begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._title = self._value = b""  # of the header that is being read
        self._header_bytes = 0
        self._field = bytearray()
        self._name = ""
        self._filename: str | None = None

    def _count_header(self, n: int) -> None:
        self._header_bytes += n
        if self._header_bytes > HEADER_BYTES:
            raise RequestError(f"a part of the form has more than {HEADER_BYTES} bytes of headers; send less", BAD)

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._title += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers.append((self._title.lower(), self._value))
        self._title = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(dict(self._headers).get(b"content-disposition"))
        if b"name" not in options:
            raise RequestError("a part of the form has no name; give it one in its Content-Disposition", BAD)
        self._name = text(options[b"name"])
        self._filename = text(options[b"filename"]) if b"filename" in options else None
        if self._filename is None:
            self._n_fields += 1
            if self._n_fields > N_FIELDS:
                raise RequestError(f"the form has more than {N_FIELDS} fields; send less", BAD)
            return
        self._n_files += 1
        if self._n_files > N_FILES:
            raise RequestError(f"the form has more than {N_FILES} files; send one", BAD, "file")
        self._said.append(("begin", None))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._filename is not None:
            self._said.append(("data", data[start:end]))
            return
        self._fields_bytes += end - start
        if len(self._field) + end - start > FIELD_BYTES or self._fields_bytes > FIELDS_BYTES:
            what = f"more than {FIELD_BYTES // MB} MB in a field, or {FIELDS_BYTES // MB} in all,"
            raise RequestError(
                f"{self._name}: {what} was given; send a recording as a file", BY_STATUS[413], self._name
            )
        self._field += data[start:end]

    def _part_end(self) -> None:
        if self._filename is not None:
            self._said.append(("file", (self._name, self._filename, Headers(raw=self._headers))))
        else:
            self._said.append(("field", (self._name, text(bytes(self._field)))))

    def _end(self) -> None:
        self.is_whole = True


def text(given: bytes) -> str:
    """As UTF-8, and where it is none, byte by byte."""
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given.decode("latin-1")
