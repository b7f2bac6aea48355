"""Promises of the comparison's small parts: sides by name, joined recordings, kept results, charts."""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from bench import plot, report
from bench.joined import PAUSE_S, order
from bench.published import MAINS, ROWS
from bench.sides import SIDES, recipe, typed


def side(text: str) -> tuple[dict[str, object], dict[str, object]]:
    found = recipe(text, Path("peers"), "base", 1, 2)
    return found.load, found.options


@pytest.mark.parametrize("name", SIDES)
def test_every_side_has_a_runner_and_no_side_but_ours_runs_here(name: str) -> None:
    found = recipe(name, Path("peers"), "base", 5, 2)
    assert (Path(__file__).parents[2] / "bench" / "peers" / found.runner).is_file()
    assert found.ours == name.startswith("sottovoce")
    assert found.ours or found.python.startswith("peers")
    assert found.options["beam_size"] == 5 and found.options["language"] == "en"


def test_settings_go_to_loading_or_to_the_recording() -> None:
    load, options = side("faster-batched:batch_size=8:threads=1:vad_filter=false")
    assert load["threads"] == 1
    assert (options["batch_size"], options["vad_filter"]) == (8, False)
    assert "word_timestamps" not in side("sottovoce:word_timestamps=true")[0]


def test_a_wrong_name_or_setting_is_refused() -> None:
    for text, said in (("fast", "known are"), ("openvino:8", "NAME=VALUE")):
        with pytest.raises(SystemExit, match=said):
            side(text)


def test_values_of_the_command_line_have_kinds() -> None:
    assert [typed(v) for v in ("8", "0.5", "true", "None", "int8")] == [8, 0.5, True, None, "int8"]


def test_a_joined_recording_is_long_enough_and_drawn_by_its_seed() -> None:
    durations = [3.0, 5.0, 4.0]
    found = order(durations, 100.0, seed=1)
    filled = sum(durations[i] + pause for i, pause in found)
    assert 100 <= filled < 100 + 5 + PAUSE_S[1]
    assert found == order(durations, 100.0, seed=1) != order(durations, 100.0, seed=2)
    assert all(PAUSE_S[0] <= pause <= PAUSE_S[1] for _, pause in found)


def test_every_clip_is_heard_before_one_is_heard_again() -> None:
    picked = [i for i, _ in order([1.0] * 7, 60.0, seed=3)]
    for start in range(0, len(picked) - 6, 7):
        assert sorted(picked[start : start + 7]) == list(range(7))


def test_a_run_replaces_the_one_of_its_name_and_leaves_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out" / "speed.json"
    args = argparse.Namespace(data=tmp_path / "secret", out=out)
    given = ["--data", str(tmp_path / "secret"), "--out", str(out), "--name", "a b"]
    for name, value in (("one", 1), ("two", 2), ("one", 3)):
        run = report.begun("speed", name, args, given, value=value)
        report.illustrate(out, run, "<svg/>")
        report.keep(out, run, lambda r: f"value {r['value']}", "Speed")
    kept = json.loads(out.read_text("utf-8"))["runs"]
    assert [(r["name"], r["value"]) for r in kept] == [("two", 2), ("one", 3)]
    page = out.with_suffix(".md").read_text("utf-8")
    assert "value 3" in page and "value 1" not in page and "![one](speed-one.svg)" in page


def test_a_published_command_names_no_folder_of_whoever_ran_it(tmp_path: Path) -> None:
    args = argparse.Namespace(data=tmp_path / "d", peers=tmp_path / "p", out=tmp_path / "o.json")
    given = ["--data", str(args.data), "--peers", str(args.peers), "--out", str(args.out)]
    assert report.begun("speed", "one", args, given)["command"] == (
        "scripts/bench speed --data DATA --peers PEERS --out OUT"
    )


def test_charts_are_well_formed_and_show_every_label() -> None:
    bars = plot.bars("Speed <1>", [plot.Bar("10 s", "a & b", 3.0), plot.Bar("10 s", "c", 0.0)])
    roof = plot.roofline("Roof", 1e12, 1e10, [plot.Point("decode", 1.0, 9e9), plot.Point("encoder", 4e3, 5e11)])
    for svg, labels in ((bars, ["Speed <1>", "a & b", "c", "10 s"]), (roof, ["decode", "encoder"])):
        texts = [e.text for e in ET.fromstring(svg).iter() if e.tag.endswith("text")]
        assert set(labels) <= set(texts)


def test_published_parts_are_benches() -> None:
    assert {bench for bench, _ in ROWS.values()} <= set(MAINS)
