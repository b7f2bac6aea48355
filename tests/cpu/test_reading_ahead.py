"""Recordings of a list are read beside the engine: together, in order, and no longer than somebody waits for them."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sottovoce import AudioError, Config, Whisper
from sottovoce.api import N_AHEAD
from sottovoce.audio.source import is_at_hand
from sottovoce.flow.drive import Done
from sottovoce.model import export
from sottovoce.model.whisper import Dims
from tests.commands import write_wav
from tests.plain_cache import random_model

QUICK: dict[str, Any] = {"language": "en", "temperature": 0.0, "max_tokens": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whisper]:
    path = tmp_path_factory.mktemp("models") / "random.pt"
    export.export_pt(random_model(Dims(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 2)), path)
    with Whisper(path, config=Config(device="cpu", threads=1)) as whisper:
        yield whisper


@pytest.fixture
def reading(model: Whisper, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each recording began to be read; reading one takes a while."""
    began: list[float] = []
    load: Callable[..., np.ndarray] = model.load

    def slowly(*given: Any) -> np.ndarray:
        began.append(time.monotonic())
        time.sleep(0.3)
        return load(*given)

    monkeypatch.setattr(model, "load", slowly)
    return began


def a_second(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, 16_000).astype(np.float32)


def test_recordings_are_read_together_and_come_in_their_order(model: Whisper, reading: list[float]) -> None:
    texts = [t.text for t in model.transcribe([a_second(i) for i in range(4)], **QUICK)]
    assert reading[N_AHEAD - 1] - reading[0] < 0.2, "the second is read while the first is"
    assert texts == [model.transcribe(a_second(i), **QUICK).text for i in range(4)]


def test_a_recording_that_cannot_be_read_fails_alone(model: Whisper, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    sources = [("none", tmp_path / "none.wav"), ("good", a_second()), ("broken", tmp_path / "broken.wav")]
    done = {key: said for key, said in model.transcribe_each(sources, **QUICK) if isinstance(said, Done)}
    assert isinstance(done["none"].error, AudioError)
    assert isinstance(done["broken"].error, AudioError)
    assert done["good"].transcript is not None


def test_who_leaves_stops_who_reads(model: Whisper, tmp_path: Path) -> None:
    """Ten hours of sound would keep the process from ending for seconds after Ctrl-C."""
    long = write_wav(tmp_path / "long.wav", np.zeros(16_000 * 1200, np.int16))
    start_s = time.monotonic()
    model.load(long)
    whole_s = time.monotonic() - start_s
    events = model.transcribe_each([("short", a_second()), ("long", long)], **QUICK)
    next(events)
    start_s = time.monotonic()
    events.close()  # type: ignore[attr-defined]  # a generator
    while any(thread.name.startswith("sottovoce-reader") for thread in threading.enumerate()):
        assert time.monotonic() - start_s < max(1.0, whole_s / 2)
        time.sleep(0.01)


def test_a_pipe_is_read_in_the_callers_thread(tmp_path: Path) -> None:
    """Its other end may stay silent for ever, and a thread that reads cannot be interrupted."""
    os.mkfifo(tmp_path / "fifo")
    assert not is_at_hand(tmp_path / "fifo")
    assert not is_at_hand(io.BytesIO())
    assert is_at_hand(a_second())
    assert is_at_hand(b"bytes")
    assert is_at_hand("https://example.org/a.mp3")
    assert is_at_hand(tmp_path / "missing")
