"""Words and turns -> who said what. Knows no sound, no voice; a turn says when somebody speaks, and his name.

A word is whose turn it lies in for longest, and of two who speak at once that speaker's who said the word before;
in a gap, the nearest turn's. A segment in which the speaker changes is parted between those words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby

from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Segment, Turn, Word

EQUAL = 0.9  # of the longest: both speak
ISLAND_S = 0.35  # words of another speaker that are shorter, amid those of one, are his as well
FIRST = "SPEAKER_00"  # of whom nothing is known, where nobody was heard at all


def speaker_name(i: int) -> str:
    """What a speaker without a name is called, as pyannote and whisperX call him: SPEAKER_00 is who spoke first."""
    return f"SPEAKER_{i:02d}"


@dataclass(slots=True)
class Speakers:
    """Turns by time, to be asked again and again. turns: in any order."""

    turns: Sequence[Turn]
    _starts: list[float] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = sorted(self.turns, key=lambda turn: turn.start)
        self._starts = [turn.start for turn in self.turns]
        self._ends = list(accumulate((turn.end for turn in self.turns), max))  # the last end so far

    def of(self, start: float, end: float, before: str | None = None) -> str:
        """Who speaks in a stretch of time. before: who spoke before it, who is preferred where several do."""
        shares: dict[str, float] = {}
        i = bisect_left(self._starts, end)
        while i > 0 and self._ends[i - 1] > start:
            i -= 1
            turn = self.turns[i]
            if turn.end > start:
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + min(end, turn.end) - max(start, turn.start)
        if not shares:
            return self._nearest((start + end) / 2)
        longest = max(shares.values())
        if before is not None and shares.get(before, 0.0) >= EQUAL * longest:
            return before
        return max(shares, key=lambda name: shares[name])

    def _nearest(self, at: float) -> str:
        if not self.turns:
            return FIRST
        i = bisect_left(self._starts, at)
        after = self.turns[i] if i < len(self.turns) else None
        if i == 0:
            return self.turns[0].speaker
        ended = self._ends[i - 1]
        before = next(turn for turn in reversed(self.turns[:i]) if turn.end == ended)
        return after.speaker if after is not None and after.start - at < at - before.end else before.speaker


def label(segments: Iterable[Segment], speakers: Speakers, tokenizer: Tokenizer, first_id: int = 0) -> list[Segment]:
    """Segments with their speakers, parted where the speaker changes, numbered from first_id on."""
    found: list[Segment] = []
    before = None
    for segment in segments:
        if not segment.words:
            before = speakers.of(segment.start, segment.end, before)
            found.append(replace(segment, speaker=before))
            continue
        names = []
        for word in segment.words:
            before = speakers.of(word.start, word.end, before)
            names.append(before)
        names = without_islands(segment.words, names)
        words = [replace(word, speaker=name) for word, name in zip(segment.words, names, strict=True)]
        found += part(segment, words, tokenizer)
        before = names[-1]
    return [replace(segment, id=i) for i, segment in enumerate(found, start=first_id)]


def without_islands(words: Sequence[Word], names: Sequence[str]) -> list[str]:
    """Speakers of words; a short run between two of one speaker becomes his."""
    runs = [(name, list(group)) for name, group in groupby(range(len(words)), key=lambda i: names[i])]
    out = list(names)
    for before, (_, run), after in zip(runs, runs[1:], runs[2:], strict=False):
        short = words[run[-1]].end - words[run[0]].start < ISLAND_S
        if short and before[0] == after[0]:
            for i in run:
                out[i] = before[0]
    return out


def part(segment: Segment, words: Sequence[Word], tokenizer: Tokenizer) -> list[Segment]:
    """A segment in as many as its words have runs of one speaker. No letter and no token is lost."""
    runs = [tuple(group) for _, group in groupby(words, key=lambda word: word.speaker)]
    if len(runs) == 1:
        return [replace(segment, words=runs[0], speaker=runs[0][0].speaker)]
    texts = ["".join(word.word for word in run) for run in runs]
    tokens = _tokens(segment.tokens, [len(text) for text in texts], tokenizer)
    ends = list(accumulate(len(ids) for ids in tokens))
    last = len(runs) - 1
    return [
        replace(
            segment,
            start=segment.start if i == 0 else run[0].start,
            end=segment.end if i == last else run[-1].end,
            text=text,
            tokens=ids,
            logprobs=segment.logprobs[ends[i] - len(ids) : ends[i]],
            words=run,
            speaker=run[0].speaker,
        )
        for i, (run, text, ids) in enumerate(zip(runs, texts, tokens, strict=True))
    ]


def _tokens(tokens: Sequence[int], lengths: Sequence[int], tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Ids to texts of so many characters, as these follow one another; a timestamp goes with the words before it."""
    ends = list(accumulate(lengths))
    found: list[list[int]] = [[] for _ in lengths]
    at = i = 0
    run: list[int] = []
    for token in tokens:
        if token >= tokenizer.eot:
            found[i].append(token)
            continue
        run.append(token)
        text = tokenizer.decode(run)
        if "\N{REPLACEMENT CHARACTER}" in text and len(run) < 4:  # half a character
            continue
        if at >= ends[i] and i + 1 < len(ends):
            i += 1
        found[i] += run
        at += len(text)
        run = []
    found[i] += run
    return [tuple(ids) for ids in found]


def merged(channels: Sequence[tuple[str, Sequence[Segment]]]) -> list[Segment]:
    """The segments of channels, each one speaker's, in order of time."""
    found = []
    for name, segments in channels:
        for segment in segments:
            words = segment.words and tuple(replace(word, speaker=name) for word in segment.words)
            found.append(replace(segment, words=words, speaker=name))
    found.sort(key=lambda segment: (segment.start, segment.end))
    return [replace(segment, id=i) for i, segment in enumerate(found)]
