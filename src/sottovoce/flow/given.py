"""The words of a text that is given, on their way to their times, and the transcript that they become. Asks nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sottovoce.audio import mel
from sottovoce.flow.placing import split
from sottovoce.text.formats import Dropped, Missing, Transcript, compression_ratio
from sottovoce.text.tokenizer import UNSPACED, Tokenizer
from sottovoce.text.unspaced import is_spoken
from sottovoce.types import Segment, Word

LONGEST_S = 29.0  # of a window
CUT_FROM_S = 18.0  # of a window: from here on it ends in its longest pause
LONGEST_PAUSE_S = 5.0  # no window goes across a longer one
MARGIN_S = 0.4
SQUEEZED_S = 0.05  # the most of a pause that a word gets which was not spoken
LEAST_UNTOLD_S = 0.5  # of speech in no text: less is not worth a line


@dataclass(slots=True)
class Item:
    """A word on its way: of the text (line, the ids of its tokens), or one that was heard and is in no text (line -1).

    start, end: seconds; nan where nothing was heard in its place. sure: it was heard as it is given. guess: nobody
    heard it, but it may be there, between its neighbours.
    """

    word: str
    ids: tuple[int, ...]
    line: int
    start: float = float("nan")
    end: float = float("nan")
    probability: float = 0.0
    sure: bool = False
    guess: bool = False

    @property
    def placed(self) -> bool:
        return self.start == self.start


def words_of(tokenizer: Tokenizer, line: str, i_line: int) -> list[Item]:
    """The words of a line; joined they are the line. Marks that stand alone belong to the word before."""
    text = line.strip()
    words, ids = split(tokenizer, tokenizer.encode(text if tokenizer.language in UNSPACED else f" {text}"))
    items: list[Item] = []
    held: tuple[str, tuple[int, ...]] = ("", ())
    for word, tokens in zip(words, ids, strict=True):
        if is_spoken(word):
            items.append(Item(held[0] + word, (*held[1], *tokens), i_line))
            held = ("", ())
        elif items:
            items[-1].word += word
            items[-1].ids += tuple(tokens)
        else:
            held = (held[0] + word, (*held[1], *tokens))
    return items or ([Item(*held, i_line)] if held[1] else [])


def windows(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Words in parts that fit into windows; they end in pauses, in the longest one if they must."""
    part: list[Item] = []
    for item in items:
        while part and (
            item.end + MARGIN_S - (part[0].start - MARGIN_S) > LONGEST_S or item.start - part[-1].end > LONGEST_PAUSE_S
        ):
            if item.start - part[-1].end > LONGEST_PAUSE_S:
                yield part
                part = []
                break
            late = [i for i in range(1, len(part)) if part[i].start - part[0].start > CUT_FROM_S] or [len(part)]
            cut = max(late, key=lambda i: (part[i].start if i < len(part) else item.start) - part[i - 1].end)
            yield part[:cut]
            part = part[cut:]
        part.append(item)
    if part:
        yield part


def transcript(heard: Transcript, items: Sequence[Item], n_lines: int) -> Transcript:
    """The lines as segments. heard: what the recording says by itself."""
    missing = list(_missing(items))
    _squeeze(items, heard.duration)
    lines: list[list[Item]] = [[] for _ in range(n_lines)]
    for item in items:
        if item.line >= 0:
            lines[item.line].append(item)
    found = [_segment(i, words) for i, words in enumerate(words for words in lines if words)]
    untold = list(_untold(items))
    told = [(s.start, s.end) for s in found]
    dropped = [d for d in heard.dropped if not any(a < d.end and d.start < b for a, b in told)]
    return replace(
        heard,
        text="".join(s.text for s in found),
        segments=tuple(found),
        dropped=tuple(sorted([*untold, *dropped], key=lambda d: d.start)),
        missing=tuple(missing),
    )


def _missing(items: Sequence[Item]) -> Iterator[Missing]:
    """What of the text was not spoken, line by line."""
    run: list[Item] = []
    at_s = 0.0
    for item in [*items, Item("", (), -2)]:
        if run and (item.placed or item.line != run[0].line):
            yield Missing(run[0].line, "".join(x.word for x in run).strip(), round(at_s, 2))
            run = []
        if item.placed:
            at_s = item.end
        elif item.line >= 0:
            run.append(item)


def unplaced(items: Sequence[Item], duration_s: float) -> Iterator[tuple[Sequence[Item], float, float]]:
    """Runs of items without a place, and the seconds between their neighbours; they may be placed meanwhile."""
    at = 0
    while at < len(items):
        if items[at].placed:
            at += 1
            continue
        to = next((i for i in range(at, len(items)) if items[i].placed), len(items))
        start = items[at - 1].end if at else 0.0
        yield items[at:to], start, items[to].start if to < len(items) else duration_s
        at = to


def _squeeze(items: Sequence[Item], duration_s: float) -> None:
    """A place for words that were not spoken: a little of the pause between their neighbours, if there is any."""
    for run, start, end in unplaced(items, duration_s):
        step = min(SQUEEZED_S, max(0.0, end - start) / len(run))
        for k, item in enumerate(run):
            item.start, item.end = round(start + k * step, 4), round(start + (k + 1) * step, 4)


def _segment(i: int, words: Sequence[Item]) -> Segment:
    text = "".join(item.word for item in words)
    spoken = [item for item in words if item.probability > 0] or words
    logs = np.log(np.maximum([item.probability for item in words], 1e-6))
    return Segment(
        id=i,
        seek=round(words[0].start * mel.FRAMES_PER_S),
        start=spoken[0].start,
        end=spoken[-1].end,
        text=text,
        tokens=tuple(t for item in words for t in item.ids),
        temperature=0.0,
        avg_logprob=float(logs.mean()),
        compression_ratio=compression_ratio(text),
        no_speech_prob=0.0,
        words=tuple(Word(item.word, item.start, item.end, item.probability) for item in words),
    )


def _untold(items: Sequence[Item]) -> Iterator[Dropped]:
    """Speech that is in no line."""
    run: list[Item] = []
    for item in [*items, Item("", (), 0)]:
        if item.line < 0:
            run.append(item)
            continue
        if run and run[-1].end - run[0].start >= LEAST_UNTOLD_S:
            yield Dropped(run[0].start, run[-1].end, "no text")
        run = []
