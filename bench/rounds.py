"""Sides that took turns: seconds by round, what may be claimed of them, and the table. Pure; knows no process.

A ratio is taken round by round, between neighbours in time, so that a machine that warms up slows both of its sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

MAX_SPREAD = 0.15  # (largest - smallest ratio) / median, above which nothing is claimed
MAX_OTHERS_CPUS = 0.15  # used by others while a side ran, above which nothing is claimed


@dataclass(slots=True)
class Turns:
    """One side on one recording. seconds, others_cpus: by round. wer: None without a reference. error: why it ended."""

    side: str
    recording: str
    audio_s: float
    seconds: list[float] = field(default_factory=list)
    others_cpus: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    wer: float | None = None
    error: str = ""

    @property
    def speed(self) -> float:
        """Times real time, by the median round."""
        return self.audio_s / median(self.seconds) if self.seconds else 0.0

    @property
    def spread(self) -> float:
        return spread(self.seconds)


@dataclass(frozen=True, slots=True)
class Claim:
    """How many times sooner the first side was. ratio: the median round's; refused: why it is no claim, or empty."""

    ratio: float
    low: float
    high: float
    n_rounds: int
    refused: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"no claim: {self.refused} ({self.ratio:.2f})"
        rounds = "one round" if self.n_rounds == 1 else f"{self.low:.2f} to {self.high:.2f}"
        return f"{self.ratio:.2f} ({rounds})"


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median; 0 for one value."""
    return (max(values) - min(values)) / median(values) if values else 0.0


def claim(ours: Turns, theirs: Turns) -> Claim | None:
    """None if a side has no round."""
    ratios = [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=False)]
    if not ratios:
        return None
    others = max(*ours.others_cpus, *theirs.others_cpus, 0.0)
    refused = ""
    if others > MAX_OTHERS_CPUS:
        refused = f"others used {others:.1f} CPUs"
    elif spread(ratios) > MAX_SPREAD:
        refused = f"rounds differ by {100 * spread(ratios):.0f} %"
    return Claim(median(ratios), min(ratios), max(ratios), len(ratios), refused)


def table(turns: Sequence[Turns]) -> str:
    """Markdown, one line a recording and side. The first side of a recording is the one that ratios are of."""
    lines = [
        "| recording | side | x real time | seconds (spread in rounds) | first side faster by | WER | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    first: dict[str, Turns] = {}
    for t in turns:
        lead = first.setdefault(t.recording, t)
        if not t.seconds:
            lines.append(f"| {t.recording} | {t.side} | - | - | {_short(t.error)} | - | - |")
            continue
        found = None if lead is t else claim(lead, t)
        cells = [
            f"{t.recording} ({t.audio_s:.0f} s)",
            t.side,
            f"{t.speed:.1f}",
            f"{median(t.seconds):.2f} ({100 * t.spread:.0f} % in {len(t.seconds)})",
            str(found) if found else "",
            "-" if t.wer is None else f"{100 * t.wer:.2f} %",
            "-" if t.peak_bytes is None else f"{t.peak_bytes / 2**20:.0f} MiB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(error: str) -> str:
    last = error.strip().splitlines()[-1] if error.strip() else "did not run"
    return last.replace("|", "/")[:160]
