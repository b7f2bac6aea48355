"""Two transcripts of one recording, field by field: what differs, and where first. Pure; knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EXACT = ("seek", "start", "end", "text", "tokens", "temperature", "compression_ratio")  # of a segment
CLOSE = {"avg_logprob": 1e-3, "no_speech_prob": 1e-3}  # of a segment: sums of float32, in another order
WORD_EXACT = ("word", "start", "end")
PROBABILITY_CLOSE = 1e-3  # of a word


@dataclass(frozen=True, slots=True)
class Difference:
    """field: path of what differs, e.g. "segments[3].end"."""

    field: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{self.field}: ours {self.ours!r}, theirs {self.theirs!r}"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Every difference between two dictionaries as whisper.transcribe gives them; empty if they are the same.

    Text, tokens and times must be equal, not close. Segments are compared up to the first one that has no like.
    """
    found = [Difference(f, ours[f], theirs[f]) for f in ("language", "text") if ours[f] != theirs[f]]
    if len(ours["segments"]) != len(theirs["segments"]):
        found.append(Difference("len(segments)", len(ours["segments"]), len(theirs["segments"])))
    for i, (a, b) in enumerate(zip(ours["segments"], theirs["segments"], strict=False)):
        here = _segment(f"segments[{i}]", a, b)
        found += here
        if any(d.field.endswith(("tokens", "seek")) for d in here):
            break  # what follows was heard with another context
    return found


def first_split(a: Sequence[int], b: Sequence[int]) -> int:
    """Index of the first token that two sequences do not share; where one ends, its length."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def _segment(where: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    found = [Difference(f"{where}.{f}", a[f], b[f]) for f in EXACT if a[f] != b[f]]
    for field, step in CLOSE.items():
        if not _close(a[field], b[field], step):
            found.append(Difference(f"{where}.{field}", a[field], b[field]))
    words, their_words = a.get("words") or [], b.get("words") or []
    if len(words) != len(their_words):
        found.append(Difference(f"len({where}.words)", len(words), len(their_words)))
    for i, (v, w) in enumerate(zip(words, their_words, strict=False)):
        found += [Difference(f"{where}.words[{i}].{f}", v[f], w[f]) for f in WORD_EXACT if v[f] != w[f]]
        if not _close(v["probability"], w["probability"], PROBABILITY_CLOSE):
            found.append(Difference(f"{where}.words[{i}].probability", v["probability"], w["probability"]))
    return found


def _close(a: float, b: float, step: float) -> bool:
    return abs(a - b) <= step or (a != a and b != b)  # nan is like nan
