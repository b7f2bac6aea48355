"""How probable speech is, frame by frame -> windows of at most 30 s. Pure: no model, no window is asked.

    probabilities   . . # # # # . . . # # # . . . . . . . . . # # # #
    spans               [-----]       [---]                   [-----]     begin at ONSET, go on above OFFSET
    windows           [-------------------)                 [---------)   with margins; inner pauses are kept

A window ends in a pause, at its quietest place if the margins meet there. Which pause: a long one before a short one,
a late one before an early one, for a window costs the encoder the same whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from sottovoce.audio.vad import FRAME
from sottovoce.types import SAMPLE_RATE

POSITION = 320  # samples of one audio position (20 ms): windows begin and end on them
ONSET, OFFSET = 0.35, 0.2  # below the usual 0.5, 0.35: far speakers stay below; what is no speech fails the gates
MARGIN = round(0.4 * SAMPLE_RATE / FRAME)  # frames kept on either side of speech, as faster-whisper's speech_pad_ms
SHORTEST = 3  # frames: what is shorter (96 ms) is no word
LONGEST_PAUSE = round(5 * SAMPLE_RATE / FRAME)  # frames: no window goes across a longer one
GOOD_PAUSE = round(1 * SAMPLE_RATE / FRAME)  # frames: a longer pause is no better place to end
PAUSE_WORTH = 0.5  # a good pause is worth half a window
AHEAD = GOOD_PAUSE + MARGIN  # frames beyond the longest window that are known before it is cut
SMOOTH = 5  # frames over which a place without any pause is judged
LARGER_HALF = 0.6  # of a window that is cut once more
DECADES = 10  # of power, that weigh as much as a probability of 1: Silero is sure of all of fluent speech


@dataclass(frozen=True, slots=True)
class Span:
    """Samples [start, end). voice: how probable it is, on average, that somebody speaks in them."""

    start: int
    end: int
    voice: float = 1.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one window holds, in samples. speech: the spans of speech inside, in order. in_speech: it ends in one."""

    start: int
    end: int
    speech: tuple[Span, ...]
    in_speech: bool = False

    def moved(self, n: int) -> Stretch:
        """The same, n samples later."""
        speech = tuple(replace(s, start=s.start + n, end=s.end + n) for s in self.speech)
        return Stretch(self.start + n, self.end + n, speech, self.in_speech)


def stretches(blocks: Iterable[np.ndarray], samples: np.ndarray, longest: int) -> Iterator[Stretch]:
    """The windows of a recording, in order, disjoint; they hold all its speech. Each is yielded as soon as it is sure.

    blocks: probabilities of successive frames, as `vad.blocks` gives them of the samples. longest: samples of a window.
    """
    cutter = _Cutter(samples, longest)
    for block in blocks:
        cutter.hear(block)
        while (found := cutter.next(over=False)) is not None:
            yield found
    while (found := cutter.next(over=True)) is not None:
        yield found


def halves(stretch: Stretch, samples: np.ndarray) -> list[Stretch]:
    """A stretch cut once more, at its best place near the middle; what has no speech in it is left out."""
    track = np.zeros((stretch.end - stretch.start) // FRAME + 1, np.float32)
    for span in stretch.speech:
        part = slice((span.start - stretch.start) // FRAME, -(-(span.end - stretch.start) // FRAME))
        track[part] = max(span.voice, ONSET)
    longest = round((stretch.end - stretch.start) * LARGER_HALF)
    parts = stretches([track], samples[stretch.start : stretch.end], longest)
    return [part.moved(stretch.start) for part in parts]


def quietest(samples: np.ndarray, start: int, end: int) -> int:
    """The sample, on a position, around which [start, end) of the samples is quietest."""
    first = -(-start // POSITION)
    n = end // POSITION - first
    if n < 1:
        return first * POSITION
    sound = np.zeros((n + 1) * POSITION, np.float32)  # one position on either side of each place
    part = samples[max(0, (first - 1) * POSITION) : (first + n) * POSITION]
    sound[: len(part)] = part
    energy = np.square(sound.reshape(n + 1, POSITION)).sum(axis=1)
    return (first + int(np.argmin(energy[:-1] + energy[1:]))) * POSITION


class _Cutter:
    """Numbers are frames of the recording, edge and what is returned samples.

    heard, voiced: of frames [base, end); at: the first frame that is in no window; edge: where the last window ended.
    What is decided looks no further than AHEAD beyond the longest window, so that it does not depend on the blocks.
    """

    def __init__(self, samples: np.ndarray, longest: int) -> None:
        self.samples = samples
        self.longest = longest
        self.heard = np.zeros(0, np.float32)
        self.voiced = np.zeros(0, bool)
        self.base = self.at = self.edge = 0

    @property
    def end(self) -> int:
        return self.base + len(self.heard)

    def hear(self, block: np.ndarray) -> None:
        """The probabilities of the next frames."""
        before = bool(len(self.voiced)) and bool(self.voiced[-1])
        # between the thresholds, what was goes on
        sure = np.concatenate([[True], (block >= ONSET) | (block < OFFSET)])
        loud = np.concatenate([[before], block >= ONSET])
        voiced = loud[np.maximum.accumulate(np.where(sure, np.arange(len(sure)), 0))][1:]
        voiced[max(0, -(-len(self.samples) // FRAME) - self.end) :] = False  # beyond the end nobody speaks
        n_past = max(0, min(self.at - self.base, len(self.heard) - 1))
        self.base += n_past
        self.heard = np.concatenate([self.heard[n_past:], block])
        self.voiced = np.concatenate([self.voiced[n_past:], voiced])

    def next(self, *, over: bool) -> Stretch | None:
        """The next window; None if there is none, or if more must be heard first. over: nothing more will be."""
        spans = self._spans(self.at, self.end)
        if not spans:
            self.at = self.end
            return None
        start = max(self.edge, (spans[0].start - MARGIN) * FRAME // POSITION * POSITION)
        limit = (start + self.longest) // FRAME
        if not over and self.end < limit + AHEAD:
            return None
        known = min(self.end, limit + AHEAD)
        spans = self._spans(spans[0].start, known)
        i = self._last(spans, start, limit, over=over and known == self.end)
        if i is None:
            spans, end = spans[:1], self._least_voiced(start, limit)
            self.at = end // FRAME
        else:
            self.at = spans[i + 1].start if i + 1 < len(spans) else known
            spans, end = spans[: i + 1], self._pause(spans[i].end, self.at, start + self.longest)
        if i is not None and over and self.edge == 0 and not self._spans(self.at, self.end):
            start, end = self._whole(start, end)
        self.edge = end
        speech = (Span(max(start, s.start * FRAME), min(end, s.end * FRAME), self._voice(s)) for s in spans)
        return Stretch(start, end, tuple(s for s in speech if s.start < s.end), in_speech=i is None)

    def _spans(self, start: int, end: int) -> list[Span]:
        """Speech in frames [start, end); what is too short for a word is left out, unless the end cuts it."""
        voiced = self.voiced[start - self.base : end - self.base].astype(np.int8)
        edges = start + np.flatnonzero(np.diff(voiced, prepend=0, append=0))
        found = [Span(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        return [s for s in found if s.end - s.start >= SHORTEST or s.end == end or s.start == self.edge // FRAME]

    def _voice(self, span: Span) -> float:
        return float(self.heard[span.start - self.base : span.end - self.base].mean())

    def _last(self, spans: list[Span], start: int, limit: int, *, over: bool) -> int | None:
        """Which span is the window's last one; None if not even the first one ends before the limit."""
        best, best_worth = None, 0.0
        for i, span in enumerate(spans):
            if span.end > limit:
                return best
            is_last = i + 1 == len(spans)
            pause = (limit + AHEAD if is_last else spans[i + 1].start) - span.end
            if pause > LONGEST_PAUSE or (is_last and over):
                return i
            fill = (span.end * FRAME - start) / self.longest
            worth = fill + PAUSE_WORTH * min(pause, GOOD_PAUSE) / GOOD_PAUSE
            if worth >= best_worth:
                best, best_worth = i, worth
        return best

    def _whole(self, start: int, end: int) -> tuple[int, int]:
        """Margins up to the ends of a recording that is one window anyway: more to hear costs nothing."""
        n, most = len(self.samples), LONGEST_PAUSE * FRAME
        return (0, n) if n <= self.longest and start <= most and n - end <= most else (start, end)

    def _pause(self, start: int, end: int, latest: int) -> int:
        """The sample at which a window ends in the pause of frames [start, end)."""
        if end - start > 2 * MARGIN:
            at = -(-(start + MARGIN) * FRAME // POSITION) * POSITION
        else:
            at = self._quietest(start * FRAME, end * FRAME)
        return min(at, latest, len(self.samples))

    def _quietest(self, start: int, end: int) -> int:
        return quietest(self.samples, start, end)

    def _least_voiced(self, start: int, limit: int) -> int:
        """The sample at which a window ends inside speech: the least voiced place of its second half."""
        first = (start + self.longest // 2) // FRAME
        probable = self.heard[first - self.base : limit - self.base]
        sound = self.samples[first * FRAME : limit * FRAME]
        loud = np.square(sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
        probable = probable[: len(loud)] + np.log10(loud + 1e-10) / DECADES
        smooth = np.convolve(probable, np.full(SMOOTH, 1 / SMOOTH), mode="valid")
        at = first + int(np.argmin(smooth))
        return self._quietest(at * FRAME, (at + SMOOTH) * FRAME)
