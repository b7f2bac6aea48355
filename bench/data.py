"""What is measured: the recordings of a folder with manifest.jsonl, and the commit. Knows no model and no metric.

A line has path (below the folder), set, language ("" without speech), duration_s, reference (null if there is none)
and reference_kind; what else it has is not read.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MANIFEST = "manifest.jsonl"
TRUSTED = ("human", "book text", "script", "voice-talent script")  # kinds of reference that error rates may rest on


@dataclass(frozen=True, slots=True)
class Clip:
    """name: the path below the data folder. end_s: only the first seconds are heard; None: all."""

    name: str
    path: Path
    set: str
    language: str
    duration_s: float
    reference: str | None
    reference_kind: str
    end_s: float | None = None

    @property
    def trusted(self) -> bool:
        """May an error rate rest on its reference?"""
        return bool(self.reference) and self.reference_kind in TRUSTED


def read(folder: Path, sets: Sequence[str] = (), limit: int | None = None) -> list[Clip]:
    """The clips of a folder in the manifest's order, at most `limit` of each set. sets: empty for all.

    Raises SystemExit with one line if the folder has no manifest, or a set that was asked for is not in it.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise SystemExit(f"{folder}: no {MANIFEST} there; pass --data FOLDER with one (see bench/README.md)")
    clips = [_clip(folder, json.loads(line)) for line in manifest.read_text("utf-8").splitlines() if line.strip()]
    known = list(dict.fromkeys(c.set for c in clips))
    for name in sets:
        if name not in known:
            raise SystemExit(f"set {name!r} is not in {manifest}; known are {', '.join(known)}")
    chosen = []
    for name in sets or known:
        chosen += [c for c in clips if c.set == name][:limit]
    return chosen


def added(text: str) -> Clip:
    """A recording that no manifest names: PATH, or PATH@SECONDS for its beginning only."""
    path, at, end = text.rpartition("@")
    if not at:
        path, end = text, ""
    name = Path(path).name + (f"@{end}" if end else "")
    return Clip(name, Path(path), "added", "", 0.0, None, "none", float(end) if end else None)


def names(text: str) -> list[str]:
    """The names of a list on the command line, by comma."""
    return [name.strip() for name in text.split(",") if name.strip()]


@cache
def commit() -> str:
    """The commit that is measured, with "+" if the working tree has changed; "unknown" without git."""
    try:
        run = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()


def _clip(folder: Path, line: dict[str, object]) -> Clip:
    reference = line.get("reference")
    return Clip(
        name=str(line["path"]),
        path=folder / str(line["path"]),
        set=str(line["set"]),
        language=str(line.get("language") or ""),
        duration_s=float(str(line.get("duration_s") or 0)),
        reference=str(reference) if reference else None,
        reference_kind=str(line.get("reference_kind") or "none"),
    )
