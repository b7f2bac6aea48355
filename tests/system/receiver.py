"""A receiver of traces: OTLP over HTTP, as a collector takes them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver(ThreadingHTTPServer):
    """Keeps the spans that it is sent. bodies: as they came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.came = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Any]:
        with self.came:
            requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for r in requests for resource in r.resource_spans for scope in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    def wait_for(self, trace_id: str, name: str, timeout_s: float = 20.0) -> list[Any]:
        """The spans of a trace, once one of this name is among them."""
        with self.came:
            found: list[Any] = []

            def is_there() -> bool:
                found[:] = [s for s in self.spans if s.trace_id.hex() == trace_id]
                return any(s.name == name for s in found)

            assert self.came.wait_for(is_there, timeout_s), f"no span {name}; there are {[s.name for s in found]}"
            return found


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        with self.server.came:
            self.server.paths.append(self.path)
            self.server.bodies.append(body)
            self.server.came.notify_all()

    def log_message(self, format: str, *args: Any) -> None:
        pass
