"""Every metric: its name, labels, unit and buckets; and the counters themselves. Knows no request and no route.

Labels have few values, which this program or whoever runs it has chosen: no text, file name or key of a user.
prometheus_client is opened when the first `Metrics` is made, so that who does not serve can do without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SPANS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)  # of work
LAGS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
LOADS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
FACTORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MOST_VALUES = 32  # of a label that is a model's name; who comes later is "other"
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Metric:
    """kind: counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric's value at one moment, for what is looked at when somebody asks and not counted as it happens."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"sottovoce_{name}_total", "counter", help, labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"sottovoce_{name}", "gauge", help, labels)


def _histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(f"sottovoce_{name}", "histogram", help, labels, buckets)


# Requests
REQUESTS = _counter(
    "requests", "Answered requests by class of status; hang-ups are 4xx", *("route", "method", "status", "model")
)
REQUEST_SECONDS = _histogram("request_seconds", "From a request's first byte to its answer's last", SPANS_S, "route")
REQUESTS_RUNNING = _gauge("requests_running", "Requests that are being answered")
REJECTED = _counter("rejected", "Requests that ended in an error, by its code", "reason")
# Recordings
RECORDINGS = _counter("recordings", "Recordings by outcome: answered, failed or withdrawn", "model", "outcome")
RECORDINGS_RUNNING = _gauge("recordings_running", "Recordings in the house, those that wait included")
RECORDINGS_WAITING = _gauge("recordings_waiting", "Recordings that wait for their turn")
AUDIO_SECONDS = _counter("audio_seconds", "Seconds of the recordings that were answered", "model")
ANSWER_SECONDS = _histogram("answer_seconds", "From a recording's arrival to its transcript", SPANS_S, "model")
FIRST_SEGMENT_SECONDS = _histogram(
    "first_segment_seconds", "From a recording's arrival to its first text", SPANS_S, "model"
)
REAL_TIME_FACTOR = _histogram(
    "real_time_factor_ratio", "Seconds of work, waiting left out, for a second of sound", FACTORS, "model"
)
PHASE_SECONDS = _histogram(
    "phase_seconds", "A recording's way: queue, load (a model), read (the file), transcribe, format", SPANS_S, "phase"
)
# Windows
WINDOWS = _counter(
    "windows", "Windows by outcome: passed at once, retried at another temperature, or dropped", "model", "outcome"
)
WINDOW_SECONDS = _histogram(
    "window_seconds", "A window's way through the engine: wait, encode, decode", SPANS_S, "model", "part"
)
TOKENS = _counter("tokens", "Tokens that were sampled for answers", "model")
DROPPED_SPANS = _counter("dropped_spans", "Spans of speech that have no text, by reason", "reason")
DROPPED_SECONDS = _counter("dropped_seconds", "Seconds of speech that have no text, by reason", "reason")
# Engine
ROWS = _gauge("rows", "Rows that a model decodes together", "model")
ROWS_USED = _gauge("rows_used", "Rows in use", "model")
SLOTS = _gauge("slots", "Slots for sounds", "model")
SLOTS_USED = _gauge("slots_used", "Slots in use", "model")
WINDOWS_RUNNING = _gauge("windows_running", "Windows that are being decoded", "model")
WINDOWS_WAITING = _gauge("windows_waiting", "Windows that wait for a slot or a row", "model")
ENGINE_STEPS = _counter("engine_steps", "Steps of the engine", "model")
ENGINE_BUSY_SECONDS = _counter("engine_busy_seconds", "Seconds in which the engine computed", "model")
ENGINE_ENCODE_SECONDS = _counter("engine_encode_seconds", "Those of them that were spent in the encoder", "model")
ENGINE_WINDOWS = _counter(
    "engine_windows", "Questions about windows: answered, failed or withdrawn", "model", "outcome"
)
# Models
MODELS_AWAKE = _gauge("models_awake", "Models that are awake")
MODEL_BYTES = _gauge("model_bytes", "Memory that a model takes on each of its devices", "model")
MODEL_HELD = _gauge("model_held", "Requests that hold a model, or wait for it to load", "model")
MODEL_LOADS = _counter("model_loads", "Loads of a model: loaded or failed", "model", "outcome")
MODEL_UNLOADS = _counter("model_unloads", "How often a model was put to sleep", "model")
MODEL_LOAD_SECONDS = _histogram("model_load_seconds", "From the wish for a model to its known clip", LOADS_S, "model")
# What is remembered, and what is read
CACHE_LOOKUPS = _counter("cache_lookups", "Looks into the results: hit, miss, shared (in flight), bypass", "result")
CACHE_BYTES = _gauge("cache_bytes", "Size of the results on this disk")
DECODER_RESTARTS = _counter("decoder_restarts", "Children that read media and had to be replaced, by reason", "reason")
# The process
INFO = _gauge("info", "1; what serves is in the labels", "version", "model", "device", "compute")
READY = _gauge("ready", "1 if the served model has decoded the known clip, else 0")
LOOP_LAG_SECONDS = _histogram("loop_lag_seconds", "How late the event loop wakes who sleeps", LAGS_S)
GPU_UTILISATION = _gauge("gpu_utilisation_ratio", "Share of time in which a GPU computed", "gpu")
GPU_MEMORY_USED = _gauge("gpu_memory_used_bytes", "Memory of a GPU in use, by anybody", "gpu")
GPU_MEMORY = _gauge("gpu_memory_bytes", "Memory of a GPU", "gpu")
GPU_TEMPERATURE = _gauge("gpu_temperature_celsius", "Temperature of a GPU", "gpu")
GPU_POWER = _gauge("gpu_power_watts", "Power that a GPU draws", "gpu")

TABLE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
# of prometheus_client's own, under the names that every dashboard knows
BORROWED = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
)

Read = Callable[[], Iterable[Reading]]


class Metrics:
    """What was counted in one process. Any thread may count, and ask. read: what is looked at when somebody asks."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, read: Read | None = None) -> None:
        import prometheus_client as prometheus

        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each of ours
        self._registry = prometheus.CollectorRegistry()
        self._names: dict[str, set[str]] = {}
        self._read: Read = read or (lambda: ())
        kinds: dict[str, Callable[..., Any]] = {"counter": prometheus.Counter, "histogram": prometheus.Histogram}
        self._kept: dict[str, Any] = {}
        for m in TABLE:
            if m.kind in kinds and m not in LOOKED_AT:
                more = {"buckets": m.buckets} if m.buckets else {}
                self._kept[m.name] = kinds[m.kind](m.name, m.help, m.labels, registry=self._registry, **more)
        self._registry.register(_Looked(lambda: self._read()))
        prometheus.ProcessCollector(registry=self._registry)

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        self._of(metric, labels).inc(by)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        self._of(metric, labels).observe(value)

    def few(self, what: str, name: str) -> str:
        """A name as a label's value, or "other" if there are too many of what it names."""
        names = self._names.setdefault(what, set())
        if name not in names and len(names) >= MOST_VALUES:
            return OTHER
        names.add(name)
        return name

    def total(self, metric: Metric, **labels: str) -> float:
        """The sum over all series of a counter, or the number of a histogram's values, that have these labels."""
        suffix = "_count" if metric.kind == "histogram" else ""
        samples = (s for family in self._kept[metric.name].collect() for s in family.samples)
        wanted = labels.items()
        return float(sum(s.value for s in samples if s.name == metric.name + suffix and wanted <= s.labels.items()))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format. It looks at the process and its devices: not for the event loop."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        kept = self._kept[metric.name]
        return kept.labels(*labels) if metric.labels else kept


class _Looked:
    """What is not counted but looked at, as prometheus_client wants it."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, Any] = {}
        for r in self._read():
            m = r.metric
            if m.name not in families:
                kind = CounterMetricFamily if m.kind == "counter" else GaugeMetricFamily
                families[m.name] = kind(m.name, m.help, labels=m.labels)
            families[m.name].add_metric(r.labels, r.value)
        yield from families.values()


LOOKED_AT = frozenset(m for m in TABLE if m.kind == "gauge" or m.name.startswith("sottovoce_engine_"))
