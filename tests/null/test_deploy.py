"""deploy/: the dashboard asks for metrics that exist, in PromQL that is valid, and every alert has cases that hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sottovoce.metrics import BORROWED, TABLE

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "sottovoce.json").read_text("utf-8"))
RULES = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
COLUMNS = 24  # of Grafana's grid

SERIES = {
    name: set(m.labels) | ({"le"} if m.kind == "histogram" else set())
    for m in TABLE
    for name in ([f"{m.name}_{s}" for s in ("bucket", "sum", "count")] if m.kind == "histogram" else [m.name])
}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool (Debian's package prometheus) is not on PATH")
    return found


def run(*command: object, cwd: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)


def queries() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel and variable of the dashboard, and of every alert."""
    for panel in BOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])
            assert selector, variable
            yield f"variable {variable['name']}", selector[1]
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)


def plain(expr: str) -> str:
    """A query as Prometheus gets it from Grafana."""
    return expr.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


@pytest.mark.parametrize(("where", "expr"), list(queries()))
def test_queries_ask_for_series_and_labels_that_exist(where: str, expr: str) -> None:
    names = re.findall(r"\b((?:sottovoce|process)_\w+)", expr)
    assert names or expr.startswith("up{"), "a query asks for something"
    for name in names:
        assert name in SERIES or name in BORROWED, f"{name} is no metric"
    known = {"job", "instance"}.union(*(SERIES.get(name, set()) for name in names))
    grouped = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", expr) for label in by.split(",")}
    picked = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expr))
    assert grouped | picked <= known, f"labels that are not there: {(grouped | picked) - known}"


def test_the_dashboard_shows_every_metric() -> None:
    asked = " ".join(expr for _, expr in queries())
    missing = [m.name for m in TABLE if not re.search(rf"\b{m.name}(_bucket|_sum|_count)?\b", asked)]
    # whose parts the alerts and the picture of the engine have already
    assert missing == ["sottovoce_engine_windows_total"]


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    assert BOARD["schemaVersion"] >= 36
    assert BOARD["uid"] and BOARD["title"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS
        columns, lines = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(x, y) for x in columns for y in lines}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] != "row":
            check_panel(panel)


def check_panel(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("timeseries", "stat")
    assert panel["datasource"]["uid"] == "${source}", "whoever imports it chooses the source"
    assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        by = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in by.split(",")}
        assert shown <= by, f"{panel['title']}: the legend names {shown - by}, which the query sums over"


def test_every_query_is_promql(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"q:{i}", "expr": plain(expr)} for i, (_, expr) in enumerate(queries())]
    (tmp_path / "q.yml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}), "utf-8")
    done = run(promtool, "check", "rules", tmp_path / "q.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules_and_the_configuration(promtool: str) -> None:
    for check in ("rules", "alerts.yml"), ("config", "prometheus.yml"):
        done = run(promtool, "check", *check)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ring_where_they_should_and_not_elsewhere(promtool: str) -> None:
    done = run(promtool, "test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
@pytest.mark.parametrize("expr", ["vector(0) > 1", "vector(1)"], ids=["silent", "always"])
def test_no_alert_is_without_its_cases(promtool: str, tmp_path: Path, rule: dict[str, Any], expr: str) -> None:
    """A rule that never rings, or always does, must fail the cases: else they would hold for anything."""
    changed = [r | {"expr": expr, "for": "0m"} if r["alert"] == rule["alert"] else r for r in RULES]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": changed}]}), "utf-8")
    shutil.copy(DEPLOY / "alerts.test.yml", tmp_path)
    assert run(promtool, "test", "rules", "alerts.test.yml", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"] or "instance" not in rule["expr"]
    assert rule["annotations"]["action"]
