"""What was typed -> recordings and the names of their outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sottovoce.cli.recordings import find


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "talk.mp3",
        "talk.wav",
        "a/x.wav",
        "b/x.wav",
        "b/c/y.MP4",
        "b/.hidden.mp3",
        "b/notes.txt",
        "empty/n.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def stems(*arguments: str) -> list[str]:
    return [recording.stem for recording in find(arguments)[0]]


def refusals(*arguments: str) -> list[str]:
    return [str(one.error) for one in find(arguments)[1]]


def test_outputs_are_called_like_the_recording(here: Path) -> None:
    assert stems("a/x.wav", "talk.mp3") == ["x", "talk"]


def test_two_recordings_of_one_name_do_not_share_their_outputs(here: Path) -> None:
    recordings, refused, notes = find(["a/x.wav", "b/x.wav", "talk.mp3", "talk.wav"])
    assert [r.stem for r in recordings] == ["x", "x-2", "talk", "talk-2"]
    assert not refused
    assert len(notes) == 2


def test_a_number_is_not_somebody_elses_name(here: Path) -> None:
    (here / "x-2.wav").write_bytes(b"")
    assert len(set(stems("a/x.wav", "x-2.wav", "b/x.wav"))) == 3
    assert len(set(stems("a/x.wav", "b/x.wav", "x-2.wav"))) == 3


def test_names_that_differ_in_case_only_do_not_share_their_outputs(here: Path) -> None:
    (here / "Talk.wav").write_bytes(b"")
    assert len({stem.casefold() for stem in stems("talk.mp3", "Talk.wav")}) == 2


def test_a_recording_given_twice_is_done_once(here: Path) -> None:
    recordings, _, notes = find(["talk.mp3", "./talk.mp3", "talk.mp*"])
    assert [r.name for r in recordings] == ["talk.mp3"]
    assert all("twice" in note for note in notes)


def test_a_folder_is_searched_and_its_shape_kept(here: Path) -> None:
    assert stems("b") == ["c/y", "x"]
    assert stems("a", "b") == ["x", "c/y", "x-2"]


def test_patterns_that_the_shell_left_are_expanded(here: Path) -> None:
    assert stems("*/x.wav") == ["x", "x-2"]
    assert stems("**/y.MP4") == ["y"]


def test_a_file_whose_name_looks_like_a_pattern_is_taken_as_it_is(here: Path) -> None:
    (here / "take [1].wav").write_bytes(b"")
    assert stems("take [1].wav") == ["take [1]"]


def test_urls_and_the_standard_input_have_names_too(here: Path) -> None:
    assert stems("https://example.org/talks/one.mp3?key=1", "https://example.org/", "-") == [
        "one",
        "example.org",
        "stdin",
    ]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("missing.wav", "no such file"),
        ("empty", "folder without recordings"),
        ("*.flac", "no file matches"),
    ],
)
def test_what_is_no_recording_is_refused_with_reason_and_remedy(here: Path, argument: str, words: str) -> None:
    (message,) = refusals(argument)
    assert argument in message
    assert words in message
    assert "expected" in message
    assert ";" in message


def test_what_is_refused_does_not_touch_the_others(here: Path) -> None:
    assert stems("missing.wav", "talk.mp3", "empty") == ["talk"]
    assert len(refusals("missing.wav", "talk.mp3", "empty")) == 2
