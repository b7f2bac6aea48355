"""The command with real weights: text on stdout, files beside, signals, pipes, terminals."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from sottovoce.cli.exits import Exit
from sottovoce.text.known import SPOKEN, distance, words

from ..commands import COMMAND, FAST, KNOWN, environ, run, samples, start, write_wav

pytestmark = pytest.mark.weights


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until a file is there; the process must not end before."""
    deadline_s = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s, f"{path} did not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Two recordings: the first is longer, so that the second is done before it."""
    folder = tmp_path_factory.mktemp("pair")
    write_wav(folder / "long.wav", np.tile(samples(), 8))
    shutil.copy(KNOWN, folder / "short.ogg")
    return folder, run("transcribe", "long.wav", "short.ogg", *FAST, "--output_dir", "out", cwd=folder)


def test_the_words_come_out(pair: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = pair
    assert done.returncode == Exit.DONE, done.stderr
    heard = (folder / "out" / "short.txt").read_text("utf-8")
    assert distance(words(heard), words(SPOKEN)) <= len(words(SPOKEN)) // 4


def test_stdout_has_the_text_alone_in_the_order_of_the_recordings(
    pair: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = pair
    assert done.stdout == "".join((folder / "out" / f"{name}.txt").read_text("utf-8") for name in ("long", "short"))
    ended = [line for line in done.stderr.splitlines() if "->" in line]
    assert "short.ogg" in ended[0], "the second was to be done first, or this test shows nothing"


def test_every_format_is_written_and_json_has_whispers_keys_first(
    pair: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = pair
    names = {f"{name}.{suffix}" for name in ("long", "short") for suffix in ("txt", "vtt", "srt", "tsv", "json")}
    assert {path.name for path in (folder / "out").iterdir()} == names
    given = json.loads((folder / "out" / "short.json").read_text("utf-8"))
    assert list(given) == ["text", "segments", "language", "coverage", "dropped"]
    assert given["language"] == "en"
    assert "words" not in given["segments"][0]


def test_resume_skips_what_is_finished_and_not_what_was_changed(
    pair: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = pair
    again = ("transcribe", "long.wav", "short.ogg", *FAST, "-o", "out", "--resume")
    before = (folder / "out" / "short.srt").stat().st_mtime_ns
    done = run(*again, cwd=folder)
    assert done.returncode == Exit.DONE
    assert done.stderr.count("skipped") == 2
    assert (folder / "out" / "short.srt").stat().st_mtime_ns == before

    os.utime(folder / "short.ogg")
    done = run(*again, cwd=folder)
    assert done.stderr.count("skipped") == 1
    assert (folder / "out" / "short.srt").stat().st_mtime_ns > before


def test_the_standard_input_is_a_recording(tmp_path: Path) -> None:
    with KNOWN.open("rb") as sound:
        done = run("transcribe", "-", *FAST, "-f", "srt", "--word_timestamps", "True", cwd=tmp_path, stdin=sound)
    assert done.returncode == Exit.DONE, done.stderr
    assert distance(words(done.stdout), words(SPOKEN)) <= len(words(SPOKEN)) // 4
    assert [path.name for path in tmp_path.iterdir()] == ["stdin.srt"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_a_stopped_run_keeps_what_is_finished(tmp_path: Path, signum: int, code: Exit) -> None:
    shutil.copy(KNOWN, tmp_path / "short.ogg")
    write_wav(tmp_path / "long.wav", np.tile(samples(), 300))
    with start("transcribe", "short.ogg", "long.wav", *FAST, "-o", "out", cwd=tmp_path) as process:
        wait_for(tmp_path / "out" / "short.json", process)  # the last of its files
        process.send_signal(signum)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopped" in said.splitlines()[-1]
    assert "of 2 recordings" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"short.{suffix}" for suffix in ("txt", "vtt", "srt", "tsv", "json")
    }


def test_a_reader_who_leaves_ends_the_run_or_is_done_without(tmp_path: Path) -> None:
    """As `| head -1` does. With files to write, the work goes on; with none, nobody is left who wants it."""
    write_wav(tmp_path / "long.wav", np.tile(samples(), 9))
    for formats, code in (("none", Exit.PIPE), ("txt", Exit.DONE)):
        command = ["transcribe", "long.wav", *FAST, "--strategy", "sequential", "-f", formats, "-o", "out", "-q"]
        with start(*command, cwd=tmp_path) as process:  # window after window: the reader leaves in between
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == code
    assert len((tmp_path / "out" / "long.txt").read_text("utf-8").splitlines()) > 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device here is always full")
def test_a_full_disk_behind_stdout_is_said_and_the_files_are_written(tmp_path: Path) -> None:
    """It was called a bug, and the recording's files were not written."""
    for formats in ("txt", "none"):
        with open("/dev/full", "w") as full:
            command = [COMMAND, "transcribe", KNOWN, *FAST, "-f", formats, "-q"]
            done = subprocess.run(command, cwd=tmp_path, env=environ(), stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == Exit.OUTPUT
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "the standard output cannot be written" in done.stderr
    assert (tmp_path / "known.txt").read_text("utf-8").strip()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_bug(tmp_path: Path, closed: str) -> None:
    """As services and schedulers start programs; the command ended with a traceback."""
    line = f"exec '{COMMAND}' transcribe '{KNOWN}' {' '.join(FAST)} -f txt {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environ(), capture_output=True, text=True)
    assert done.returncode == Exit.DONE, done.stderr
    assert (tmp_path / "known.txt").read_text("utf-8").strip()


def test_on_a_terminal_lines_have_times_and_a_bar_is_drawn(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [COMMAND, "transcribe", KNOWN, *FAST, "-f", "none"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ(TERM="xterm"), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side has gone
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    text = shown.decode()
    assert process.returncode == Exit.DONE
    assert "[00:00.000 --> 00:0" in text
    assert "\x1b[" in text
    assert "x real time" in text


def test_a_model_for_english_only_says_so_and_hears_english(tmp_path: Path) -> None:
    done = run(
        "transcribe", KNOWN, *FAST, "--model", "tiny.en", "--language", "German", "-f", "json", cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == Exit.DONE, done.stderr
    assert "English only" in done.stderr
    assert json.loads((tmp_path / f"{KNOWN.stem}.json").read_text("utf-8"))["language"] == "en"


def test_two_recordings_of_one_name_are_both_kept(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(KNOWN, tmp_path / folder / "x.ogg")
    done = run("transcribe", "a/x.ogg", "b/x.ogg", *FAST, "-f", "txt", cwd=tmp_path)
    assert done.returncode == Exit.DONE
    assert (tmp_path / "x.txt").read_text("utf-8") == (tmp_path / "x-2.txt").read_text("utf-8")
    assert "x-2" in done.stderr


def test_models_are_listed_shown_verified_and_exported(tmp_path: Path) -> None:
    assert run("models", "pull", "tiny", cwd=tmp_path).returncode == Exit.DONE
    listed = json.loads(run("models", "list", "--all", "--json", cwd=tmp_path).stdout)
    there = {model["name"]: model["on_this_disk"] for model in listed}
    assert there["tiny"] is True
    assert {"large-v3", "large-v3-turbo", "distil-large-v3.5"} <= set(there)
    shown = json.loads(run("models", "show", "tiny", "--json", cwd=tmp_path).stdout)
    assert shown["languages"] == 99
    assert len(shown["sha256"]) == 64
    assert run("models", "verify", "tiny", cwd=tmp_path).returncode == Exit.DONE
    done = run("models", "export", "tiny", "tiny.pt", "--to", "pt", "--precision", "float16", cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    heard = run("transcribe", KNOWN, *FAST, "--model", "tiny.pt", "-f", "none", cwd=tmp_path)
    assert distance(words(heard.stdout), words(SPOKEN)) <= len(words(SPOKEN)) // 4


def test_a_model_that_is_not_here_cannot_be_verified_or_removed(tmp_path: Path) -> None:
    for verb in ("verify", "remove"):
        done = run("models", verb, "tiny", "--model-dir", tmp_path / "none", cwd=tmp_path)
        assert done.returncode == Exit.MODEL
        assert "sottovoce models pull tiny" in done.stderr


def test_the_doctor_finds_the_words_of_the_known_clip(tmp_path: Path) -> None:
    done = run("doctor", "--json", "--no-sources", "--model", "tiny", "--device", "cpu", cwd=tmp_path)
    told = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in told["findings"]}
    assert done.returncode == Exit.DONE, done.stdout
    assert told["ok"] is True
    assert found["self-test"]["status"] == "ok"
    assert {"python", "cpu", "kernels", "memory", "gpu", "torch", "media", "device", "models", "sources"} <= set(found)


def test_the_doctor_fails_where_the_device_is_not_there(tmp_path: Path) -> None:
    done = run("doctor", "--json", "--no-sources", "--device", "cuda:99", cwd=tmp_path)
    told = json.loads(done.stdout)
    failed = [finding for finding in told["findings"] if finding["status"] == "fail"]
    assert done.returncode == Exit.UNFIT
    assert [finding["name"] for finding in failed] == ["device"]
    assert failed[0]["remedy"]


def test_subtitles_are_set_by_rules_and_set_again_without_decoding(tmp_path: Path) -> None:
    done = run(
        "transcribe", KNOWN, *FAST, "-f", "json,srt,ass", "--subtitles", "broadcast", "--word-cues", cwd=tmp_path
    )
    assert done.returncode == Exit.DONE, done.stderr
    first = {name: (tmp_path / f"known.{name}").read_text("utf-8") for name in ("srt", "ass")}
    assert "{\\k" in first["ass"]
    done = run(
        "render", "known.json", "-f", "srt,ass", "--subtitles", "broadcast", "--word-cues", "-o", "again", cwd=tmp_path
    )
    assert done.returncode == Exit.DONE, done.stderr
    assert {name: (tmp_path / "again" / f"known.{name}").read_text("utf-8") for name in first} == first
    done = run("render", "known.json", "-o", "-", "--max-chars-per-line", "20", cwd=tmp_path)
    text = [line for line in done.stdout.split("\n") if line and "-->" not in line and not line.isdigit()]
    assert max(map(len, text)) <= 20
