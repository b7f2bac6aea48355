"""Channels of a recording, each by itself, without what one hears of the other."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest

from sottovoce.audio import apart
from sottovoce.errors import AudioError, OptionError
from tests.commands import RATE, write_wav
from tests.voice import voice

TALK = voice(6.0)
OTHER = np.interp(np.arange(6 * RATE) * 1.37, np.arange(9 * RATE), voice(9.0)).astype(np.float32)  # a higher voice


def halves() -> tuple[np.ndarray, np.ndarray]:
    """The first speaks first, the second after."""
    first, second = TALK.copy(), OTHER.copy()
    first[3 * RATE :] = 0
    second[: 3 * RATE] = 0
    return first, second


def energy(sound: np.ndarray) -> float:
    return float(np.mean(np.square(sound)))


@pytest.mark.parametrize(("db", "late_ms"), [(-12, 0), (-20, 3), (-30, 30)])
def test_what_one_channel_hears_of_the_other_is_silenced(db: float, late_ms: int) -> None:
    first, second = halves()
    leaked = second + 10 ** (db / 20) * np.roll(first, late_ms * RATE // 1000)
    mine, its = apart.without_crosstalk([first, leaked.astype(np.float32)])
    assert np.array_equal(mine, first)
    assert energy(its[: 5 * RATE // 2]) < 0.02 * energy(leaked[: 5 * RATE // 2])
    assert np.array_equal(its[7 * RATE // 2 :], leaked[7 * RATE // 2 :].astype(np.float32))


@pytest.mark.parametrize("db", [0, -15])
def test_who_speaks_at_the_same_time_is_heard_also_if_he_is_quiet(db: float) -> None:
    quiet = (10 ** (db / 20) * OTHER).astype(np.float32)
    _, its = apart.without_crosstalk([TALK, quiet])
    assert energy(its) > 0.9 * energy(quiet)


def wav(*channels: np.ndarray) -> bytes:
    """16-bit, 16 kHz."""
    import struct

    data = (np.clip(np.stack(channels, axis=1), -1, 1) * 32767).astype("<i2").tobytes()
    n = len(channels)
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, n, RATE, 2 * n * RATE, 2 * n, 16)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def test_channels_come_in_their_order() -> None:
    first, second = halves()
    found = apart.load(wav(first, second))
    assert not found.are_same
    for sound, given in zip(found.sounds, (first, second), strict=True):
        assert np.abs(sound - given).max() < 1e-3


def test_a_pipe_is_read_once() -> None:
    found = apart.load(io.BytesIO(wav(*halves())))
    assert len(found.sounds) == 2


def test_equal_channels_are_heard_once_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = apart.load(wav(TALK, TALK))
    assert found.are_same and len(found.sounds) == 1
    assert "same sound" in caplog.text


@pytest.mark.parametrize("stream", [1, -1])
def test_a_stream_that_is_not_there_is_not_said_to_have_one_channel(stream: int) -> None:
    with pytest.raises(AudioError, match=f"audio stream {stream} was asked for"):
        apart.load(wav(*halves()), stream=stream)


def test_one_channel_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="diarize"):
        apart.load(str(write_wav(tmp_path / "mono.wav", TALK)))
    with pytest.raises(OptionError, match="transpose"):
        apart.load(np.zeros((16_000, 2), np.float32))
