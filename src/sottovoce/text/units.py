"""Segments -> units: text that stays whole, with its times, and how well a line ends between two. Knows no subtitle."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import isfinite
from unicodedata import category

from sottovoce.text.columns import (
    NO_END,
    NO_START,
    clusters,
    columns,
    is_hiragana,
    is_katakana,
    is_spaceless,
    is_wide,
    may_part,
    stays,
)
from sottovoce.text.phrases import NO_SMALL, SMALL, Small, are_loud, bare, bonds, ends_clause, ends_sentence
from sottovoce.types import Segment

CHUNK = re.compile(r"[\S\u00a0\u2007\u202f]+")  # some spaces forbid that a line ends at them
LONGEST_WORD = 6  # full-width characters of a word that is kept whole; longer ones are phrases
# How bad it is to end a line here: 0 after a sentence
AFTER_CLAUSE, AFTER_SEGMENT, BEFORE_CLAUSE, BEFORE_PHRASE, BETWEEN_WORDS, INSIDE_PHRASE = 1, 2, 2, 3, 5, 10
INSIDE_BRACKETS = 3  # on top
INSIDE_SYLLABLES = 24  # before a character that often goes on with a word
INSIDE_WORD = 30
INSIDE_NAME = 40  # or number: only where it does not fit on a line, or is spoken with a pause
DASHES = ("-", "–", "—", "‐", "−")
JAPANESE_CLAUSES = (
    "から",
    "ので",
    "けど",
    "れど",
    "ながら",
    "たら",
    "れば",
    "ると",
    "して",
    "って",
    "では",
    "には",
    "たり",
)
JOINED = {"ar": "و", "he": "ו"}  # "and" is written with the word after it


@dataclass(frozen=True, slots=True)
class Run:
    """Text that is spoken from start to end, seconds; with the space before it."""

    text: str
    start: float
    end: float


@dataclass(slots=True)
class Unit:
    """Text without a place where it may be divided. space: what stands before it, unless a line begins with it.

    cost: of a line that ends before it. bound: a name or number goes on with it. opens: a sentence begins with it.
    """

    runs: list[Run]
    space: str
    speaker: str | None
    i_segment: int
    text: str = ""
    width: int = 0
    gap: int = 0  # columns of the space
    cost: float = BETWEEN_WORDS
    bound: bool = False
    opens: bool = False

    @property
    def start(self) -> float:
        return self.runs[0].start

    @property
    def end(self) -> float:
        return self.runs[-1].end


@dataclass(slots=True)
class _Piece:
    """Text between two places where division is thinkable. edge: a word of the recogniser begins here."""

    text: str
    space: str
    start: float
    end: float
    edge: bool
    speaker: str | None
    i_segment: int


def units(segments: Sequence[Segment], language: str, ambiguous_width: int) -> list[Unit]:
    """The units of a transcript, their times in order. No character but spaces is lost."""
    found: list[Unit] = []
    for piece in _pieces(segments):
        before = found[-1] if found else None
        if before is not None and _is_joined(before, piece):
            before.runs.append(Run(piece.space + piece.text, piece.start, piece.end))
            before.text += piece.space + piece.text
            continue
        space = piece.space
        if before is not None and not space and not _is_solid(before.text[-1], piece.text[0]):
            space = " "  # segments of spaced words that lack theirs
        run = Run(piece.text, piece.start, piece.end)
        found.append(Unit([run], space, piece.speaker, piece.i_segment, piece.text))
    for unit in found:
        unit.width, unit.gap = columns(unit.text, ambiguous_width), columns(unit.space, ambiguous_width)
    _weigh(found, language)
    return found


def fitted(unit: Unit, width: int, ambiguous_width: int) -> list[Unit]:
    """The unit in parts that are no wider than a line: divided at spaces that a line should not end at, if it has any,
    else between characters."""
    if unit.width <= width:
        return [unit]
    loose: list[Unit] = []
    for run in unit.runs:
        text = run.text.lstrip()
        if not loose:
            loose.append(replace(unit, runs=[run], text=text))
        elif text == run.text:
            loose[-1].runs.append(run)
            loose[-1].text += text
        else:
            space = run.text[: -len(text)]
            one = Unit([replace(run, text=text)], space, unit.speaker, unit.i_segment, text, cost=INSIDE_PHRASE)
            loose.append(replace(one, gap=columns(space, ambiguous_width)))
    for one in loose:
        one.width = columns(one.text, ambiguous_width)
    return [part for one in loose for part in _cut(one, width, ambiguous_width)]


def _cut(unit: Unit, width: int, ambiguous_width: int) -> list[Unit]:
    """A unit without spaces in parts that are no wider than a line."""
    if unit.width <= width:
        return [unit]
    chars = iter([(i, timed) for i, run in enumerate(unit.runs) for timed in _timed(run.text, run.start, run.end)])
    parts: list[list[str]] = [[]]
    for c in clusters(unit.text):
        last = parts[-1]
        if last and columns("".join(last) + c, ambiguous_width) > width:
            # a mark that no line begins with takes the character before it along
            parts.append([last.pop()] if c[0] in NO_START and len(last) > 1 else [])
        parts[-1].append(c)
    made = []
    for i, part in enumerate(parts):
        runs: dict[int, list[tuple[str, float, float]]] = {}
        for _ in range(sum(map(len, part))):
            i_run, timed = next(chars)
            runs.setdefault(i_run, []).append(timed)
        own = [Run("".join(c for c, _, _ in run), run[0][1], run[-1][2]) for run in runs.values()]
        text = "".join(part)
        one = Unit(own, "", unit.speaker, unit.i_segment, text, columns(text, ambiguous_width), cost=INSIDE_WORD)
        made.append(one if i else replace(one, space=unit.space, gap=unit.gap, cost=unit.cost, bound=unit.bound))
    made[0].opens = unit.opens
    return made


# --- text -> pieces --------------------------------------------------------------------------------------------------


def _pieces(segments: Sequence[Segment]) -> Iterator[_Piece]:
    """Text between two places where division is thinkable, with the spaces that stood between; starts in order."""
    space, latest = "", 0.0
    for i in range(len(segments)):
        for text, start, end, speaker, is_word in _runs(segments, i):
            start = max(latest, start) if isfinite(start) else latest
            end = max(start, end) if isfinite(end) else start
            body = text.strip()
            step = (end - start) / max(1, len(body))
            zero = start - step * (len(text) - len(text.lstrip()))  # when the run's first character would be spoken
            edge, at = True, 0
            for chunk in CHUNK.finditer(text):
                space = _space(text[at : chunk.start()]) or space
                at = chunk.start()
                for part in _divided(chunk[0], is_word):
                    latest = zero + at * step
                    at += len(part)
                    times = (start, end) if part == body else (latest, zero + at * step)
                    yield _Piece(part, space, *times, edge, speaker, i)
                    space, edge = "", False
            space = _space(text[at:]) or space


def _space(between: str) -> str:
    return "\u3000" if "\u3000" in between else " " if between else ""


def _runs(segments: Sequence[Segment], i: int) -> Iterator[tuple[str, float, float, str | None, bool]]:
    """What has times of its own: (text, start, end, speaker, whether it is a word)."""
    segment = segments[i]
    if segment.words and "".join(w.word for w in segment.words).strip():
        for w in segment.words:
            yield _clean(w.word), w.start, w.end, w.speaker or segment.speaker, True
        return
    end = segment.end
    if i + 1 < len(segments) and segment.start < segments[i + 1].start < end:
        end = segments[i + 1].start  # two speak at once: each is shown when it begins
    yield _clean(segment.text), segment.start, end, segment.speaker, False


def _clean(text: str) -> str:
    """Without control characters, which no format can hold."""
    return text if text.isprintable() else "".join(c for c in text if c.isspace() or category(c) != "Cc")


def _timed(text: str, start: float, end: float) -> list[tuple[str, float, float]]:
    """Each character with its share of the time."""
    step = (end - start) / max(1, len(text))
    return [(c, start + i * step, start + (i + 1) * step) for i, c in enumerate(text)]


def _divided(chunk: str, is_word: bool) -> Iterator[str]:
    """A text without spaces, divided where a line may end."""
    if chunk.isascii() or (is_word and sum(map(is_wide, chunk)) <= LONGEST_WORD):
        if chunk:
            yield chunk
        return
    first = 0
    for i in range(1, len(chunk)):
        if may_part(chunk[i - 1], chunk[i]):
            yield chunk[first:i]
            first = i
    yield chunk[first:]


def _is_joined(before: Unit, piece: _Piece) -> bool:
    """A piece goes on with the unit before it: no line ends between them."""
    a, b = before.text[-1], piece.text[0]
    if before.speaker != piece.speaker:
        return False
    if piece.space:
        if all(c in NO_START for c in piece.text):
            return True  # French puts spaces before its marks, and so may a recogniser
        if before.text in DASHES:
            return True  # "- Hello"; between words it is with the word before it
        return (piece.text in DASHES and before.i_segment == piece.i_segment) or all(c in NO_END for c in before.text)
    if before.i_segment != piece.i_segment:
        return stays(a, b) or (b in NO_START and not piece.text.isalnum())
    if piece.edge and is_spaceless(a) and is_spaceless(b):
        return stays(a, b) or b in NO_START
    return not may_part(a, b)


def _is_solid(a: str, b: str) -> bool:
    """Between these two, no space is written."""
    return any(is_wide(c) or is_spaceless(c) for c in (a, b))


# --- how well a line ends --------------------------------------------------------------------------------------------


def _weigh(found: Sequence[Unit], language: str) -> None:
    loud: dict[int, bool] = {}
    for i, own in groupby(found, lambda unit: unit.i_segment):
        loud[i] = are_loud([unit.text for unit in own])
    words = [unit.text for unit in found]
    bound = bonds(words, [loud[unit.i_segment] for unit in found], language)
    small = SMALL.get(language, NO_SMALL)
    depth = 0
    for i in range(1, len(found)):
        a, b = found[i - 1], found[i]
        b.opens = ends_sentence(a.text, b.text, language)
        b.bound = bound[i] and bool(b.space) and not b.opens and a.speaker == b.speaker
        before = "".join(unit.text for unit in found[max(0, i - 4) : i])
        b.cost = 0 if b.opens else _cost(a, b, before, small, language)
        depth = 0 if a.i_segment != b.i_segment else max(0, depth + _opened(a.text))
        b.cost += INSIDE_BRACKETS if depth and not b.opens else 0


def _opened(text: str) -> int:
    """How many more brackets it opens than it closes; quotes whose two sides are alike do not count."""
    return sum((c in "「『（(“«《") - (c in "」』）)”»》") for c in text)


def _cost(a: Unit, b: Unit, before: str, small: Small, language: str) -> float:
    if ends_clause(a.text):
        return AFTER_CLAUSE
    if a.i_segment != b.i_segment:
        return AFTER_SEGMENT
    if not b.space:
        return _solid_cost(before, b.text, language)
    last, first = bare(a.text).lower(), bare(b.text).lower()
    if last in small or last.isdigit():
        return INSIDE_PHRASE
    if first in small.joins or (first[:1] == JOINED.get(language) and len(first) > 3):
        return BEFORE_CLAUSE
    return BEFORE_PHRASE if first in small.before else BETWEEN_WORDS


def _solid_cost(a: str, b: str, language: str) -> float:
    """Between characters that no space parts. a: the text before, of which the last characters tell."""
    last, first = a[-1], b[0]
    if not last.isalnum():
        return BETWEEN_WORDS  # a bracket closes
    if language == "ja" or is_hiragana(last) or is_hiragana(first):
        if is_hiragana(first):
            is_word = sum(map(str.isalnum, b)) > 1  # as the recogniser knows words
            return BETWEEN_WORDS + 2 if is_word else INSIDE_SYLLABLES
        if is_hiragana(last):
            return BEFORE_CLAUSE if a.endswith(JAPANESE_CLAUSES) else BEFORE_PHRASE + (last not in "はも")
        return INSIDE_PHRASE + 2 if is_katakana(first) == is_katakana(last) else BETWEEN_WORDS + 2
    if first in "的了着著過过地得吗嗎呢吧啊们們么麼儿兒子":
        return INSIDE_SYLLABLES
    if first in "和与與但而因所如在把被對对從从就也都":
        return BETWEEN_WORDS + 2
    return INSIDE_PHRASE + 1 if last in "的了吗呢吧着" else INSIDE_PHRASE + 2
