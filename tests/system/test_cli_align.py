"""`sottovoce align` with real weights, and what it says of arguments that make no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sottovoce.cli.exits import Exit
from sottovoce.text.known import SPOKEN

from ..commands import KNOWN, run

FAST = ("--model", "tiny", "--device", "cpu", "--language", "en")


@pytest.mark.weights
def test_a_text_becomes_subtitles_with_its_own_lines(tmp_path: Path) -> None:
    lines = [part.strip() for part in SPOKEN.replace(", ", ",\n").splitlines()]
    (tmp_path / "text.txt").write_text("\n\n".join([*lines, "Nobody says these seven words at all."]), "utf-8")
    done = run("align", KNOWN, "text.txt", *FAST, "-o", "out", cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    assert done.stdout.splitlines()[:2] == lines
    assert "nobody says" in done.stderr
    given = json.loads((tmp_path / "out" / "known.json").read_text("utf-8"))
    assert [s["text"].strip() for s in given["segments"]][:2] == lines
    assert given["missing"][0]["line"] == 2
    assert all(w["start"] < w["end"] for s in given["segments"][:2] for w in s["words"])
    again = run("align", KNOWN, "out/known.srt", *FAST, "-f", "none", "--times", "-q", cwd=tmp_path)
    assert again.returncode == Exit.DONE and again.stdout.startswith("[00:0")
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".txt", ".srt", ".vtt", ".tsv", ".json"}


@pytest.mark.weights
def test_the_text_that_is_given_is_not_written_over(tmp_path: Path) -> None:
    """`sottovoce align talk.mp3 talk.txt` made of talk.txt what it had read: blank lines and columns were gone."""
    (tmp_path / "known.ogg").write_bytes(KNOWN.read_bytes())
    written = f"\n  {SPOKEN}\n\n"
    (tmp_path / "known.txt").write_text(written, "utf-8")
    done = run("align", "known.ogg", "known.txt", *FAST, cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    assert (tmp_path / "known.txt").read_text("utf-8") == written
    assert "known.txt: left as it is" in done.stderr
    assert (tmp_path / "known.srt").is_file()


@pytest.mark.parametrize(
    ("format", "said"), [("txt", "it would be written over"), ("srt,diarized_json", "align knows no speakers")]
)
def test_what_cannot_be_written_is_said_before_a_model_is_loaded(tmp_path: Path, format: str, said: str) -> None:
    (tmp_path / "known.ogg").write_bytes(KNOWN.read_bytes())
    (tmp_path / "known.txt").write_text(SPOKEN, "utf-8")
    done = run("align", "known.ogg", "known.txt", "--model", "none", "-f", format, cwd=tmp_path)
    assert done.returncode == Exit.USAGE and said in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("recording", "text", "code", "said"),
    [
        ("known.ogg", "none.txt", Exit.USAGE, "the text cannot be read"),
        ("known.ogg", "empty.txt", Exit.USAGE, "an empty text was given"),
        ("known.ogg", "known.ogg", Exit.USAGE, "the recording comes first"),
        ("none.ogg", "text.txt", Exit.AUDIO, "there is no such file"),
        ("-", "-", Exit.USAGE, "a file was expected for one of them"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(
    tmp_path: Path, recording: str, text: str, code: Exit, said: str
) -> None:
    (tmp_path / "known.ogg").write_bytes(KNOWN.read_bytes())
    (tmp_path / "text.txt").write_text(SPOKEN, "utf-8")
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    done = run("align", recording, text, cwd=tmp_path)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
