"""How much of the machine somebody else used meanwhile: a figure measured beside others is not a claim. Linux only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds used until at_s: by everybody, and by one process. None where the kernel does not say."""

    at_s: float
    all_s: float | None
    one_s: float | None


def now(pid: int) -> Used:
    try:
        return parse(time.perf_counter(), Path("/proc/stat").read_text(), Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return Used(time.perf_counter(), None, None)


def parse(at_s: float, machine: str, process: str, ticks_hz: int | None = None) -> Used:
    """machine, process: the texts of /proc/stat and /proc/PID/stat."""
    hz = ticks_hz or os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(t) for t in machine.splitlines()[0].split()[1:])
    mine = process.rpartition(")")[2].split()  # a program's name may hold anything
    return Used(at_s, (user + nice + system + irq + softirq + steal) / hz, (int(mine[11]) + int(mine[12])) / hz)


def others(before: Used, after: Used) -> float:
    """CPUs that were busy for others, on average; 0 where the kernel does not say."""
    if None in (before.all_s, before.one_s, after.all_s, after.one_s) or after.at_s <= before.at_s:
        return 0.0
    assert before.all_s is not None and after.all_s is not None
    assert before.one_s is not None and after.one_s is not None
    used = (after.all_s - before.all_s) - (after.one_s - before.one_s)
    return max(0.0, used / (after.at_s - before.at_s))
