"""The line protocol of every side: a job is one JSON line, its answer one JSON line. Knows no engine.

Runs in each side's own environment: standard library and numpy only. The jobs:

    {"do": "about"}                                                    -> {"name of a package": "its version"}
    {"do": "load", ...keywords of the side's load}                     -> {"seconds"}
    {"do": "transcribe", "audio": PATH.npy, "options": {}}             -> {"text", "seconds", "peak_bytes"}
    {"do": "together", "audios": [...], "at_once": bool, "options"}    -> {"texts", "seconds", "latencies_s"}

each as {"ok": answer} or {"error": text}. Samples travel as (N,) float32 .npy files, 16 kHz, and are read before the
clock starts. peak_bytes: the most memory that the process had while it transcribed; None where the kernel does not say.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np


class Side:
    """What serve() drives. A side gives PACKAGES, load and text_of; OWN: methods that are jobs of this side alone."""

    PACKAGES: tuple[str, ...] = ()
    OWN: tuple[str, ...] = ()

    def load(self, **given: object) -> None:
        """Load a model and keep it."""
        raise NotImplementedError

    def text_of(self, samples: np.ndarray, **options: object) -> str:
        """What is said in (N,) float32 samples at 16 kHz. May be called from several threads at once."""
        raise NotImplementedError


def serve(side: Side) -> None:
    """Answer the jobs on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    jobs = {"about": _about, "load": _load, "transcribe": _transcribe, "together": _together}
    jobs |= {name: getattr(type(side), name) for name in side.OWN}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = {"ok": jobs[job.pop("do")](side, **job)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _about(side: Side) -> dict:
    found = {}
    for name in side.PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "from its sources"
    return found


def _load(side: Side, **given: object) -> dict:
    began = time.perf_counter()
    side.load(**given)
    return {"seconds": time.perf_counter() - began}


def _transcribe(side: Side, audio: str, options: dict) -> dict:
    samples = np.load(audio)
    _forget_peak()
    began = time.perf_counter()
    text = side.text_of(samples, **options)
    return {"text": text, "seconds": time.perf_counter() - began, "peak_bytes": _peak_bytes()}


def _together(side: Side, audios: list[str], at_once: bool, options: dict) -> dict:
    """latencies_s: of each recording, from when all were asked for at once, or from its own turn."""
    sounds = [np.load(audio) for audio in audios]

    def one(samples: np.ndarray) -> tuple[str, float]:
        asked = time.perf_counter()
        return side.text_of(samples, **options), time.perf_counter() - asked

    with ThreadPoolExecutor(len(sounds) if at_once else 1) as pool:
        began = time.perf_counter()
        said = list(pool.map(one, sounds))
        seconds = time.perf_counter() - began
    return {"texts": [text for text, _ in said], "seconds": seconds, "latencies_s": [s for _, s in said]}


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # else the peak is that of the process's life
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else None
