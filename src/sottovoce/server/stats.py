"""What the service is doing: /metrics for Prometheus, /v1/stats for people and `sottovoce top`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from sottovoce import metrics as m
from sottovoce.engine.load import Presence
from sottovoce.server.gpus import Gpu
from sottovoce.server.recent import HORIZON_S, Recent, quantile
from sottovoce.server.watching import Watch

T = TypeVar("T")

router = APIRouter(tags=["watching"])


class ModelStats(BaseModel):
    """A model. state: loading, awake or leaving. held: by how many requests. encode_share: of its busy seconds."""

    name: str
    state: str
    held: int
    bytes: int
    devices: list[str]
    rows: int
    rows_used: int
    slots: int
    slots_used: int
    windows_running: int
    windows_waiting: int
    windows_answered: int
    busy_s: float
    encode_share: float | None


class Spread(BaseModel):
    """Seconds: the median, what 95 and 99 of 100 did not exceed, and the largest."""

    p50: float | None
    p95: float | None
    p99: float | None
    worst: float | None


class LastMinute(BaseModel):
    """What ended in the last minute. audio_s_per_s: throughput. rtf: seconds of work for a second of sound, median."""

    seconds: float
    requests: int
    failures: int
    recordings: int
    audio_s: float
    audio_s_per_s: float
    rtf: float | None
    request_s: Spread
    answer_s: Spread
    first_segment_s: Spread
    queue_s: Spread
    loop_lag_s: Spread


class Totals(BaseModel):
    """Since the service began."""

    requests: int
    failures: int
    rejected: int
    recordings: int
    audio_s: float
    windows: int
    windows_retried: int
    windows_dropped: int
    dropped_spans: int
    cache_hits: int
    cache_misses: int
    cache_shared: int
    model_loads: int
    model_unloads: int
    decoder_restarts: int


class ProcessStats(BaseModel):
    memory_bytes: int
    cpu_s: float
    open_files: int


class GpuStats(BaseModel):
    index: int
    name: str
    busy: float | None
    used_bytes: int | None
    bytes: int | None
    celsius: float | None
    watts: float | None


class Stats(BaseModel):
    """The service at one moment. in_flight: requests; running, waiting: recordings."""

    version: str
    uptime_s: float
    ready: bool
    model: str
    device: str
    compute: str
    in_flight: int = Field(description="requests, this one included")
    running: int
    waiting: int
    models: list[ModelStats]
    last_minute: LastMinute
    totals: Totals
    process: ProcessStats
    gpus: list[GpuStats]


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """All metrics, in Prometheus' text format."""
    watch: Watch = request.app.state.house.watch
    return Response(await aside(watch.metrics.text), media_type=m.Metrics.CONTENT_TYPE)


@router.get("/v1/stats")
async def stats(request: Request) -> Stats:
    """What the service is doing, and has done in the last minute."""
    watch: Watch = request.app.state.house.watch
    minute, under_way = _last_minute(watch), (watch.n_requests, watch.n_recordings)
    return await aside(_stats, watch, minute, *under_way)


async def aside(ask: Callable[..., T], *given: Any) -> T:
    """Run it in a thread of its own: those that all share may be busy for long, and then this is asked most."""
    with ThreadPoolExecutor(1, "sottovoce-stats") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, ask, *given)


def _stats(watch: Watch, minute: LastMinute, n_requests: int, n_recordings: int) -> Stats:
    n_waiting = watch.n_waiting()
    version, model, device, compute = watch.info or ("", "", "", "")
    return Stats(
        version=version,
        uptime_s=round(watch.clock() - watch.began_s, 3),
        ready=watch.ready(),
        model=model,
        device=device,
        compute=compute,
        in_flight=n_requests,
        running=n_recordings - n_waiting,
        waiting=n_waiting,
        models=[_model(p) for p in watch.census()],
        last_minute=minute,
        totals=_totals(watch),
        process=_process(),
        gpus=[_gpu(gpu) for gpu in watch.gpus.read()],
    )


def _model(p: Presence) -> ModelStats:
    load = p.load
    return ModelStats(
        name=p.name,
        state=p.state,
        held=p.n_held,
        bytes=p.n_bytes,
        devices=list(p.devices),
        rows=load.n_rows,
        rows_used=load.n_rows_used,
        slots=load.n_slots,
        slots_used=load.n_slots_used,
        windows_running=load.n_running,
        windows_waiting=load.n_waiting,
        windows_answered=load.n_answered,
        busy_s=round(load.busy_s, 3),
        encode_share=round(load.encode_s / load.busy_s, 3) if load.busy_s else None,
    )


def _gpu(gpu: Gpu) -> GpuStats:
    told = {f.name: getattr(gpu, f.name) for f in fields(gpu)}
    return GpuStats(**told, bytes=told.pop("n_bytes"))


def _last_minute(watch: Watch) -> LastMinute:
    """Of the event loop: what is recent is written there."""
    audio_s = watch.audio_s.values()
    seconds = max(1.0, min(HORIZON_S, watch.clock() - watch.began_s))
    return LastMinute(
        seconds=round(seconds, 1),
        requests=len(watch.requests_s.values()),
        failures=len(watch.failures.values()),
        recordings=len(audio_s),
        audio_s=round(sum(audio_s), 3),
        audio_s_per_s=round(sum(audio_s) / seconds, 3),
        rtf=_rounded(quantile(watch.factors.values(), 0.5)),
        request_s=_spread(watch.requests_s),
        answer_s=_spread(watch.answers_s),
        first_segment_s=_spread(watch.firsts_s),
        queue_s=_spread(watch.waits_s),
        loop_lag_s=_spread(watch.lags_s),
    )


def _spread(recent: Recent) -> Spread:
    values = recent.values()
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "worst": 1.0}
    return Spread(**{name: _rounded(quantile(values, share)) for name, share in shares.items()})


def _totals(watch: Watch) -> Totals:
    def n(metric: m.Metric, **labels: str) -> int:
        return round(watch.metrics.total(metric, **labels))

    return Totals(
        requests=n(m.REQUESTS),
        failures=n(m.REQUESTS, status="5xx"),
        rejected=n(m.REJECTED),
        recordings=n(m.RECORDINGS, outcome="answered"),
        audio_s=round(watch.metrics.total(m.AUDIO_SECONDS), 3),
        windows=n(m.WINDOWS),
        windows_retried=n(m.WINDOWS, outcome="retried"),
        windows_dropped=n(m.WINDOWS, outcome="dropped"),
        dropped_spans=n(m.DROPPED_SPANS),
        cache_hits=n(m.CACHE_LOOKUPS, result="hit"),
        cache_misses=n(m.CACHE_LOOKUPS, result="miss"),
        cache_shared=n(m.CACHE_LOOKUPS, result="shared"),
        model_loads=n(m.MODEL_LOADS, outcome="loaded"),
        model_unloads=n(m.MODEL_UNLOADS),
        decoder_restarts=n(m.DECODER_RESTARTS),
    )


def _process() -> ProcessStats:
    """Of this process, where the system tells: Linux does."""
    n_bytes = n_files = 0
    with suppress(OSError):
        n_bytes = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        n_files = len(list(Path("/proc/self/fd").iterdir()))
    return ProcessStats(memory_bytes=n_bytes, cpu_s=round(time.process_time(), 3), open_files=n_files)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
