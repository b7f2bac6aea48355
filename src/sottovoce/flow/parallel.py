"""A recording becomes text: the parallel strategy. Many windows are in flight at once. No I/O, no tensor, no clock.

Speech is found first, and cut in its pauses into windows that are read by themselves (reading.py); what is said is told
in order of time, as soon as all before it is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from sottovoce.audio import mel, vad
from sottovoce.flow import question
from sottovoce.flow.cutting import named_sound
from sottovoce.flow.listen import Asker, Checkpoint, Excerpt, listen
from sottovoce.flow.protocol import WAIT, Event, Flow, Got, Heard, Known, Wait
from sottovoce.flow.reading import Reader, Reading, Steps, speaking
from sottovoce.flow.script import CHINESE, CONTEXT, script_of, wanted
from sottovoce.flow.spans import POSITION, Span, Stretch, stretches
from sottovoce.flow.switching import by_language, speech_s
from sottovoce.flow.terms import listened
from sottovoce.options import Options
from sottovoce.text.formats import Dropped, Transcript
from sottovoce.types import SAMPLE_RATE, Segment, Sound, Window

JUDGED_FROM = SAMPLE_RATE  # samples: the detector of speech misses digits in shorter recordings
FAR = 300 * SAMPLE_RATE  # samples: in a longer recording the language is heard here and there, not only at first
SPREAD = (0.5, 0.25, 0.75, 0.9)  # of it: where a window is listened to
LISTENED = 10 * SAMPLE_RATE  # samples beyond the longest window, in which one is looked for
AUDIBLE = 0.2  # probability of speech in the best frame of them: what has less is hardly a voice
AUDIBLE_VOICE = 0.74  # what has more is taken for a voice, if not for a clear one (doubt.py)
QUIET = 1e-3  # of full scale: what stays below is no speech
N_BEFORE = 2  # segments that a window gets as context which was written in another script
Hear = Callable[[np.ndarray], Iterable[np.ndarray]]
N_IN_FLIGHT = 20  # windows; the default: those that fill Config.rows, and a few that wait for them


def transcribe(
    samples: np.ndarray,
    options: Options,
    checkpoint: Checkpoint,
    flow_id: str,
    n_in_flight: int = N_IN_FLIGHT,
    hear: Hear = vad.fresh_blocks,
) -> Flow:
    """A flow that transcribes (N,) float32 samples at 16 kHz.

    flow_id: unique among the flows of an engine; keys of its windows begin with it. n_in_flight: windows at once.
    hear: how probable speech is in the frames of samples, block by block.
    Raises OptionError, at the first step, if the checkpoint cannot do what is asked.
    """
    return (yield from _Parallel(samples, options, checkpoint, flow_id, n_in_flight, hear).run())


class _Parallel:
    """State of one recording. Windows are numbered in order of time; readings are those that await their turn."""

    def __init__(
        self,
        samples: np.ndarray,
        options: Options,
        checkpoint: Checkpoint,
        flow_id: str,
        n_in_flight: int,
        hear: Hear,
    ) -> None:
        self.samples = samples
        self.options = options
        self.checkpoint = checkpoint
        self.n_in_flight = n_in_flight
        self.hear = hear
        self.asker = Asker(flow_id)
        self.peak = mel.peak(samples, checkpoint.n_mels)
        self.plan = self._stretches()
        self.heard_ahead: deque[Stretch] = deque()  # for their language
        self.asked: list[Stretch] = []
        self.in_flight: dict[Window, tuple[int, Steps]] = {}
        self.readings: dict[int, Reading] = {}
        self.n_known = 0
        self.wanted = wanted(options)
        self.script = self.wanted  # else of what is known
        self.strayed: Reading | None = None  # the next one, as it was before it was read again
        self.segments: list[Segment] = []
        self.dropped: list[Dropped] = []
        self.speech_s = self.covered_s = 0.0

    def run(self) -> Flow:
        heard, tokenizer = yield from listen(self.asker, self.options, self.checkpoint, self._excerpts())
        yield heard
        if tokenizer.multilingual:
            tokenizer = speaking(self.checkpoint.n_vocab, heard.language, self.options)
        given = self.options.initial_prompt
        context = [] if given is None else question.ids(tokenizer, given)
        said = listened(tokenizer, self.options, self.checkpoint)
        reader = Reader(self.samples, self.peak, self.options, self.checkpoint, self.asker, tokenizer, context, said)
        while True:
            while len(self.in_flight) < self.n_in_flight and (stretch := self._next()) is not None:
                self.asked.append(stretch)
                yield from self._step(len(self.asked) - 1, reader.read(stretch), None)
            if not self.in_flight:
                break
            got = yield WAIT
            assert got is not None, "a driver answers WAIT with Got"
            yield from self._step(*self.in_flight.pop(got.window), got)
            yield from self._tell(reader)
        yield Known((), len(self.samples) / SAMPLE_RATE)
        return self._transcript(heard)

    def _stretches(self) -> Iterator[Stretch]:
        """The windows of the recording, clip by clip."""
        found: Iterable[Stretch]
        longest = round(self.options.chunk_length * SAMPLE_RATE)
        for start_s, end_s in self.options.clips or ((0.0, None),):
            start = min(round(start_s * mel.FRAMES_PER_S) * mel.HOP, len(self.samples))
            end = len(self.samples) if end_s is None else round(end_s * mel.FRAMES_PER_S) * mel.HOP
            clip = self.samples[start:end]
            if len(clip) < JUDGED_FROM:
                loud = len(clip) >= mel.HOP and np.abs(clip).max() > QUIET
                heard = max((float(block.max()) for block in self.hear(clip)), default=0.0) if loud else 0.0
                voice = heard if heard < AUDIBLE else max(heard, AUDIBLE_VOICE)
                found = [Stretch(0, len(clip), (Span(0, len(clip), voice),))] if loud else []
            else:
                found = stretches(self.hear(clip), clip, longest)
            for stretch in found:
                yield stretch.moved(start)

    def _next(self) -> Stretch | None:
        return self.heard_ahead.popleft() if self.heard_ahead else next(self.plan, None)

    def _excerpts(self) -> Iterator[Excerpt]:
        """Where the language is heard: in the first window with speech, and then all over a long recording.

        Of one that is not long, or of clips, the next windows, whose slots are warm when they are decoded; without any
        speech, the recording's beginning.
        """
        one_by_one = bool(self.options.clips) or len(self.samples) < FAR
        one_by_one = one_by_one or self.options.language_detection_segments is not None
        for stretch in self.plan:
            self.heard_ahead.append(stretch)
            yield self._excerpt(stretch)
            if not one_by_one:
                break
        if not self.heard_ahead:
            yield Excerpt("language", Sound(mel.cut(self.samples, 0, mel.N_FRAMES), peak=self.peak), 0.0)
        elif not one_by_one:
            longest = round(self.options.chunk_length * SAMPLE_RATE)
            for place in SPREAD:
                start = round(place * len(self.samples)) // POSITION * POSITION
                clip = self.samples[start : start + longest + LISTENED]
                for stretch in islice(stretches(self.hear(clip), clip, longest), 1):
                    yield self._excerpt(stretch.moved(start))

    def _excerpt(self, stretch: Stretch) -> Excerpt:
        return Excerpt(*named_sound(self.samples, stretch, self.peak), speech_s(stretch))

    def _step(self, i: int, steps: Steps, got: Got | None) -> Generator[Window | Wait | Event, Got | None, None]:
        """Take a window's reading as far as it comes: to its next question, or to its end."""
        try:
            said = steps.send(got)
            assert isinstance(said, Window), "a reading asks, and then waits"
            self.in_flight[said] = (i, steps)
            yield said
            said = next(steps)
            assert said is WAIT, "a reading asks one question at a time"
        except StopIteration as end:
            self.readings[i] = end.value

    def _tell(self, reader: Reader) -> Generator[Window | Wait | Event, Got | None, None]:
        """What has become final: the readings up to the first one that is still being asked about."""
        while self.n_known in self.readings:
            reading, stretch = self.readings.pop(self.n_known), self.asked[self.n_known]
            text = self._chinese(reader, reading.segments)
            if self._strays(text):
                self.strayed = reading
                yield from self._step(self.n_known, self._once_more(reader).read(stretch), None)
                return
            if self.strayed is not None and script_of(text) is not self.script:
                reading = self.strayed
            self.strayed = None
            self.script = self.script or script_of(text)
            self.n_known += 1
            final = tuple(replace(s, id=i) for i, s in enumerate(reading.segments, start=len(self.segments)))
            self.segments += final
            self.dropped += reading.dropped
            self._measure(stretch, final)
            yield Known(final, stretch.end / SAMPLE_RATE)

    def _chinese(self, reader: Reader, segments: Sequence[Segment]) -> str:
        """What of their text is Chinese."""
        return "".join(s.text for s in segments if (s.language or reader.tokenizer.language) in CHINESE)

    def _strays(self, text: str) -> bool:
        """Is its script another one than that which is wanted, or than that of what stands before it?"""
        found = script_of(text)
        return self.strayed is None and self.script is not None and found is not None and found is not self.script

    def _once_more(self, reader: Reader) -> Reader:
        """With context in the right script: a line that says so, where it is wanted, and what stands before."""
        tokens = reader.tokenizer
        line = question.ids(tokens, CONTEXT[self.wanted]) if self.wanted else []
        known = [t for s in self.segments[-N_BEFORE:] for t in s.tokens if t < tokens.eot]
        return replace(reader, context=[*reader.context, *line, *known])

    def _measure(self, stretch: Stretch, segments: tuple[Segment, ...]) -> None:
        """How much of a window's speech is in segments."""
        for span in stretch.speech:
            start, end = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
            self.speech_s += end - start
            self.covered_s += sum(max(0.0, min(s.end, end) - max(s.start, start)) for s in segments)

    def _transcript(self, heard: Heard) -> Transcript:
        shares = by_language(self.segments)
        return Transcript(
            text="".join(s.text for s in self.segments),
            segments=tuple(self.segments),
            language=next(iter(shares), heard.language),
            duration=len(self.samples) / SAMPLE_RATE,
            language_probability=heard.probability,
            language_probs=dict(heard.probs),
            task=self.options.task,
            coverage=self.covered_s / self.speech_s if self.speech_s else 1.0,
            dropped=tuple(self.dropped),
            languages=shares,
        )
