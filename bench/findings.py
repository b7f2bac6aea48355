"""What parity found: one result a clip and case, their causes and tables. Pure; knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    FLOW = "flow"  # other windows, other prompts, or other segments from the same tokens
    MEL = "mel"
    MODEL = "model"  # the same mel, but other scores
    SEARCH = "search"  # the same scores, but another choice
    TIE = "tie"  # two choices are so close that the order of summation decides


@dataclass(slots=True)
class Result:
    """One clip in one case. differences: in words; empty if all is equal. cause: of the first one."""

    case: str
    clip: str
    set: str
    seconds: float
    n_segments: int = 0
    n_tokens: int = 0
    differences: list[str] = field(default_factory=list)
    cause: str | None = None
    explanation: str = ""
    fell_back: bool = False
    alone_equal: bool | None = None
    error: str | None = None
    commit: str = ""


def summary(results: Sequence[Result]) -> str:
    """A Markdown table: per case and set how many clips are identical, and the causes of the others."""
    lines = [
        "| case | set | clips | minutes | tokens | identical | tie | other | fell back | errors | alone = batch |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, name in dict.fromkeys((r.case, r.set) for r in results):
        rows = [r for r in results if (r.case, r.set) == (case, name)]
        sure = [r for r in rows if not r.error and not r.fell_back]
        alone = [r.alone_equal for r in rows if r.alone_equal is not None]
        cells = [
            case,
            name,
            len(rows),
            f"{sum(r.seconds for r in rows) / 60:.1f}",
            sum(r.n_tokens for r in rows),
            sum(not r.differences for r in sure),
            sum(r.cause == Cause.TIE for r in sure),
            sum(r.cause not in (None, Cause.TIE) for r in sure),
            sum(r.fell_back for r in rows),
            sum(r.error is not None for r in rows),
            f"{sum(alone)} of {len(alone)}",
        ]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def differing(results: Sequence[Result]) -> str:
    """A Markdown list: every clip that is not identical, or failed, with its cause."""
    lines = []
    for r in results:
        if r.error:
            lines.append(f"* {r.case}: {r.clip}: {r.error}")
        elif r.differences and not r.fell_back:
            lines.append(f"* {r.case}: {r.clip}: **{r.cause}**, {r.explanation}. First: {r.differences[0]}")
        if r.alone_equal is False:
            lines.append(f"* {r.case}: {r.clip}: alone it is not what it is in the batch")
    return "\n".join(lines) or "No clip differs."
