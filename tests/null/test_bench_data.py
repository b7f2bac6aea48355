"""Promises of bench/data.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.data import added, read

LINES = [
    {
        "path": "en/a.wav",
        "set": "english",
        "language": "en",
        "duration_s": 2,
        "reference": "a",
        "reference_kind": "human",
    },
    {"path": "en/b.wav", "set": "english", "language": "en", "duration_s": 3.5, "reference": "b"},
    {"path": "noise/c.wav", "set": "noise", "language": "", "duration_s": None, "reference": None, "licence": "CC0"},
    {
        "path": "de/d.wav",
        "set": "multilingual",
        "language": "de",
        "duration_s": 1,
        "reference": "d",
        "reference_kind": "human/tuned to engine output, may contain small errors",
    },
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + "\n", "utf-8")
    return tmp_path


def test_clips_come_in_the_order_of_the_sets_that_are_asked_for(folder: Path) -> None:
    assert [c.name for c in read(folder, ["noise", "english"])] == ["noise/c.wav", "en/a.wav", "en/b.wav"]


def test_a_limit_holds_for_each_set(folder: Path) -> None:
    assert [c.name for c in read(folder, limit=1)] == ["en/a.wav", "noise/c.wav", "de/d.wav"]


def test_only_a_reference_of_a_trusted_kind_is_trusted(folder: Path) -> None:
    assert [c.name for c in read(folder) if c.trusted] == ["en/a.wav"]


def test_a_clip_without_speech_has_no_language_and_no_reference(folder: Path) -> None:
    (clip,) = read(folder, ["noise"])
    assert (clip.language, clip.reference, clip.duration_s) == ("", None, 0.0)


def test_an_unknown_set_is_refused_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"'english2'.*known are english, noise, multilingual"):
        read(folder, ["english2"])


def test_a_folder_without_manifest_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no manifest\.jsonl there"):
        read(tmp_path)


def test_a_recording_can_be_added_by_its_path_up_to_a_second() -> None:
    whole, beginning = added("talks/long.wav"), added("talks/long.wav@300")
    assert (whole.path, whole.end_s, whole.name) == (Path("talks/long.wav"), None, "long.wav")
    assert (beginning.path, beginning.end_s, beginning.name) == (Path("talks/long.wav"), 300.0, "long.wav@300")
