"""How many threads compute, and whose. Knows no device.

GNU's OpenMP gives each thread that computes in parallel a pool of workers of its own. Once the workers of all pools
outnumber the CPUs, they sleep between operations instead of spinning, and every small operation waits to be woken: a
decoding step took twice its time (docs/log.md). So only the engine's thread has a pool; what is computed beside it
(loading, the loudest frame of a recording) has threads that end, or none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with the calling thread alone meanwhile.

    NOTE: torch gives the number to threads that compute for the first time meanwhile, too; the engine sets its own.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "set_num_threads"):  # nobody computes with it yet
        yield
        return
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)


def n_threads() -> int:
    """Threads to compute with where none are asked for: what OMP_NUM_THREADS says, as torch does, else `n_cpus`.

    More threads than free CPUs are worse than useless: they spin while they wait for one another.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(given) if given.isdigit() and int(given) else n_cpus()


def n_cpus() -> int:
    """CPUs that this process may use: affinity and the container's quota, whichever is less."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return n
    return n if quota == "max" else max(1, min(n, int(int(quota) / int(period) + 0.5)))
