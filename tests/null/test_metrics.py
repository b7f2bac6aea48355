"""Metrics: names by one rule, labels with few values, and a text that Prometheus reads."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sottovoce import metrics
from sottovoce.metrics import LOOKED_AT, MOST_VALUES, TABLE, Metric, Metrics, Reading

UNITS = ("seconds", "bytes", "ratio", "celsius", "watts")
LABELS = {"route", "method", "status", "model", "reason", "outcome", "phase", "part", "result", "gpu", "version",
          "device", "compute"}  # fmt: skip


def filled() -> Metrics:
    """Every metric has a value: 3, or 0.3 seconds and the like."""
    kept = Metrics(lambda: [Reading(m, 3.0, tuple("x" for _ in m.labels)) for m in TABLE if m in LOOKED_AT])
    for m in TABLE:
        labels = tuple("x" for _ in m.labels)
        if m.kind == "histogram":
            kept.observe(m, 0.3, *labels)
        elif m not in LOOKED_AT:
            kept.count(m, *labels, by=3)
    return kept


@pytest.mark.parametrize("metric", TABLE, ids=lambda m: m.name)
def test_names_follow_one_rule(metric: Metric) -> None:
    """sottovoce_<what>_<unit>[_total]; what is counted in things has no unit."""
    assert re.fullmatch(r"sottovoce(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert (metric.help and metric.help[0].isupper()) or metric.help[0].isdigit()
    assert set(metric.labels) <= LABELS
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS), "a histogram's values have a unit"


def test_no_name_stands_for_two_things() -> None:
    assert len({m.name for m in TABLE}) == len(TABLE)


def test_every_metric_comes_out_as_it_went_in() -> None:
    """Each of the table, counted or looked at, is parsed back by Prometheus' own reader."""
    kept = filled()
    read = {
        (s.name, frozenset(s.labels)): s.value
        for family in text_string_to_metric_families(kept.text().decode())
        for s in family.samples
    }
    for m in TABLE:
        if m.kind == "histogram":
            assert read[(m.name + "_sum", frozenset(m.labels))] == pytest.approx(0.3), m
        else:
            assert read[(m.name, frozenset(m.labels))] == 3.0, m
    assert not any(name.endswith("_created") for name, _ in read)
    if sys.platform == "linux":
        assert read[("process_resident_memory_bytes", frozenset())] > 1e6


def test_totals_add_up_over_labels() -> None:
    kept = Metrics()
    kept.count(metrics.RECORDINGS, "base", "answered")
    kept.count(metrics.RECORDINGS, "tiny", "answered", by=2)
    kept.count(metrics.RECORDINGS, "tiny", "failed")
    assert kept.total(metrics.RECORDINGS) == 4
    assert kept.total(metrics.RECORDINGS, outcome="answered") == 3
    kept.observe(metrics.PHASE_SECONDS, 1.0, "queue")
    assert kept.total(metrics.PHASE_SECONDS, phase="queue") == 1
    assert kept.total(metrics.PHASE_SECONDS, phase="read") == 0


def test_a_label_never_has_more_than_a_few_values() -> None:
    """Whoever asks for a thousand models makes no thousand series."""
    kept = Metrics()
    for i in range(1000):
        kept.count(metrics.AUDIO_SECONDS, kept.few("model", f"m{i}"))
    text = kept.text().decode()
    assert text.count("sottovoce_audio_seconds_total{") == MOST_VALUES + 1
    assert kept.few("model", "m0") == "m0"
    assert kept.few("model", "new") == "other"


def test_threads_lose_no_count() -> None:
    kept = Metrics()
    threads = [
        threading.Thread(target=lambda: [kept.count(metrics.TOKENS, "base") for _ in range(1000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.total(metrics.TOKENS) == 8000


def test_who_does_not_serve_needs_no_prometheus() -> None:
    code = "import sys; import sottovoce.metrics, sottovoce.api; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian's package prometheus) is not on PATH")
    done = subprocess.run([promtool, "check", "metrics"], input=filled().text(), capture_output=True, check=False)
    said = [line for line in (done.stdout + done.stderr).decode().splitlines() if "sottovoce" in line]
    assert (done.returncode, said) == (0, [])
