"""Rules -> subtitles: what is shown together, on which lines, from when to when. Knows no format.

What always holds: every word is shown, unchanged, in order; subtitles do not overlap, and keep their gap; no line is
wider than its limit, and there are no more lines than allowed; no subtitle is shown for longer than max_s; none goes
across a pause of LONG_PAUSE_S or, but for dashes, from one speaker to another; no name and no number with its unit is
divided that fits on a line and is spoken within max_s.
What yields, the first before the second: reading speed, where words are spoken faster and no silence follows; then the
minimal duration; then the start, which is late where words have no time of their own.
Everything else is preference, and weighed: to end with sentences, then clauses, then phrases, and before pauses; two
lines of like length; few subtitles, none of them a scrap.

    unit  ->  stretch (no long pause, one speaker)  ->  subtitle  ->  line
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from sottovoce.text.columns import clusters, columns
from sottovoce.text.layout import SHORTEST_S, Rules
from sottovoce.text.units import INSIDE_NAME, Run, Unit, fitted, units
from sottovoce.types import Segment

LONG_PAUSE_S = 1.0  # the shortest that leaves a short word before it its 5/6 s and a gap
CHAIN_S = 0.5  # a shorter break between two subtitles flickers: the first stays until the gap
DASH = "- "

_Folded = tuple[float, list[int]]  # the cost of lines, and the units that begin them but the first

# Weights of what is preferred; only their order of magnitude matters. Looked at: docs/subtitles.md
A_SUBTITLE = 5.0
A_SCRAP, SCRAP = 8.0, 0.3  # share of a line that a subtitle should fill
A_STUB, STUB = 4.0, 0.25  # the same, of each line where there are several
AN_INNER_SEGMENT_END = 3.0
AN_INNER_SENTENCE_END = 60.0
AN_INNER_PAUSE = 8.0  # a second
TOO_SHORT, SHORTER = 70.0, 100.0
TOO_FAST, FASTER = 4.0, 80.0
END, UNEVEN, TOP_HEAVY = 2.0, 8.0, 0.3
PAUSE = 6.0  # a second of pause makes up for as much of the cost of an end before it


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a subtitle. label: a name or dash in front of it; runs: what is spoken, with spaces between."""

    label: str
    runs: tuple[Run, ...]
    speaker: str | None = None

    @property
    def spoken(self) -> str:
        return "".join(run.text for run in self.runs)

    @property
    def text(self) -> str:
        return self.label + self.spoken


@dataclass(frozen=True, slots=True)
class Subtitle:
    """What is shown together. start, end: seconds."""

    start: float
    end: float
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


@dataclass(slots=True)
class _Set:
    """A subtitle before its times are settled. lines: units of each."""

    lines: list[list[Unit]]
    labels: list[str]
    n_columns: int

    @property
    def start(self) -> float:
        return self.lines[0][0].start

    @property
    def end(self) -> float:
        return max(unit.end for line in self.lines for unit in line)

    def need_s(self, rules: Rules) -> float:
        return max(rules.min_s, self.n_columns / rules.columns_per_s)


def subtitles(segments: Sequence[Segment], language: str, rules: Rules, speakers: str) -> list[Subtitle]:
    """The subtitles of a transcript. speakers: "name", "dash" or "none"."""
    found: list[Unit] = []
    for unit in units(segments, language, rules.ambiguous_width):
        label = _label(unit.speaker, rules) if speakers == "name" else ""
        found += fitted(unit, rules.columns - columns(label, rules.ambiguous_width), rules.ambiguous_width)
    for unit in found:
        unit.runs = [replace(run, start=round(run.start, 3), end=round(run.end, 3)) for run in unit.runs]
    sets: list[_Set] = []
    spoke: str | None = None
    stretches = list(_stretches(found))
    for stretch, after in zip(stretches, [*stretches[1:], None], strict=False):
        label = _label(stretch[0].speaker, rules) if speakers == "name" and stretch[0].speaker != spoke else ""
        spoke = stretch[0].speaker
        sets += _Stretch(stretch, after[0].start if after else inf, label, rules).sets()
    if speakers == "dash" and rules.n_lines > 1:
        sets = list(_dialogue(sets, rules))
    return list(_timed(sets, rules))


def _label(speaker: str | None, rules: Rules) -> str:
    """At most half a line, so that the longest word fits behind it."""
    if speaker is None or not speaker.strip():
        return ""
    name = " ".join(speaker.split())
    if columns(f"{name}: ", rules.ambiguous_width) > rules.columns // 2:
        kept = ""
        for c in clusters(name):
            if columns(f"{kept}{c}…: ", rules.ambiguous_width) > rules.columns // 2:
                break
            kept += c
        name = f"{kept}…"
    return f"{name}: "


def _stretches(found: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Units without a long pause between them, of one speaker."""
    stretch: list[Unit] = []
    for unit in found:
        if stretch and (unit.speaker != stretch[-1].speaker or round(unit.start - stretch[-1].end, 3) >= LONG_PAUSE_S):
            yield stretch
            stretch = []
        stretch.append(unit)
    if stretch:
        yield stretch


class _Stretch:
    """A stretch being divided: the cheapest way, by dynamic programming over the units at which subtitles begin.

    _at[i]: columns before unit i, its space not counted. _opens, _pauses: sentence ends and seconds of pause before it.
    """

    def __init__(self, found: Sequence[Unit], next_start: float, label: str, rules: Rules) -> None:
        self.units = found
        self.rules = rules
        self.label = label
        self.lead = columns(label, rules.ambiguous_width)
        self.starts = [*(unit.start for unit in found), next_start]
        self.ends = [unit.end for unit in found]
        self._at, self._opens, self._pauses = [0], [0], [0.0]
        for i, unit in enumerate(found):
            self._at.append(self._at[-1] + unit.gap + unit.width)
            self._opens.append(self._opens[-1] + unit.opens)
            pause = self.starts[i] - self.ends[i - 1] if i else 0.0
            self._pauses.append(self._pauses[-1] + (pause if pause > 0.3 else 0.0))
        self.bound = [unit.bound for unit in found]
        self.costs = [unit.cost for unit in found]
        self.gap = max(unit.gap for unit in found)  # the widest space, which falls away where a line ends
        self._loosen()

    def _width(self, i: int, j: int) -> int:
        return self._at[j] - self._at[i] - self.units[i].gap

    def _loosen(self) -> None:
        """Names and numbers that no line or no subtitle can hold may be divided after all."""
        self.bound[0] = False
        i = 0
        while i < len(self.units):
            j = i + 1
            while j < len(self.units) and self.bound[j]:
                j += 1
            if self._width(i, j) + self.lead > self.rules.columns or self._span(i, j) > self.rules.max_s:
                for k in range(i + 1, j):
                    self.bound[k] = False
                    self.costs[k] = INSIDE_NAME
            i = j

    def _span(self, i: int, j: int) -> float:
        return max(self.ends[i:j]) - self.starts[i]

    def sets(self) -> Iterator[_Set]:
        n = len(self.units)
        # of the best way up to each unit: its cost, where its last subtitle begins, and where that one's lines do
        nowhere: list[int] = []
        best = [(0.0, 0, nowhere), *((inf, 0, nowhere) for _ in range(n))]
        widest = self.rules.columns * self.rules.n_lines
        for j in range(1, n + 1):
            if j < n and self.bound[j]:
                continue
            for i in range(j - 1, -1, -1):
                if self._width(i, j) > widest + self.rules.n_lines or (j > i + 1 and self._is_long(i, j)):
                    break
                if self.bound[i] or best[i][0] == inf:
                    continue
                folded = self._fold(i, j)
                if folded is None:
                    continue
                cost = best[i][0] + folded[0] + self._cost(i, j)
                if cost < best[j][0]:
                    best[j] = (cost, i, folded[1])
        return self._chosen(best)

    def _is_long(self, i: int, j: int) -> bool:
        return self.ends[j - 1] - self.starts[i] > self.rules.max_s and not all(self.bound[i + 1 : j])

    def _chosen(self, best: Sequence[tuple[float, int, list[int]]]) -> Iterator[_Set]:
        found: list[_Set] = []
        j = len(self.units)
        while j:
            _, i, breaks = best[j]
            edges = [i, *breaks, j]
            lines = [list(self.units[a:b]) for a, b in pairwise(edges)]
            lead = self.lead if i == 0 else 0
            found.append(_Set(lines, [self.label if i == 0 else "", *("" for _ in breaks)], self._width(i, j) + lead))
            j = i
        return reversed(found)

    def _cost(self, i: int, j: int) -> float:
        """Of a subtitle of the units i to j, its lines not counted."""
        rules, n = self.rules, len(self.units)
        width = self._width(i, j) + (self.lead if i == 0 else 0)
        need = max(rules.min_s, width / rules.columns_per_s)
        room = self.starts[j] - rules.gap_s - self.starts[i]
        shown = max(SHORTEST_S, min(max(need, self.ends[j - 1] - self.starts[i]), room, rules.max_s))
        cost = A_SUBTITLE
        if shown < rules.min_s - 1e-6:
            cost += TOO_SHORT + SHORTER * (1 - shown / rules.min_s)
        fast = width / (rules.columns_per_s * shown) - 1
        if fast > 1e-6:
            cost += TOO_FAST + FASTER * min(fast, 2.0)
        cost += AN_INNER_SENTENCE_END * (self._opens[j] - self._opens[i + 1])
        cost += AN_INNER_SEGMENT_END * (self.units[j - 1].i_segment - self.units[i].i_segment)
        cost += AN_INNER_PAUSE * (self._pauses[j] - self._pauses[i + 1])
        if j < n:
            cost += max(0.0, END * self.costs[j] - PAUSE * max(0.0, self.starts[j] - self.ends[j - 1]))
        is_whole = (i == 0 or self.units[i].opens) and (j == n or self.units[j].opens)
        if width < SCRAP * rules.columns and not is_whole:
            cost += A_SCRAP
        return cost

    def _fold(self, i: int, j: int) -> _Folded | None:
        """On as few lines as can hold it, the best way: its cost, and the units that begin the lines but the first."""
        lead = self.lead if i == 0 else 0
        total = self._width(i, j) + lead
        least = -(-total // self.rules.columns)
        for n_lines in range(max(1, min(least, 2)), self.rules.n_lines + 1):
            if n_lines > j - i:
                return None
            folded = self._folded(i, j, n_lines, lead, total / n_lines, {})
            if folded is not None:
                return folded
        return None

    def _folded(
        self, i: int, j: int, n_lines: int, lead: int, even: float, known: dict[tuple[int, int], _Folded | None]
    ) -> _Folded | None:
        """known: what follows from which unit on so many lines, found once for all lines before it."""
        limit = self.rules.columns
        if n_lines == 1:
            width = self._width(i, j) + lead
            return None if width > limit else (self._uneven(width, even), [])
        best: _Folded | None = None
        widest = limit * (n_lines - 1) + self.gap * (n_lines - 2)
        for k in range(i + 1, j - n_lines + 2):
            width = self._width(i, k) + lead
            if width > limit:
                break
            if self.bound[k] or self._width(k, j) > widest:
                continue
            if (k, n_lines) not in known:
                known[k, n_lines] = self._folded(k, j, n_lines - 1, 0, even, known)
            rest = known[k, n_lines]
            if rest is None:
                continue
            cost = rest[0] + self.costs[k] + self._uneven(width, even) + (TOP_HEAVY if width > even else 0)
            if best is None or cost < best[0]:
                best = (cost, [k, *rest[1]])
        return best

    def _uneven(self, width: int, even: float) -> float:
        """Of a line among others. even: the width of each if all were alike."""
        limit = self.rules.columns
        stub = A_STUB if width < STUB * limit and width < even else 0.0
        return stub + UNEVEN * ((width - even) / limit) ** 2


def _dialogue(sets: Sequence[_Set], rules: Rules) -> Iterator[_Set]:
    """Two speakers in one subtitle, a dash before each, where one of them could not be read alone."""
    i = 0
    while i < len(sets):
        a, b = sets[i], sets[i + 1] if i + 1 < len(sets) else None
        later = sets[i + 2].start if i + 2 < len(sets) else inf
        if b is not None and _answers(a, b, later, rules):
            n_columns = a.n_columns + b.n_columns + 2 * len(DASH)
            yield _Set([a.lines[0], b.lines[0]], [DASH, DASH], n_columns)
            i += 2
        else:
            yield a
            i += 1


def _answers(a: _Set, b: _Set, later: float, rules: Rules) -> bool:
    first, second = a.lines[0][0].speaker, b.lines[0][0].speaker
    if first == second or first is None or second is None or len(a.lines) > 1 or len(b.lines) > 1:
        return False
    if max(a.n_columns, b.n_columns) + len(DASH) > rules.columns:
        return False
    if b.start - a.end >= LONG_PAUSE_S or max(a.end, b.end) - a.start > rules.max_s:
        return False
    hurried = b.start - rules.gap_s - a.start < a.need_s(rules) or later - rules.gap_s - b.start < b.need_s(rules)
    return hurried


def _timed(sets: Sequence[_Set], rules: Rules) -> Iterator[Subtitle]:
    """With times: shown until it can have been read, if silence follows, and no longer than until the next but a gap.

    start = first word             | need = min_s or reading time
    [ words ........ ][ silence ...]<- gap ->[ next
    [ shown ...................... ]
    """
    free = 0.0
    for i, one in enumerate(sets):
        start = max(one.start, free)
        limit = sets[i + 1].start - rules.gap_s if i + 1 < len(sets) else inf
        most = min(limit, start + rules.max_s)
        end = min(max(one.end, start + one.need_s(rules)), most)
        if 0 < limit - end < CHAIN_S:
            end = most
        end = round(max(end, start + SHORTEST_S), 3)
        free = round(end + rules.gap_s, 3)
        lines = tuple(
            Line(label, _runs(line), line[0].speaker) for label, line in zip(one.labels, one.lines, strict=True)
        )
        yield Subtitle(round(start, 3), end, lines)


def _runs(line: Sequence[Unit]) -> tuple[Run, ...]:
    found: list[Run] = []
    for unit in line:
        first, *others = unit.runs
        found.append(replace(first, text=unit.space + first.text) if found else first)
        found += others
    return tuple(found)
