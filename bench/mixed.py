"""A long recording in the background and short ones that come in meanwhile: how long the short ones wait.

In this process, over the public surface: the long one in the lane BATCH, the short ones in REQUEST.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.api import Whisper
from sottovoce.flow.drive import drive
from sottovoce.flow.protocol import Known
from sottovoce.request import Request
from sottovoce.types import Answer, Lane, Window


@dataclass(frozen=True, slots=True)
class Mixed:
    """latencies_s: of each short recording, from when it came. position_s: how far the long one had come."""

    latencies_s: tuple[float, ...]
    position_s: float
    seconds: float


def clips_beside(
    whisper: Whisper, clip: np.ndarray, long: np.ndarray | None, n_clips: int, every_s: float, options: dict[str, Any]
) -> Mixed:
    """A clip every every_s seconds; it is not waited for the one before. long: None leaves the machine idle."""
    leaving = threading.Event()
    began = time.perf_counter()
    with ThreadPoolExecutor(n_clips + 1) as pool:
        behind = pool.submit(_behind, whisper, long, options, leaving) if long is not None else None
        try:
            asked = []
            for i in range(n_clips):
                time.sleep(max(0.0, began + (i + 1) * every_s - time.perf_counter()))
                asked.append(pool.submit(_latency, whisper, clip, options))
            latencies = tuple(future.result() for future in asked)
        finally:
            leaving.set()
        seconds = time.perf_counter() - began
        return Mixed(latencies, behind.result() if behind else 0.0, seconds)


def quantile(values: Sequence[float], q: float) -> float:
    """The value that a share q of the values does not exceed; of the values themselves."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _latency(whisper: Whisper, clip: np.ndarray, options: dict[str, Any]) -> float:
    began = time.perf_counter()
    whisper.transcribe(clip, **options)
    return time.perf_counter() - began


def _behind(whisper: Whisper, long: np.ndarray, options: dict[str, Any], leaving: threading.Event) -> float:
    """Transcribe again and again until it is time to leave. Returns the seconds of sound that were done."""

    def submit(window: Window) -> Future[Answer]:
        return whisper.ask(window.sound, window.ask, window.key, Lane.BATCH)

    done_s = position_s = 0.0
    while not leaving.is_set():
        run = drive(whisper.flow(long, Request.of(options).options), submit)
        for event in run:
            position_s = event.position_s if isinstance(event, Known) else position_s
            if leaving.is_set():
                break
        run.close()
        done_s, position_s = done_s + position_s, 0.0
    return done_s
