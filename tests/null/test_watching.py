"""The watch without a model: counts and times of recordings, what is looked at, the last minute, GPUs."""

from __future__ import annotations

import asyncio
import logging
import random
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from sottovoce import metrics as m
from sottovoce.engine.load import Change, Load, Presence, Timing
from sottovoce.engine.loop import Asked
from sottovoce.errors import AudioError
from sottovoce.flow.protocol import Known
from sottovoce.server import record as records
from sottovoce.server.freshness import Origin
from sottovoce.server.gpus import Gpus
from sottovoce.server.recent import Recent, quantile
from sottovoce.server.record import Record
from sottovoce.server.watching import Phase, Watch, outcomes
from sottovoce.text.formats import Dropped, Transcript
from sottovoce.types import Answer, Decode, Decoded, Search, Segment, Sound, Window

from .dolls import Clock


def a_segment(start: float, end: float, text: str = " so") -> Segment:
    return Segment(0, 0, start, end, text, (), 0.0, -0.1, 1.0, 0.0)


def a_transcript(duration_s: float = 10.0, *, text: str = " so", dropped: tuple[Dropped, ...] = ()) -> Transcript:
    return Transcript(text, (a_segment(0.0, 2.0, text),), "en", duration_s, dropped=dropped)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    return Watch(clock=clock, gpus=Gpus(SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 0)))


# --- recordings -----------------------------------------------------------------------------------------------------


def test_a_recording_is_timed_on_its_way(watch: Watch, clock: Clock) -> None:
    record = Record("id", "POST", 0.0)
    token = records.enter(record)
    with watch.recording() as seen:
        assert watch.n_recordings == 1
        with seen.phase(Phase.QUEUE):
            clock.now_s += 3
        seen.named("base")
        seen.found("miss")
        with seen.phase(Phase.TRANSCRIBE):
            clock.now_s += 1
            seen.saw(Known((), 1.0))
            seen.saw(Known((a_segment(0, 1),), 2.0))
            clock.now_s += 1
            seen.saw(a_transcript(10.0, dropped=(Dropped(4.0, 6.5, "no words"), Dropped(8.0, 9.0, "no words"))))
    records.leave(token)
    kept = watch.metrics
    assert kept.total(m.RECORDINGS, model="base", outcome="answered") == 1
    assert kept.total(m.AUDIO_SECONDS) == 10.0
    assert kept.total(m.DROPPED_SPANS, reason="no_words") == 2
    assert kept.total(m.DROPPED_SECONDS, reason="no_words") == 3.5
    assert kept.total(m.CACHE_LOOKUPS, result="miss") == 1
    assert kept.total(m.PHASE_SECONDS) == 2
    assert (record.model, record.wait_s, record.first_s, record.work_s) == ("base", 3.0, 4.0, 2.0)
    assert record.factor == 0.2, "waiting is no work"
    assert (watch.waits_s.values(), watch.factors.values()) == ([3.0], [0.2])
    assert record.text is None


@pytest.mark.parametrize("origin", list(Origin))
def test_what_was_remembered_was_no_work(watch: Watch, origin: Origin) -> None:
    with watch.recording() as seen:
        seen.named("base")
        seen.found(origin)
        seen.found(origin)
        seen.saw(a_transcript(dropped=(Dropped(4.0, 6.5, "no words"),)))
    was_decoded = origin in (Origin.MISS, Origin.BYPASS)
    kept = watch.metrics
    assert kept.total(m.RECORDINGS, outcome="answered") == 1
    assert kept.total(m.CACHE_LOOKUPS, result=origin) == 1, "counted once"
    assert kept.total(m.REAL_TIME_FACTOR) == was_decoded
    assert kept.total(m.DROPPED_SPANS) == was_decoded, "they are counted where it is decoded"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(AudioError("x"), "failed"), (asyncio.CancelledError(), "withdrawn"), (GeneratorExit(), "withdrawn")],
)
def test_a_recording_ends_in_one_of_three_ways(watch: Watch, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)), watch.recording():
        raise error
    assert watch.metrics.total(m.RECORDINGS) == watch.metrics.total(m.RECORDINGS, outcome=outcome) == 1
    assert watch.n_recordings == 0


def test_who_closes_the_way_after_the_transcript_has_been_answered(watch: Watch) -> None:
    with pytest.raises(GeneratorExit), watch.recording() as seen:
        seen.saw(a_transcript())
        raise GeneratorExit
    assert watch.metrics.total(m.RECORDINGS, outcome="answered") == 1


def test_windows_are_timed_by_what_the_engine_says(watch: Watch) -> None:
    with watch.recording() as seen:
        seen.named("base")
        for temperature, cold in ((0.0, True), (0.2, False)):
            future = Asked()
            ask = Decode((1,), search=Search(temperature=temperature))
            seen.asked(Window("7:0+300", Sound(), ask), future)
            future.timing = Timing(0.5, 0.25, 1.0, cold, 12)
            future.set_result(Decoded((1,), -0.5))
        left: Future[Answer] = Asked()
        seen.asked(Window("7:300+300", Sound(), Decode((1,))), left)
        left.cancel()
        seen.saw(a_transcript())
    kept = watch.metrics
    assert kept.total(m.TOKENS, model="base") == 24
    assert kept.total(m.WINDOW_SECONDS, part="wait") == kept.total(m.WINDOW_SECONDS, part="decode") == 2
    assert kept.total(m.WINDOW_SECONDS, part="encode") == 1, "only a cold sound is encoded"
    assert kept.total(m.WINDOWS, outcome="retried") == 1


def test_outcomes_of_windows() -> None:
    tried = {
        "1:0+300": {0.0},  # said
        "1:300+300": {0.0, 0.2},  # decoded again
        "1:600+300": {0.0, 0.2},  # nothing of it was kept
        "1:900+300": {0.0},  # silence: nobody spoke
        "known": {0.0},  # no piece of a recording
    }
    transcript = Transcript(
        "", (a_segment(0, 2.9), a_segment(3.2, 5.0)), "en", 12.0, dropped=(Dropped(6.5, 8.0, "repeated words"),)
    )
    assert outcomes(tried, transcript) == {"passed": 2, "retried": 1, "dropped": 1}


# --- what is looked at ----------------------------------------------------------------------------------------------


def test_the_engine_and_the_pool_are_looked_at(watch: Watch) -> None:
    load = Load(32, 4, 20, 3, 3, 7, n_steps=9, busy_s=2.5, encode_s=1.5, n_answered=6, n_withdrawn=1)
    watch.census = lambda: [
        Presence("base", "awake", 2, 100, ("cpu",), load),
        Presence("base", "loading", 1, 50, ("cuda:0",), Load()),
    ]
    watch.n_waiting, watch.ready = lambda: 5, lambda: True
    watch.changed(Change("base", "loaded", 2.0))
    watch.changed(Change("base", "failed"))
    watch.changed(Change("base", "unloaded"))
    text = watch.metrics.text().decode()
    for line in (
        'sottovoce_rows_used{model="base"} 4.0',
        'sottovoce_slots_used{model="base"} 3.0',
        'sottovoce_windows_waiting{model="base"} 7.0',
        'sottovoce_engine_busy_seconds_total{model="base"} 2.5',
        'sottovoce_engine_windows_total{model="base",outcome="withdrawn"} 1.0',
        'sottovoce_model_bytes{model="base"} 150.0',
        "sottovoce_models_awake 1.0",
        "sottovoce_recordings_waiting 5.0",
        "sottovoce_ready 1.0",
        'sottovoce_model_loads_total{model="base",outcome="failed"} 1.0',
        'sottovoce_model_unloads_total{model="base"} 1.0',
        'sottovoce_model_load_seconds_sum{model="base"} 2.0',
    ):
        assert line in text.splitlines(), line
    assert "gpu" not in "".join(line for line in text.splitlines() if not line.startswith("#"))


class Nvml:
    """NVIDIA's library as it is on a machine with two GPUs, of which the second tells neither power nor use."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, i: int) -> int:
        return i

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"NVIDIA H200"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle == 1:
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=10, total=40)

    def nvmlDeviceGetTemperature(self, handle: int, which: int) -> int:
        return 55

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self.nvmlDeviceGetUtilizationRates(handle).gpu * 1000


def test_gpus_are_told_as_far_as_they_tell(clock: Clock) -> None:
    watch = Watch(gpus=Gpus(Nvml()), clock=clock)
    lines = watch.metrics.text().decode().splitlines()
    assert 'sottovoce_gpu_utilisation_ratio{gpu="0"} 0.37' in lines
    assert 'sottovoce_gpu_memory_used_bytes{gpu="1"} 10.0' in lines
    assert 'sottovoce_gpu_power_watts{gpu="0"} 37.0' in lines
    assert not [line for line in lines if line.startswith('sottovoce_gpu_utilisation_ratio{gpu="1"')]


def test_a_machine_without_a_driver_has_no_gpus_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Driverless(Nvml):
        def nvmlInit(self) -> None:
            raise self.NVMLError("driver not loaded")

    with caplog.at_level(logging.INFO):
        assert Gpus(Driverless()).read() == []
    assert caplog.records == []


def test_the_pulse_feels_a_loop_that_is_held(watch: Watch) -> None:
    """Somebody computes for a fifth of a second on the event loop: the lag says so."""

    async def hold() -> None:
        import time

        watch.open()
        await asyncio.sleep(0.06)
        time.sleep(0.2)
        await asyncio.sleep(0.06)
        await watch.close()

    asyncio.run(hold())
    assert max(watch.lags_s.values()) >= 0.1
    assert watch.metrics.total(m.LOOP_LAG_SECONDS) == len(watch.lags_s.values()) >= 2


def test_the_last_minute_forgets(clock: Clock) -> None:
    recent = Recent(clock, horizon_s=60)
    for _ in range(10):
        recent.add(clock.now_s)
        clock.now_s += 10
    assert recent.values() == [40, 50, 60, 70, 80, 90]


def test_quantiles_are_values_that_were_seen() -> None:
    """Beside its definition: the smallest value that at least so many of them do not exceed."""
    rng = random.Random(1)
    assert quantile([], 0.5) is None
    for n in range(1, 120):
        values = [rng.choice((1.0, 2.0, 5.0)) * rng.randrange(1, 50) for _ in range(n)]
        for share in (0.5, 0.9, 0.95, 0.99, 1.0):
            slow = min(v for v in values if sum(w <= v for w in values) >= round(share * n, 9))
            assert quantile(values, share) == slow
