"""What happens in the house is counted, timed and traced: one Watch a process, one Seen for each recording."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import StrEnum

from sottovoce import metrics as m
from sottovoce.engine.load import Change, Presence
from sottovoce.engine.loop import Asked as AskedWindow
from sottovoce.flow.cutting import span_of
from sottovoce.flow.protocol import Event, Known
from sottovoce.metrics import Metrics, Reading
from sottovoce.server import record as records
from sottovoce.server.freshness import Origin
from sottovoce.server.gpus import Gpus
from sottovoce.server.recent import Recent
from sottovoce.server.record import Record
from sottovoce.server.tracing import Traces
from sottovoce.text.formats import Transcript
from sottovoce.types import Answer, Decode, Window

BEAT_S = 0.05  # between two looks at the event loop
CANCELLED = (asyncio.CancelledError, GeneratorExit)


class Phase(StrEnum):
    """Where a recording is on its way."""

    QUEUE = "queue"
    LOAD = "load"
    READ = "read"
    TRANSCRIBE = "transcribe"
    FORMAT = "format"


class Watch:
    """Counts of one process. Metrics may be counted on any thread; all else is the event loop's.

    census, n_waiting, ready, cache_bytes: how the house tells what is looked at; it sets them.
    """

    def __init__(
        self,
        traces: Traces | None = None,
        *,
        log_text: bool = False,
        gpus: Gpus | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.traces = traces or Traces()
        self.log_text, self.gpus, self.clock = log_text, gpus or Gpus(), clock
        self.metrics = Metrics(self.readings)
        self.census: Callable[[], list[Presence]] = list
        self.n_waiting: Callable[[], int] = lambda: 0
        self.ready: Callable[[], bool] = lambda: False
        self.cache_bytes: Callable[[], int | None] = lambda: None
        self.info: tuple[str, str, str, str] | None = None  # version, model, device, compute
        self.began_s = clock()
        self.n_requests = self.n_recordings = 0  # under way
        self.lags_s, self.answers_s, self.waits_s = Recent(clock), Recent(clock), Recent(clock)
        self.firsts_s, self.factors, self.audio_s = Recent(clock), Recent(clock), Recent(clock)
        self.requests_s, self.failures = Recent(clock), Recent(clock)
        self._beating: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Feel the event loop's pulse, until `close`."""
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def close(self) -> None:
        """Stop, and send what is left of the traces."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        await asyncio.to_thread(self.traces.close)

    # --- what happens -----------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[Seen]:
        """While open, a recording is in the house. What leaves through it, ends it."""
        seen, record = Seen(self), records.current()
        self.n_recordings += 1
        try:
            yield seen
        except CANCELLED:
            seen.end(record, "withdrawn")
            raise
        except Exception:
            seen.end(record, "failed")
            raise
        else:
            # who has what he asked for may close the way to it
            seen.end(record, "withdrawn" if seen.transcript is None else "answered")
        finally:
            self.n_recordings -= 1

    def answered(self, record: Record) -> None:
        """A request has ended."""
        status = f"{record.status // 100}xx"
        model = self.metrics.few("model", record.model)
        self.metrics.count(m.REQUESTS, record.route, record.method, status, model)
        self.metrics.observe(m.REQUEST_SECONDS, record.took_s, record.route)
        self.requests_s.add(record.took_s)
        if record.status >= 400:
            code = "client_closed_request" if record.status == 499 else record.code or str(record.status)
            self.metrics.count(m.REJECTED, self.metrics.few("reason", code))
        if record.status >= 500:
            self.failures.add(1)

    def formatted(self, record: Record) -> None:
        """An answer begins: since its transcript was there it was put into form."""
        if record.answered_s is not None:
            took_s = self.clock() - record.answered_s
            self.metrics.observe(m.PHASE_SECONDS, took_s, Phase.FORMAT)
            self.traces.past(Phase.FORMAT, record.span, took_s, {})

    def changed(self, change: Change) -> None:
        """A model came or went. On any thread."""
        model = self.metrics.few("model", change.name)
        if change.what == "unloaded":
            self.metrics.count(m.MODEL_UNLOADS, model)
            return
        self.metrics.count(m.MODEL_LOADS, model, change.what)
        if change.what == "loaded":
            self.metrics.observe(m.MODEL_LOAD_SECONDS, change.took_s, model)

    def decoder_restarted(self, reason: str) -> None:
        """A child that reads media was replaced. reason: crashed, timeout, memory or the like."""
        self.metrics.count(m.DECODER_RESTARTS, self.metrics.few("decoder", reason))

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            late_s = max(0.0, loop.time() - due_s)
            self.metrics.observe(m.LOOP_LAG_SECONDS, late_s)
            self.lags_s.add(late_s)

    # --- what is looked at ------------------------------------------------------------------------------------------

    def readings(self) -> Iterator[Reading]:
        """What the house, its models and its machine are like now. It takes locks and asks drivers: in a thread."""
        yield Reading(m.READY, float(self.ready()))
        if self.info is not None:
            yield Reading(m.INFO, 1.0, self.info)
        yield Reading(m.REQUESTS_RUNNING, self.n_requests)
        yield Reading(m.RECORDINGS_RUNNING, self.n_recordings)
        yield Reading(m.RECORDINGS_WAITING, self.n_waiting())
        if (n_bytes := self.cache_bytes()) is not None:
            yield Reading(m.CACHE_BYTES, n_bytes)
        census = self.census()
        yield Reading(m.MODELS_AWAKE, sum(p.state == "awake" for p in census))
        yield from self._of_models(census)
        for gpu in self.gpus.read():
            told = {
                m.GPU_UTILISATION: gpu.busy,
                m.GPU_MEMORY_USED: gpu.used_bytes,
                m.GPU_MEMORY: gpu.n_bytes,
                m.GPU_TEMPERATURE: gpu.celsius,
                m.GPU_POWER: gpu.watts,
            }
            yield from (Reading(metric, v, (str(gpu.index),)) for metric, v in told.items() if v is not None)

    def _of_models(self, census: Iterable[Presence]) -> Iterator[Reading]:
        """One reading a model: a name may be loaded twice, in two precisions."""
        sums: dict[tuple[m.Metric, tuple[str, ...]], float] = defaultdict(float)
        for p in census:
            model, load = self.metrics.few("model", p.name), p.load
            for metric, value in (
                (m.MODEL_BYTES, p.n_bytes),
                (m.MODEL_HELD, p.n_held),
                (m.ROWS, load.n_rows),
                (m.ROWS_USED, load.n_rows_used),
                (m.SLOTS, load.n_slots),
                (m.SLOTS_USED, load.n_slots_used),
                (m.WINDOWS_RUNNING, load.n_running),
                (m.WINDOWS_WAITING, load.n_waiting),
                (m.ENGINE_STEPS, load.n_steps),
                (m.ENGINE_BUSY_SECONDS, load.busy_s),
                (m.ENGINE_ENCODE_SECONDS, load.encode_s),
            ):
                sums[metric, (model,)] += value
            ended = {"answered": load.n_answered, "failed": load.n_failed, "withdrawn": load.n_withdrawn}
            for outcome, n in ended.items():
                sums[m.ENGINE_WINDOWS, (model, outcome)] += n
        yield from (Reading(metric, value, labels) for (metric, labels), value in sums.items())


class Seen:
    """One recording on its way. Its first lines say what the house calls, in the order in which it does."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._metrics = watch, watch.metrics
        self.began_s = watch.clock()
        self.model, self.cache, self.wait_s, self.first_s = "", "", 0.0, -1.0
        self.transcript: Transcript | None = None
        record = records.current()
        self._above = None if record is None else record.span
        self._span = self._above  # of the phase that it is in
        self._tried: dict[str, set[float]] = {}

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """While open, it is in this phase."""
        watch, began_s = self._watch, self._watch.clock()
        self._span = span = watch.traces.begin(phase, self._above)
        failed = ""
        try:
            yield
        except BaseException as e:
            failed = type(e).__name__
            raise
        finally:
            took_s = watch.clock() - began_s
            self._span = self._above
            self._metrics.observe(m.PHASE_SECONDS, took_s, phase)
            watch.traces.end(span, failed=failed)
            if phase is Phase.QUEUE:
                self.wait_s += took_s
                watch.waits_s.add(took_s)

    def named(self, model: str) -> None:
        """This model transcribes it: one that exists, for its name becomes a label."""
        self.model = self._metrics.few("model", model)

    def found(self, origin: str) -> None:
        """Where it came from among the results (freshness.Origin); counted once."""
        if not self.cache:
            self._metrics.count(m.CACHE_LOOKUPS, origin)
        self.cache = origin

    def asked(self, window: Window, future: Future[Answer]) -> None:
        """One of its windows is on its way through the engine."""
        if isinstance(window.ask, Decode):
            self._tried.setdefault(window.key, set()).add(window.ask.search.temperature)
        span, model, ask = self._span, self.model, window.ask

        def ended(future: Future[Answer]) -> None:
            timing = future.timing if isinstance(future, AskedWindow) and not future.cancelled() else None
            if timing is None:
                return
            kept = self._metrics
            kept.observe(m.WINDOW_SECONDS, timing.waited_s, model, "wait")
            if timing.cold:
                kept.observe(m.WINDOW_SECONDS, timing.encode_s, model, "encode")
            kept.observe(m.WINDOW_SECONDS, timing.decode_s, model, "decode")
            kept.count(m.TOKENS, model, by=timing.n_tokens)
            attributes: dict[str, str | int | float | bool] = {
                "sottovoce.window.kind": type(ask).__name__.lower(),
                "sottovoce.window.wait_s": timing.waited_s,
                "sottovoce.window.encode_s": timing.encode_s,
                "sottovoce.window.decode_s": timing.decode_s,
                "sottovoce.window.encoded": timing.cold,
                "sottovoce.window.tokens": timing.n_tokens,
            }
            if isinstance(ask, Decode):
                attributes["sottovoce.window.temperature"] = ask.search.temperature
                attributes["sottovoce.window.rows"] = ask.search.n_rows
            took_s = timing.waited_s + timing.encode_s + timing.decode_s
            self._watch.traces.past("window", span, took_s, attributes)

        future.add_done_callback(ended)

    def saw(self, event: Event | Transcript) -> None:
        """This became known of it."""
        if self.first_s < 0 and ((isinstance(event, Known) and event.segments) or isinstance(event, Transcript)):
            self.first_s = self._watch.clock() - self.began_s
        if isinstance(event, Transcript):
            self.transcript = event

    def end(self, record: Record | None, outcome: str) -> None:
        """It has left the house."""
        watch, kept, transcript = self._watch, self._metrics, self.transcript
        now_s = watch.clock()
        work_s = now_s - self.began_s - self.wait_s
        kept.count(m.RECORDINGS, self.model, "answered" if transcript is not None else outcome)
        if record is not None:
            record.model, record.cache = self.model, self.cache
            record.wait_s += self.wait_s
            record.n_recordings += 1
        if transcript is None:
            return
        audio_s, is_new = transcript.duration, self.cache not in (Origin.HIT, Origin.SHARED)
        kept.count(m.AUDIO_SECONDS, self.model, by=audio_s)
        kept.observe(m.ANSWER_SECONDS, now_s - self.began_s, self.model)
        kept.observe(m.FIRST_SEGMENT_SECONDS, self.first_s, self.model)
        watch.answers_s.add(now_s - self.began_s)
        watch.firsts_s.add(self.first_s)
        watch.audio_s.add(audio_s)
        if is_new:
            self._judge(transcript)
        if is_new and audio_s > 0:
            kept.observe(m.REAL_TIME_FACTOR, work_s / audio_s, self.model)
            watch.factors.add(work_s / audio_s)
        if record is not None:
            record.audio_s += audio_s
            record.first_s = self.first_s if record.first_s is None else min(self.first_s, record.first_s)
            record.answered_s = now_s
            if is_new:
                record.work_s = (record.work_s or 0.0) + work_s
            if watch.log_text:
                record.text = (record.text or "") + transcript.text

    def _judge(self, transcript: Transcript) -> None:
        """Windows by outcome, and speech without text by reason."""
        kept = self._metrics
        for outcome, n in outcomes(self._tried, transcript).items():
            kept.count(m.WINDOWS, self.model, outcome, by=n)
        for dropped in transcript.dropped:
            reason = kept.few("dropped", dropped.reason.replace(" ", "_"))
            kept.count(m.DROPPED_SPANS, reason)
            kept.count(m.DROPPED_SECONDS, reason, by=dropped.end - dropped.start)


def outcomes(tried: dict[str, set[float]], transcript: Transcript) -> Counter[str]:
    """Windows by what became of them. tried: the temperatures that each was decoded at, by key.

    dropped: speech in it has no text, and nothing else in it has; retried: at another temperature; else passed.
    """
    found: Counter[str] = Counter()
    for key, temperatures in tried.items():
        if (span := span_of(key)) is None:
            continue
        start_s, end_s = span
        is_dropped = any(d.start < end_s and d.end > start_s for d in transcript.dropped)
        is_said = any(s.start < end_s and s.end > start_s for s in transcript.segments if s.text)
        found["dropped" if is_dropped and not is_said else "retried" if len(temperatures) > 1 else "passed"] += 1
    return found
