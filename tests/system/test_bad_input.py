"""Bad input: one line that says what was given, what was expected and what to do; a documented exit code."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from sottovoce.cli.exits import Exit
from sottovoce.config import Config
from sottovoce.model import hub, store

from ..commands import FAST, KNOWN, environ, run, samples, write_mp3, write_silent_video, write_wav

HELP = re.compile(r"expected|;")


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line that was said, which must be no traceback."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("sottovoce: ")
    assert done.stdout == ""
    return lines[0]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Every broken recording in one run, among good ones."""
    folder = tmp_path_factory.mktemp("batch")
    speech = samples()
    shutil.copy(KNOWN, folder / "good.ogg")
    (folder / "empty-folder").mkdir()
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.txt").write_text("These are words already.\n" * 50, "utf-8")
    mp3 = write_mp3(folder / "whole.mp3", speech).read_bytes()
    (folder / "cut.mp3").write_bytes(mp3[: len(mp3) * 3 // 4])
    (folder / "stump.mp3").write_bytes(mp3[:30])
    write_silent_video(folder / "pictures.mp4")
    write_wav(folder / "none.wav", speech[:0])
    broken = speech.astype(np.float32) / 32768
    broken[1000] = np.nan
    write_wav(folder / "nan.wav", broken)
    write_wav(folder / "one.wav", speech[:1])
    names = ("missing.wav", "empty-folder", "empty.wav", "text.txt", "cut.mp3", "stump.mp3", "pictures.mp4")
    names += ("none.wav", "nan.wav", "one.wav", "good.ogg")
    return folder, run("transcribe", *names, *FAST, "-o", "out", "-f", "txt", "--quiet", cwd=folder)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.wav", "no such file"),
        ("empty-folder", "folder without recordings"),
        ("empty.wav", "empty"),
        ("text.txt", "not media"),
        ("stump.mp3", "media|no sound"),
        ("pictures.mp4", "only video was found, no sound"),
        ("none.wav", "no sound was found"),
        ("nan.wav", "NaN"),
    ],
)
def test_a_broken_recording_is_one_line(
    batch: tuple[Path, subprocess.CompletedProcess[str]], name: str, words: str
) -> None:
    folder, done = batch
    lines = [line for line in done.stderr.splitlines() if name in line]
    assert len(lines) == 1, done.stderr
    assert re.search(words, lines[0])
    assert HELP.search(lines[0])
    assert not (folder / "out" / Path(name).with_suffix(".txt").name).exists()


@pytest.mark.weights
def test_the_others_of_the_batch_are_done(batch: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = batch
    assert done.returncode == Exit.AUDIO
    assert "Traceback" not in done.stderr
    good = (folder / "out" / "good.txt").read_text("utf-8")
    assert good.strip()
    assert (folder / "out" / "cut.txt").read_text("utf-8").split()[:3] == good.split()[:3]
    assert (folder / "out" / "one.txt").exists()
    assert done.stdout.startswith((folder / "out" / "cut.txt").read_text("utf-8"))
    assert done.stdout.endswith(good)


def test_a_wrong_language_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    done = run("transcribe", KNOWN, "--language", "klingon", cwd=tmp_path)
    assert done.returncode == Exit.USAGE
    assert "klingon" in the_line(done)


def test_a_wrong_variable_is_refused(tmp_path: Path) -> None:
    done = run("transcribe", KNOWN, cwd=tmp_path, env=environ(SOTTOVOCE_COMPUTE="float8"))
    assert done.returncode == Exit.USAGE
    assert "float8" in the_line(done)
    assert "bfloat16" in the_line(done)


def test_flags_that_need_each_other_say_so(tmp_path: Path) -> None:
    done = run("transcribe", KNOWN, "--max_line_width", 40, cwd=tmp_path)
    assert done.returncode == Exit.USAGE
    assert "--word-timestamps" in the_line(done)


def test_an_unknown_model_is_refused_with_its_like(tmp_path: Path) -> None:
    done = run("transcribe", KNOWN, "--model", "larg-v3", "--quiet", cwd=tmp_path)
    assert done.returncode == Exit.MODEL
    assert "large-v3" in the_line(done)


def test_without_network_a_model_that_is_not_here_is_refused_within_seconds(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"
    env = environ(SOTTOVOCE_MODEL_DIR=str(tmp_path / "models"), HF_ENDPOINT=dead, HF_HUB_CACHE=str(tmp_path / "hub"))
    start_s = time.monotonic()
    done = run("transcribe", KNOWN, "--model", "medium", "--sources", "hub", "--quiet", cwd=tmp_path, env=env)
    assert time.monotonic() - start_s < 60
    assert done.returncode == Exit.MODEL
    assert "127.0.0.1:9" in the_line(done)
    offline = run("transcribe", KNOWN, "--model", "medium", "--offline", "--quiet", cwd=tmp_path, env=env)
    assert offline.returncode == Exit.MODEL
    assert "offline" in the_line(offline)


@pytest.mark.weights
def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    """Both of a file that is passed by its path, and of one in the store; the advice that is given works."""
    files = hub.fetch("tiny", Config())
    cut = tmp_path / files.path.name
    with files.path.open("rb") as whole:
        cut.write_bytes(whole.read(10_000_000))
    done = run("transcribe", KNOWN, "--model", cut, "--quiet", cwd=tmp_path)
    assert done.returncode == Exit.MODEL
    assert str(cut) in the_line(done)

    home = store.root(Config()) / "models" / "tiny"
    shutil.copytree(home, tmp_path / "store" / "models" / "tiny")
    with (tmp_path / "store" / "models" / "tiny" / files.path.name).open("r+b") as stored:
        stored.seek(50_000_000)
        stored.write(b"damage")
    done = run("transcribe", KNOWN, "--model", "tiny", "--quiet", "--model-dir", tmp_path / "store", cwd=tmp_path)
    assert done.returncode == Exit.MODEL
    assert "SHA-256" in the_line(done)
    assert "sottovoce models remove tiny" in the_line(done)
    in_store = ("tiny", "--model-dir", tmp_path / "store")
    assert run("models", "verify", *in_store, cwd=tmp_path).returncode == Exit.MODEL
    assert run("models", "remove", *in_store, cwd=tmp_path).returncode == Exit.DONE
    assert not (tmp_path / "store" / "models" / "tiny").exists()


@pytest.mark.weights
def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; the text still comes out on stdout."""
    done = run(
        "transcribe", KNOWN, *FAST, "-o", "out", "--quiet", cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
    )  # fmt: skip
    assert done.returncode == Exit.OUTPUT
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert done.stdout.strip()
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_folder_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    for folder in ("file", "file/below"):
        done = run("transcribe", KNOWN, "-o", folder, "--quiet", cwd=tmp_path)
        assert done.returncode == Exit.OUTPUT
        assert "--output-dir" in the_line(done)
    assert (tmp_path / "file").read_text("utf-8") == "in the way"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_may_not_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    done = run("transcribe", KNOWN, "-o", "closed", "--quiet", cwd=tmp_path)
    assert done.returncode == Exit.OUTPUT
    assert "--output-dir" in the_line(done)
