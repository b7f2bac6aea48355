"""Traces of requests, sent by OTLP over HTTP where a receiver is named. OpenTelemetry is spoken here alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sottovoce.errors import ConfigError

log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | float | bool]
TIMEOUT_S = 5.0  # of one export


class Traces:
    """Keeps none; the interface of those that are sent. Any thread may call. A span is what `begin` gave."""

    def begin(self, name: str, parent: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """A span that begins now, under another one or under what `traceparent` among the headers names."""
        return None

    def end(self, span: Any, attributes: Attributes | None = None, failed: str = "") -> None:
        """It ends now. failed: why, if it did."""

    def past(self, name: str, parent: Any, took_s: float, attributes: Attributes) -> None:
        """A span that ends now, and began so long ago."""

    def id_of(self, span: Any) -> str:
        """The 32 hexadecimal digits of a span's trace; "" if none is kept."""
        return ""

    def close(self) -> None:
        """Send what is left. It may wait for the receiver."""


class SentTraces(Traces):
    """Traces that go to a receiver, in batches, from a thread of their own. url: as `--otlp`."""

    def __init__(self, url: str, version: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as e:
            raise ConfigError("otlp: traces were asked for; run: pip install 'sottovoce[tracing]'") from e
        resource = Resource.create({"service.name": "sottovoce", "service.version": version})
        self._api, self._propagator = trace, TraceContextTextMapPropagator()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint(url), timeout=TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sottovoce", version)

    def begin(self, name: str, parent: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        kind = self._api.SpanKind.SERVER if headers is not None else self._api.SpanKind.INTERNAL
        context = None
        if parent is not None:
            context = self._api.set_span_in_context(parent)
        elif headers is not None:
            context = self._propagator.extract(dict(headers))
        return self._tracer.start_span(name, context=context, kind=kind)

    def end(self, span: Any, attributes: Attributes | None = None, failed: str = "") -> None:
        if span is None:
            return
        if attributes:
            span.set_attributes(attributes)
        if failed:
            span.set_status(self._api.StatusCode.ERROR, failed)
        span.end()

    def past(self, name: str, parent: Any, took_s: float, attributes: Attributes) -> None:
        now_ns = time.time_ns()
        context = self._api.set_span_in_context(parent) if parent is not None else None
        began_ns = now_ns - round(took_s * 1e9)
        span = self._tracer.start_span(name, context=context, attributes=dict(attributes), start_time=began_ns)
        span.end(now_ns)

    def id_of(self, span: Any) -> str:
        return "" if span is None else format(span.get_span_context().trace_id, "032x")

    def close(self) -> None:
        self._provider.shutdown()


def endpoint(url: str) -> str:
    """Where traces are sent: a receiver's address without a path means its /v1/traces. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"otlp: {url!r} was given, a URL was expected, such as http://localhost:4318")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/traces"


def open_traces(url: str, version: str) -> Traces:
    """Traces that go to this receiver; without one, none. Raises ConfigError."""
    return SentTraces(url, version) if url else Traces()
