"""A server on the loopback that publishes as OpenAI does, a file whose URL carries its hash; with faults on demand."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sottovoce.model.catalogue import Card, find

WEIGHTS = b"PK\x03\x04" + bytes(range(256)) * 12_000  # 3 MB that look like a .pt
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Publisher(ThreadingHTTPServer):
    """Serves WEIGHTS. cut_at: break the connection once after so many bytes; gate: hold the second half until set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body = WEIGHTS
        self.cuts: list[int] = []
        self.refusals: list[int] = []  # statuses, of the first so many questions
        self.ranges = True
        self.gate: threading.Event | None = None
        self.half_way = threading.Event()
        self.asked: list[str | None] = []

    @property
    def card(self) -> Card:
        tiny = find("tiny")
        assert tiny is not None
        url = f"http://127.0.0.1:{self.server_port}/models/{SHA256}/tiny.pt"
        return replace(tiny, url=url, sha256=SHA256, size_bytes=len(WEIGHTS))


class Answer(BaseHTTPRequestHandler):
    server: Publisher

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.refusals:
            self.send_error(self.server.refusals.pop(0))
            return
        body, start = self.server.body, 0
        if asked and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = self.server.cuts.pop(0) if self.server.cuts else len(body)
        try:
            if self.server.gate and not start:
                half = len(body) // 2
                self.wfile.write(body[:half])
                self.server.half_way.set()
                self.server.gate.wait(30)
                start = half
            self.wfile.write(body[start:end])
        except ConnectionError:  # the client was killed: that is the scenario
            pass
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def files_of(tmp_path: Path) -> list[str]:
    names = (p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return sorted(str(p.relative_to(tmp_path / "cache/sottovoce/models")) for p in names)
