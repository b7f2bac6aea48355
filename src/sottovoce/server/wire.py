"""How long and how large the head of a request may be, which no application gets to see. Knows no route.

uvicorn times a connection between two requests only, and counts no header: without this, a client that says nothing
keeps its connection for ever, and one that never ends its headers fills the memory.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 1 << 16  # as uvicorn's other parser has it


def patient(head_s: float) -> type[HttpToolsProtocol]:
    """A protocol for uvicorn's setting `http`, that waits so long for the head of a request."""

    class Patient(HttpToolsProtocol):
        """One connection. _n: bytes of a head that is not whole yet. _has_head: and its body is not."""

        _n = 0
        _has_head = False
        _giving_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            if self._giving_up is None and not self._has_head:
                self._begin()
            self._n += len(data)
            super().data_received(data)
            if self._giving_up is not None and self._n > HEAD_BYTES and not self.transport.is_closing():
                self._end()
                self.send_400_response("The head of the request is too large.")

        def on_headers_complete(self) -> None:
            self._end()
            self._has_head = True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._has_head = False
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end()
            super().connection_lost(exc)

        def _begin(self) -> None:
            self._n = 0
            self._giving_up = self.loop.call_later(head_s, self._give_up)

        def _end(self) -> None:
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None

        def _give_up(self) -> None:
            self._giving_up = None
            if not self.transport.is_closing():
                self.transport.close()

    return Patient
