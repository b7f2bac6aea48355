"""How many threads compute where none are asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sottovoce.threads import n_cpus, n_threads


@pytest.mark.parametrize(("given", "n"), [("1", 1), ("3,2", 3)])
def test_omp_num_threads_is_heeded(monkeypatch: pytest.MonkeyPatch, given: str, n: int) -> None:
    """Four times the CPU time was seen where two spinning threads had to share one free CPU."""
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert n_threads() == n


@pytest.mark.parametrize("given", ["", "0", "many"])
def test_without_a_number_every_usable_cpu_computes(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert n_threads() == n_cpus()


ONE_POOL = """
import os
import numpy as np
from sottovoce import Whisper
from sottovoce.audio import mel
n_before = len(os.listdir("/proc/self/task"))  # the main thread, and numpy's own
model = Whisper("tiny", threads=2)
model.transcribe(np.random.default_rng(0).normal(0, 0.1, 16_000 * 40).astype(np.float32), temperature=0.0)
print(len(os.listdir("/proc/self/task")) - n_before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
def test_only_the_engines_thread_has_workers() -> None:
    """A second pool of workers, made by loading or by the search for the peak, doubled the time of every step."""
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", ONE_POOL], env=env, capture_output=True, text=True, check=True)
    assert int(ran.stdout) == 2, "the engine's thread and one worker were expected"
