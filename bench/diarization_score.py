"""How wrong a diarization is: DER and JER, from turns alone. Knows no sound; twin: pyannote.metrics (bench/README.md).

DER = (missed + false alarm + confused) / spoken, in seconds of speakers; who is who is chosen so that most agrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Turn = tuple[float, float, str]  # start and end in seconds, speaker


@dataclass(frozen=True, slots=True)
class Score:
    """Seconds of speakers. n_reference, n_found: speakers."""

    missed: float
    false_alarm: float
    confused: float
    spoken: float
    n_reference: int
    n_found: int

    @property
    def der(self) -> float:
        return (
            (self.missed + self.false_alarm + self.confused) / self.spoken if self.spoken else float(self.n_found > 0)
        )

    def __add__(self, other: Score) -> Score:
        return Score(*(a + b for a, b in zip(self.values, other.values, strict=True)))  # type: ignore[arg-type]

    @property
    def values(self) -> tuple[float, ...]:
        return self.missed, self.false_alarm, self.confused, self.spoken, self.n_reference, self.n_found


def score(
    reference: Sequence[Turn],
    found: Sequence[Turn],
    *,
    collar_s: float = 0.0,
    skip_overlap: bool = False,
    part: tuple[float, float] | None = None,
) -> Score:
    """Compare turns. collar_s: on either side of each of the reference's boundaries nothing counts.

    skip_overlap: what several speak at once in the reference does not count. part: only this of the recording; None:
    from the first start to the last end of both.
    """
    everything = [*reference, *found]
    first, last = part or (min((t[0] for t in everything), default=0.0), max((t[1] for t in everything), default=0.0))
    pieces = list(_pieces(reference, found, collar_s, skip_overlap, first, last))
    names, others = _speakers(reference), _speakers(found)
    together = {(a, b): 0.0 for a in names for b in others}
    for seconds, said, heard in pieces:
        for a in said:
            for b in heard:
                together[a, b] += seconds
    mapping = best_pairs([[together[a, b] for b in others] for a in names])
    pairs = {others[j]: names[i] for i, j in mapping}
    missed = false_alarm = confused = spoken = 0.0
    for seconds, said, heard in pieces:
        right = len(said & {pairs[b] for b in heard if b in pairs})
        missed += seconds * max(0, len(said) - len(heard))
        false_alarm += seconds * max(0, len(heard) - len(said))
        confused += seconds * (min(len(said), len(heard)) - right)
        spoken += seconds * len(said)
    return Score(missed, false_alarm, confused, spoken, len(names), len(others))


def jaccard(reference: Sequence[Turn], found: Sequence[Turn]) -> float:
    """JER: the mean over the reference's speakers of 1 - (both speak) / (either speaks), speakers paired for the best.

    Source: Ryant et al. 2019, the second DIHARD challenge, arXiv 1906.07839.
    """
    names, others = _speakers(reference), _speakers(found)
    lengths = {("r", a): _length(t for t in reference if t[2] == a) for a in names}
    lengths |= {("f", b): _length(t for t in found if t[2] == b) for b in others}
    shared: dict[tuple[str, str], float] = {}
    for a in names:
        for b in others:
            either = _length([t for t in reference if t[2] == a] + [t for t in found if t[2] == b])
            both = lengths["r", a] + lengths["f", b] - either
            shared[a, b] = both / either if either else 0.0
    pairs = best_pairs([[shared[a, b] for b in others] for a in names])
    gained = sum(shared[names[i], others[j]] for i, j in pairs)
    return 1 - gained / len(names) if names else 0.0


def best_pairs(gains: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """(row, column) pairs, none twice, whose gains sum to the most. By the Hungarian algorithm, with potentials."""
    n, m = len(gains), len(gains[0]) if gains else 0
    if not n or not m:
        return []
    size = max(n, m)
    cost = [[-gains[i][j] if i < n and j < m else 0.0 for j in range(size)] for i in range(size)]
    u, v = [0.0] * (size + 1), [0.0] * (size + 1)
    match, way = [0] * (size + 1), [0] * (size + 1)
    for i in range(1, size + 1):
        match[0], j0 = i, 0
        least, used = [float("inf")] * (size + 1), [False] * (size + 1)
        while True:
            used[j0] = True
            i0, delta, j1 = match[j0], float("inf"), 0
            for j in range(1, size + 1):
                if not used[j]:
                    reduced = cost[i0 - 1][j - 1] - u[i0] - v[j]
                    if reduced < least[j]:
                        least[j], way[j] = reduced, j0
                    if least[j] < delta:
                        delta, j1 = least[j], j
            for j in range(size + 1):
                if used[j]:
                    u[match[j]] += delta
                    v[j] -= delta
                else:
                    least[j] -= delta
            j0 = j1
            if match[j0] == 0:
                break
        while j0:
            match[j0], j0 = match[way[j0]], way[j0]
    return [(match[j] - 1, j - 1) for j in range(1, size + 1) if match[j] <= n and j <= m]


def read_rttm(lines: Iterable[str]) -> Mapping[str, list[Turn]]:
    """Turns by recording."""
    found: dict[str, list[Turn]] = {}
    for line in lines:
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            start, length = float(fields[3]), float(fields[4])
            found.setdefault(fields[1], []).append((start, start + length, fields[7]))
    return found


def _pieces(
    reference: Sequence[Turn], found: Sequence[Turn], collar_s: float, skip_overlap: bool, first: float, last: float
) -> Iterable[tuple[float, frozenset[str], frozenset[str]]]:
    """(seconds, who speaks, who is said to) of stretches in which nothing changes."""
    edges = sorted({t for turn in reference for t in turn[:2]}) if collar_s else []
    near = [(e - collar_s, e + collar_s) for e in edges]
    marks = {first, last} | {t for turn in (*reference, *found) for t in turn[:2]} | {t for n in near for t in n}
    at = sorted(t for t in marks if first <= t <= last)
    for a, b in pairwise(at):
        middle = (a + b) / 2
        if any(x <= middle < y for x, y in near):
            continue
        said = frozenset(name for s, e, name in reference if s <= middle < e)
        heard = frozenset(name for s, e, name in found if s <= middle < e)
        if said | heard and not (skip_overlap and len(said) > 1):
            yield b - a, said, heard


def _speakers(turns: Iterable[Turn]) -> list[str]:
    return sorted({name for _, _, name in turns})


def _length(turns: Iterable[Turn]) -> float:
    """Seconds that any of them covers."""
    total, last = 0.0, float("-inf")
    for start, end, _ in sorted(turns):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total
