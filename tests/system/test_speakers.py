"""Speakers through the command: two voices made of the known clip, in turn and on two channels."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from sottovoce import Whisper
from sottovoce.cli.exits import Exit
from sottovoce.errors import AudioError
from tests.commands import COMMAND, FAST, RATE, environ, run, samples, write_wav

pytestmark = pytest.mark.weights


def voices() -> tuple[np.ndarray, np.ndarray]:
    """int16: somebody, and the same words by a higher voice."""
    one = samples()
    two = np.interp(np.arange(0, one.size - 1, 1.35), np.arange(one.size), one).astype(np.int16)
    return one, two


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    one, two = voices()
    pause = np.zeros(RATE // 2, np.int16)
    return write_wav(tmp_path / "talk.wav", np.concatenate([one, pause, two, two, pause, one]))


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """Two channels: one speaks, then the other."""
    one, two = voices()
    left, right = np.concatenate([one, two * 0]), np.concatenate([one * 0, two])
    path = tmp_path / "call.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([left, right], axis=1).reshape(1, -1), "s16", "stereo")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


def test_diarize_writes_rttm(talk: Path, tmp_path: Path) -> None:
    done = run("diarize", talk, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {"SPEAKER"} and {row[1] for row in rows} == {"talk"}
    assert {row[7] for row in rows} == {"SPEAKER_00", "SPEAKER_01"}
    assert "2 speakers" in done.stderr


def test_diarize_writes_files(talk: Path, tmp_path: Path) -> None:
    known = write_wav(tmp_path / "anna.wav", voices()[1])
    done = run("diarize", talk, "-f", "json", "-o", "out", "--known-speaker", f"Anna={known}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert set(json.loads((tmp_path / "out" / "talk.json").read_text())["speakers"]) == {"SPEAKER_00", "Anna"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_a_full_disk_is_a_failure_of_diarize_too(talk: Path) -> None:
    """It said so, and ended with 0."""
    with open("/dev/full", "w") as full:
        command = [COMMAND, "diarize", talk]
        done = subprocess.run(command, env=environ(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == Exit.OUTPUT and "standard output cannot be written" in done.stderr


def test_a_known_speaker_is_heard_once_for_all_recordings(talk: Path) -> None:
    """A file that is open was at its end for the second recording."""
    sound = io.BytesIO(write_wav(talk.with_name("anna.wav"), voices()[1]).read_bytes())
    with Whisper("tiny.en", device="cpu") as model:
        found = model.transcribe([talk, talk], diarize=True, known_speakers={"Anna": sound}, beam_size=1)
        assert all({s.speaker for s in t.segments} == {"SPEAKER_00", "Anna"} for t in found)
        with pytest.raises(AudioError, match="there is no such file"):
            list(model.transcribe_each([(0, talk)], diarize=True, known_speakers={"Anna": "none.wav"}))


def test_words_have_speakers(talk: Path, tmp_path: Path) -> None:
    done = run("transcribe", talk, *FAST, "--diarize", "--speakers", 2, "-f", "diarized_json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "talk.diarized.json").read_text())
    assert {s["speaker"] for s in found["segments"]} == {"A", "B"}
    assert done.stdout.startswith("SPEAKER_00: ") and "SPEAKER_01: " in done.stdout


def test_every_channel_is_a_speaker(call: Path, tmp_path: Path) -> None:
    done = run("transcribe", call, *FAST, "--channel-names", "Anna,Bert", "-f", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    segments = json.loads((tmp_path / "call.json").read_text())["segments"]
    middle_s = voices()[0].size / RATE
    for segment in segments:
        assert segment["speaker"] == ("Anna" if (segment["start"] + segment["end"]) / 2 < middle_s else "Bert")
    assert {segment["speaker"] for segment in segments} == {"Anna", "Bert"}


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--speakers", "2"], "--diarize"),
        (["--diarize", "--channels"], "leave one out"),
        (["-f", "diarized_json"], "needs --diarize or --channels"),
        (["--diarize", "--known-speaker", "anna.wav"], "NAME=FILE"),
        (["--diarize", "--speakers", "2", "--max-speakers", "3"], "leave the bounds out"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_model_is_loaded(
    flags: list[str], why: str, talk: Path, tmp_path: Path
) -> None:
    done = run("transcribe", talk, *FAST, *flags, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert why in done.stderr and not done.stdout


def test_one_channel_is_none_to_tell_apart(talk: Path, tmp_path: Path) -> None:
    done = run("transcribe", talk, *FAST, "--channels", cwd=tmp_path)
    assert done.returncode != 0 and "one channel" in done.stderr and "--diarize" in done.stderr
