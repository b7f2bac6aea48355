"""A text that is given gets its times from its recording: forced alignment, of any length. No I/O, no tensor.

The recording is transcribed with word times; the text is matched to what was heard (matching.py). Where both say the
same, the times are there already. Elsewhere the text's words are put in the place of what was heard, and that is
aligned again, in windows of the recording; what was heard and is in no text takes part, so that it has its own time.

given   the old house            listens    to the sea
heard   the old horse  I  say    listens    to
        heard   align  no text   heard      heard  missing, unless there is speech for it: align
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import ceil, nan

import numpy as np

from sottovoce.audio import mel, vad
from sottovoce.errors import OptionError
from sottovoce.flow import onsets, parallel, question
from sottovoce.flow.given import MARGIN_S, Item, transcript, unplaced, windows, words_of
from sottovoce.flow.listen import Checkpoint
from sottovoce.flow.matching import key, match
from sottovoce.flow.protocol import WAIT, Event, Flow, Got, Known, Wait
from sottovoce.flow.question import POSITION_S
from sottovoce.flow.spans import ONSET
from sottovoce.flow.through import through
from sottovoce.flow.words import POSITIONS_PER_S
from sottovoce.options import Options
from sottovoce.text.tokenizer import UNSPACED, Tokenizer
from sottovoce.text.unspaced import is_spoken
from sottovoce.types import SAMPLE_RATE, Align, Aligned, Sound, Strategy, Task, Window, Word

FASTEST_S = 0.04  # of speech for a letter; a character of languages that write no spaces takes three times as long
FEW = 3  # words that may be there though nobody heard them,
IMPROBABLE = 0.02  # to the model, at least half of a line's: else they are missing
STRAY_S = 0.5  # further from where it was heard no word is moved that was heard as it is given
HEARD_SHARE = 0.9  # of the progress, when the recording has been transcribed


def align(
    samples: np.ndarray,
    lines: Sequence[str],
    options: Options,
    checkpoint: Checkpoint,
    flow_id: str,
    n_in_flight: int = parallel.N_IN_FLIGHT,
    hear: parallel.Hear = vad.fresh_blocks,
) -> Flow:
    """A flow whose transcript is the lines, a segment each, with times; the rest as parallel.transcribe.

    What of the text was not heard is in `missing`, its words with a probability of 0; speech that is in no line is in
    `dropped`. Raises OptionError, at the first step, if there is no text, or for options that mean nothing here.
    """
    _check(lines, options)
    probable: list[np.ndarray] = []

    def kept(clip: np.ndarray) -> Iterator[np.ndarray]:
        for block in hear(clip):
            if len(clip) == len(samples):  # else an excerpt, in which the language is heard
                probable.append(block)
            yield block

    o = replace(options, word_timestamps=True, strategy=Strategy.PARALLEL)
    run = parallel.transcribe(samples, o, checkpoint, flow_id, n_in_flight, kept)
    heard = yield from through(run, _hushed)
    tokenizer = Tokenizer(checkpoint.n_vocab, heard.language, str(Task.TRANSCRIBE))
    speech = np.concatenate([*probable, np.zeros(1, np.float32)]) >= ONSET if probable else np.ones(1, bool)
    peak = mel.peak(samples, checkpoint.n_mels)
    aligner = _Aligner(samples, peak, checkpoint, tokenizer, flow_id, n_in_flight, speech)
    given = [item for i, line in enumerate(lines) for item in words_of(tokenizer, line, i)]
    items = aligner.matched(given, [w for s in heard.segments for w in s.words or ()])
    yield from aligner.place(items)
    yield Known((), len(samples) / SAMPLE_RATE)
    return transcript(heard, items, len(lines))


def _check(lines: Sequence[str], o: Options) -> None:
    if not any(is_spoken(line) for line in lines):
        raise OptionError("text: nothing that can be spoken was given; pass the words of the recording")
    refused = {
        "task": (o.task is Task.TRANSLATE, "a text is aligned with the words that are spoken; leave it out"),
        "clips": (bool(o.clips), "a text is aligned with the whole recording; cut it before"),
        "strategy": (o.strategy is Strategy.SEQUENTIAL, "a text is aligned with windows in any order; leave it out"),
        "multilingual": (o.multilingual, "a text is read in one language; leave it out"),
        "diarize": (o.diarize, "a text does not say who speaks; transcribe the recording, or leave it out"),
        "replacements": (bool(o.replacements), "a text is aligned as it is given; change it before"),
    }
    for name, (given, why) in refused.items():
        if given:
            raise OptionError(f"{name}: {getattr(o, name)!r} was given, which align cannot honour: {why}")


def _hushed(said: Event) -> Event:
    """Nobody hears of segments before they are matched."""
    return Known((), said.position_s * HEARD_SHARE) if isinstance(said, Known) else said


@dataclass(frozen=True, slots=True, eq=False)
class _Aligner:
    """What all windows of a recording have in common. speech: is there any, in each frame of the detector?"""

    samples: np.ndarray
    peak: float
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    flow_id: str
    n_in_flight: int
    speech: np.ndarray

    # --- what is where ----------------------------------------------------------------------------------------------

    def matched(self, given: list[Item], heard: Sequence[Word]) -> list[Item]:
        """All words of the text and all that are in none, in order, with the times of what was heard in their place.

        Words of the text without a counterpart get the speech that is there, if it is enough for them.
        """
        others = [Item(w.word, (), -1, w.start, w.end, w.probability) for w in heard]
        keys = [[(k, i) for i, item in enumerate(items) for k in self._keys(item.word)] for items in (given, others)]
        counterparts: dict[int, list[int]] = {}
        used: set[int] = set()
        order: list[Item] = []
        pairs = match([k for k, _ in keys[0]], [k for k, _ in keys[1]])
        for pair in pairs:
            if pair.given is not None and pair.heard is not None:
                i, j = keys[0][pair.given][1], keys[1][pair.heard][1]
                counterparts.setdefault(i, []).append(j)
                used.add(j)
        last = (-1, -1)
        for pair in pairs:
            if pair.given is not None and (i := keys[0][pair.given][1]) > last[0]:
                order.append(given[i])
                last = (i, last[1])
            if pair.heard is not None and (j := keys[1][pair.heard][1]) > last[1]:
                if j not in used:
                    order.append(others[j])
                last = (last[0], j)
        for i, found in counterparts.items():
            item, parts = given[i], [heard[j] for j in found]
            item.start, item.end = parts[0].start, parts[-1].end
            item.probability = float(np.mean([w.probability for w in parts]))
            item.sure = self._keys(item.word) == [k for w in dict.fromkeys(parts) for k in self._keys(w.word)]
        self._fill(order)
        for item in order:
            if item.line < 0:
                item.ids = tuple(self.tokenizer.encode(item.word))
        return order

    def _keys(self, word: str) -> list[str]:
        plain = key(word) or word.strip()
        return list(plain) if self.tokenizer.language in UNSPACED else [plain]

    def _fill(self, items: list[Item]) -> None:
        """Words that nobody heard get the speech between their neighbours, if it lasts long enough for them.

        A few may be there in any case: the recogniser drops small words, and writes two as one. Both are guesses.
        """
        slow = 3 if self.tokenizer.language in UNSPACED else 1
        for run, start, end in unplaced(items, len(self.samples) / SAMPLE_RATE):
            sizes = np.array([max(1, len(key(item.word))) for item in run])
            inside = self._speech(start, end)
            for item in run:
                item.guess = True
            if sum(b - a for a, b in inside) >= FASTEST_S * slow * sizes.sum():
                for item, (a, b) in zip(run, _laid(sizes, inside), strict=True):
                    item.start, item.end = a, b
            elif len(run) <= FEW:
                for item in run:
                    item.start = item.end = start

    def _speech(self, start_s: float, end_s: float) -> list[tuple[float, float]]:
        """The speech between two times."""
        if len(self.speech) == 1:
            return [(start_s, end_s)] if end_s > start_s else []
        frame_s = vad.FRAME / SAMPLE_RATE
        first = int(start_s / frame_s)
        part = self.speech[first : int(end_s / frame_s) + 1].astype(np.int8)
        turns = (first + np.flatnonzero(np.diff(part, prepend=0, append=0))) * frame_s
        spans = ((max(start_s, float(a)), min(end_s, float(b))) for a, b in zip(turns[::2], turns[1::2], strict=True))
        return [(a, b) for a, b in spans if a < b]

    # --- windows ----------------------------------------------------------------------------------------------------

    def place(self, items: list[Item]) -> Generator[Window | Wait | Event, Got | None, None]:
        """Align what was not heard as it is given, many windows at once; their words' times are written into them."""
        placed = [item for item in items if item.placed]
        parts = list(windows(placed))
        waiting: dict[Window, tuple[list[Item], float, float]] = {}
        for i, part in enumerate(parts):
            if all(item.sure for item in part):
                continue
            before = parts[i - 1][-1].end if i else 0.0
            after = parts[i + 1][0].start if i + 1 < len(parts) else len(self.samples) / SAMPLE_RATE
            start_s = max((before + part[0].start) / 2, part[0].start - MARGIN_S)
            end_s = min((after + part[-1].end) / 2, part[-1].end + MARGIN_S)
            window, start_s, end_s = self._window(part, start_s, end_s)
            waiting[window] = (part, start_s, end_s)
            yield window
            if len(waiting) >= self.n_in_flight:
                yield from self._answer(waiting)
        while waiting:
            yield from self._answer(waiting)

    def _window(self, part: list[Item], start_s: float, end_s: float) -> tuple[Window, float, float]:
        # rounded inwards: what is outside belongs to the windows beside it
        seek = max(0, ceil(round(start_s / POSITION_S, 6))) * question.POSITION_FRAMES
        size = min(mel.N_FRAMES, max(question.POSITION_FRAMES, int(round(end_s * mel.FRAMES_PER_S, 6)) - seek))
        text = tuple(t for item in part for t in item.ids)
        ask: Align = question.alignment(self.tokenizer, text, self.checkpoint.n_text_ctx)
        sound = Sound(mel.cut(self.samples, seek, size), peak=self.peak, n_frames=size)
        window = Window(f"{self.flow_id}:align{seek}+{size}", sound, ask, self.flow_id)
        return window, seek / mel.FRAMES_PER_S, (seek + size) / mel.FRAMES_PER_S

    def _answer(
        self, waiting: dict[Window, tuple[list[Item], float, float]]
    ) -> Generator[Window | Wait | Event, Got | None, None]:
        got = yield WAIT
        assert got is not None, "a driver answers WAIT with Got"
        assert isinstance(got.answer, Aligned)
        part, start_s, end_s = waiting.pop(got.window)
        self._read(part, got.answer, start_s, end_s)

    def _read(self, part: list[Item], answer: Aligned, start_s: float, end_s: float) -> None:
        """The times of a window's words; one that was heard as it is given stays near where it was heard."""
        bounds = np.minimum(np.cumsum([0, *(len(item.ids) for item in part)]), len(answer.probs))
        jumps = np.array(answer.jumps) / POSITIONS_PER_S
        read = [(item, a, b) for item, (a, b) in zip(part, pairwise(bounds), strict=True)]
        for item, a, b in read:
            if not item.sure:
                item.probability = float(np.mean(answer.probs[a:b])) if b > a else 0.0
        for (is_guess, _), run in groupby(part, key=lambda item: (item.guess, item.line)):
            guesses = list(run)
            if is_guess and np.median([item.probability for item in guesses]) < IMPROBABLE:
                for item in guesses:
                    item.start = item.end = nan
                    item.probability = 0.0
        read = [(item, a, b) for item, a, b in read if item.placed]
        if not read:
            return
        first, last = round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE)
        spans = self._speech(start_s, end_s)
        speech = [(round(a * SAMPLE_RATE) - first, round(b * SAMPLE_RATE) - first) for a, b in spans]
        track = onsets.track(self.samples[first:last], speech)
        found = onsets.place(track, [(float(jumps[a]), float(jumps[b])) for _, a, b in read], self.checkpoint.lag_s)
        times = []
        for (item, a, b), (start, end) in zip(read, found, strict=True):
            start, end = start_s + start, start_s + end
            if a == b or (item.sure and abs(start - item.start) > STRAY_S):
                start, end = item.start, item.end
            times.append((start, end))
        for (item, _, _), (start, end) in zip(read, onsets.spread(times, start_s, end_s), strict=True):
            item.start, item.end = start, end


def _laid(sizes: np.ndarray, speech: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Words laid over spans of speech by their sizes, each inside of one; not over the pauses between them."""
    spoken = np.cumsum([0.0, *(b - a for a, b in speech)])
    edges = spoken[-1] * np.concatenate([[0], np.cumsum(sizes)]) / sizes.sum()
    for first, last in pairwise(edges.tolist()):
        i = min(int(np.searchsorted(spoken, (first + last) / 2, side="right")) - 1, len(speech) - 1)
        moved = speech[i][0] - float(spoken[i])
        yield max(speech[i][0], first + moved), min(speech[i][1], last + moved)
