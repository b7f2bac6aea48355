"""One stretch of speech becomes segments, whatever its neighbours say: gates, second readings, words. No I/O.

speech      [------] [----------]   [-----]  [------------]
segments    [------][-----------]                              first reading
hole                                [---------------------]    speech without words: read again, by itself
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np

from sottovoce.audio import mel
from sottovoce.flow import question
from sottovoce.flow.cutting import frames as _frames
from sottovoce.flow.cutting import named_sound
from sottovoce.flow.doubt import DOUBTFUL, around, is_clear, is_doubtful, is_same, is_unvoiced
from sottovoce.flow.gates import Fault, badness, faults, is_news, most_tokens, n_repeated, plain
from sottovoce.flow.ladder import Prompt, climb, is_silence, is_silent
from sottovoce.flow.lines import closed, joined, segment
from sottovoce.flow.listen import Asker, Checkpoint, candidates
from sottovoce.flow.placing import place_heard, within
from sottovoce.flow.protocol import Event, Got, Wait
from sottovoce.flow.question import POSITION_S
from sottovoce.flow.spans import POSITION, Span, Stretch, halves
from sottovoce.flow.switching import follow
from sottovoce.flow.terms import Terms
from sottovoce.options import Options
from sottovoce.text.formats import Dropped
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Aligned, Decode, Decoded, Segment, Sound, Task, Window

TAIL_S = 0.4  # of speech after the last timestamp: less is how far Whisper's timestamps stray
HOLE_S = 1.0  # of speech without words: as much is heard again in a window of its own
MOST_GOINGS_ON = 2  # times that a window is made to go on
SPARE_TOKENS = 16  # beyond the most that speech may have, for its timestamps
LEAST_TOKENS = 16  # that must have room for going on
LEAST_DROPPED_S = 0.5  # of speech: less is not worth a line
SCANT_S = 1.0  # of faint speech: less, without a decoding that passes, is taken for a noise
HALVED_FROM_S = 8.0  # of speech: a window that fails on all rungs is heard again in two parts
REPEATED_FROM_S = 3.0  # of speech: the same for one that repeats itself
DEEPEST = 3  # readings inside readings
NO_WORDS, NOT_AGAIN = "no words", "words that were not heard again"  # reasons why speech has no words

Steps = Generator[Window | Wait | Event, Got | None, "Reading"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stretch says. badness: of what is kept; reason: why nothing is, "" if something is."""

    segments: tuple[Segment, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    badness: int = 0
    reason: str = ""

    @property
    def text(self) -> str:
        return "".join(s.text for s in self.segments)


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """What all stretches of a recording have in common. peak: of the recording; context: ids before every window."""

    samples: np.ndarray
    peak: float
    options: Options
    checkpoint: Checkpoint
    asker: Asker
    tokenizer: Tokenizer
    context: Sequence[int]
    terms: Terms | None = None

    def read(self, stretch: Stretch, depth: int = 0) -> Steps:
        """The segments of a stretch, and its speech without words. depth: 0, or that of a second reading."""
        if not depth and self.options.follows and self.tokenizer.multilingual:
            return (yield from self._read_languages(stretch))
        return (yield from self._read(stretch, depth))

    def _read_languages(self, stretch: Stretch) -> Steps:
        """A stretch in which the language may switch: each part read by itself, in its own."""
        among = candidates(self.options, self.tokenizer)
        parts = yield from follow(self.asker, self.tokenizer, among, self.samples, self.peak, stretch)
        readings: list[Reading] = []
        for part in parts:
            reader = replace(self, tokenizer=speaking(self.checkpoint.n_vocab, part.language, self.options))
            reading = yield from reader._read(part.stretch, 0)
            said = tuple(replace(s, language=part.language) for s in reading.segments)
            readings.append(replace(reading, segments=said))
        return Reading(
            segments=tuple(s for r in readings for s in r.segments),
            dropped=tuple(d for r in readings for d in r.dropped),
            badness=max(r.badness for r in readings),
            reason=readings[0].reason if not any(r.segments for r in readings) else "",
        )

    def _read(self, stretch: Stretch, depth: int) -> Steps:
        sound, tokenizer, o = named_sound(self.samples, stretch, self.peak), self.tokenizer, self.options
        context = self.context
        decoded, found, agreed = yield from self._decode(tokenizer, stretch, sound, context)
        if Fault.ECHO in found:
            context = ()
            decoded, found, agreed = yield from self._decode(tokenizer, stretch, sound, context)
        if is_silence(o, decoded):
            return _nothing(stretch, "no speech")
        # who says a sentence again and again, says it once in a part that is short enough
        least_s = REPEATED_FROM_S if Fault.REPETITIVE in found else inf if depth else HALVED_FROM_S
        if depth < DEEPEST and badness(found) >= Fault.DENSE and _speech_s(stretch) > least_s:
            parts = yield from self._read_halves(stretch, depth + 1)
            if parts.badness < badness(found):
                return parts
        scant = _speech_s(stretch) < SCANT_S and not is_clear(stretch)
        if found and not agreed and (depth or scant):
            return _nothing(stretch, max(found).reason)
        decoded = yield from self._go_on(tokenizer, decoded, stretch, sound, context)
        segments = self._segments(tokenizer, decoded, stretch)
        segments, unheard = yield from self._heard_twice(tokenizer, segments, stretch)
        placed = segments
        if o.word_timestamps and segments:
            placed = yield from self._place(tokenizer, segments, sound, stretch)
        reading = yield from self._fill(segments, placed, stretch, depth)
        dropped = _once(unheard, reading.dropped)
        return Reading(tuple(_inside(reading.segments, stretch)), dropped, badness(found))

    def _decode(
        self, tokenizer: Tokenizer, stretch: Stretch, sound: tuple[str, Sound], context: Sequence[int]
    ) -> Generator[Window | Wait | Event, Got | None, tuple[Decoded, frozenset[Fault], bool]]:
        """The best of the ladder's decodings, what is wrong with it; whether only doubt is, and another one agrees."""
        o, n_text_ctx = self.options, self.checkpoint.n_text_ctx
        seek, _ = _frames(stretch)
        prompt = Prompt(*question.prompt(tokenizer, context, o, n_text_ctx, is_first=seek == 0))
        before, speech_s = tokenizer.decode(prompt.tokens[: prompt.i_sot]), _speech_s(stretch)

        def wrong(decoded: Decoded) -> frozenset[Fault]:
            return faults(o, tokenizer, decoded, speech_s, before)

        def how_bad(decoded: Decoded) -> int:
            return 0 if is_silence(o, decoded) else badness(wrong(decoded))

        def stands(tried: Sequence[Decoded]) -> Decoded:
            return min(tried, key=lambda d: (badness(wrong(d)), -d.avg_logprob))

        # a noise that is heard as an endless text would keep rows busy for what no gate lets pass
        longest = min(o.max_tokens or n_text_ctx // 2, most_tokens(speech_s) + SPARE_TOKENS)
        capped = replace(o, max_tokens=longest)
        climbed = yield from climb(
            self.asker, capped, tokenizer, prompt, sound, how_bad, stands, salt=seek,
            n_text_ctx=n_text_ctx, terms=self.terms,
        )  # fmt: skip
        if climbed.passed:
            best = climbed.best
            if o.beam_size > 1 and best.no_speech_prob > DOUBTFUL and not is_silence(o, best):
                one_beam = replace(self, options=replace(o, beam_size=1, patience=1.0), terms=None)
                other = yield from one_beam._decode(tokenizer, stretch, sound, context)
                if other[1] or is_silence(o, other[0]):
                    return other
            return best, frozenset(), True
        texts = [plain(tokenizer.decode(d.tokens)) for d in climbed.tried]
        text = plain(tokenizer.decode(stands(climbed.tried).tokens))
        found = wrong(climbed.best)
        return climbed.best, found, found == {Fault.UNSURE} and bool(text) and texts.count(text) > 1

    def _go_on(
        self,
        tokenizer: Tokenizer,
        decoded: Decoded,
        stretch: Stretch,
        sound: tuple[str, Sound],
        context: Sequence[int],
    ) -> Generator[Window | Wait | Event, Got | None, Decoded]:
        """Ask the model to go on where it stopped before the end of speech, as it likes to in a full window.

        It is made to write after its last timestamp, from the warm slot. What it is not sure of is not taken.
        """
        o, n_text_ctx = replace(self.options, prefix=None), self.checkpoint.n_text_ctx
        prompt, i_sot, _ = question.prompt(tokenizer, context, o, n_text_ctx)
        for _ in range(MOST_GOINGS_ON):
            segments, tokens = self._segments(tokenizer, decoded, stretch), decoded.tokens
            if not segments or tokens[-1] < tokenizer.timestamp_begin:
                break
            left = _hole(stretch, segments[-1], None)
            if _speech_s(left) < TAIL_S:
                break
            begun = tokens if tokens[-2] >= tokenizer.timestamp_begin else (*tokens, tokens[-1])
            n_left = n_text_ctx - len(prompt) - len(begun)
            if n_left < LEAST_TOKENS:
                break
            search = question.search(o, 0.0, o.seed, n_text_ctx)
            search = replace(search, max_tokens=min(search.max_tokens, n_left))
            rules = question.rules_to_go_on(o, tokenizer)
            asked = Decode((*prompt, *begun), i_sot, search, rules)
            more = yield from self.asker.ask(asked, *sound)
            assert isinstance(more, Decoded)
            left_s = _speech_s(left)
            before_s = _speech_s(stretch) - left_s
            goes_on = partial(_goes_on, o, tokenizer, tokens, begun[-1], before_s, left_s)
            if not goes_on(more):
                break
            if self.terms is not None:
                more = yield from self.terms.hear(self.asker, tokenizer, asked, sound, more, goes_on)
            n, n_more = len(tokens) + 1, len(more.tokens) + 1
            mean = (decoded.avg_logprob * n + more.avg_logprob * n_more) / (n + n_more)
            whole = joined(begun, more, decoded.logprobs)
            decoded = replace(decoded, tokens=whole.tokens, logprobs=whole.logprobs, avg_logprob=mean)
        return decoded

    def _read_halves(self, stretch: Stretch, depth: int) -> Steps:
        """Other boundaries, other words: the stretch in two parts or three, each read by itself."""
        segments: list[Segment] = []
        dropped: list[Dropped] = []
        worst = 0
        for part in halves(stretch, self.samples):
            reading = yield from self.read(part, depth)
            segments += reading.segments
            dropped += reading.dropped
            worst = max(worst, reading.badness)
        return Reading(tuple(segments), tuple(dropped), worst)

    def _heard_twice(
        self, tokenizer: Tokenizer, segments: Sequence[Segment], stretch: Stretch
    ) -> Generator[Window | Wait | Event, Got | None, tuple[list[Segment], list[Dropped]]]:
        """The segments without what was invented: what is doubtful is heard again, by itself."""
        o = replace(self.options, temperature=(0.0,), beam_size=1, patience=1.0)
        again = replace(self, options=o, context=())
        kept: list[Segment] = []
        dropped: list[Dropped] = []
        for s in segments:
            # the model and the detector of speech agree that nobody speaks
            nobody = o.no_speech_threshold is not None and s.no_speech_prob > o.no_speech_threshold
            same = not (nobody and is_unvoiced(s, stretch))
            if same and is_doubtful(s, stretch):
                part = around(s, stretch, len(self.samples))
                sound = named_sound(self.samples, part, self.peak)
                decoded, found, _ = yield from again._decode(tokenizer, part, sound, ())
                text = tokenizer.decode(decoded.tokens)
                same = not found and not is_silent(o, decoded) and is_same(s.text, text)
            if same:
                kept.append(s)
            else:
                dropped.append(Dropped(s.start, s.end, NOT_AGAIN))
        return kept, dropped

    # --- segments ---------------------------------------------------------------------------------------------------

    def _segments(self, tokenizer: Tokenizer, decoded: Decoded, stretch: Stretch) -> list[Segment]:
        """The segments of a window, what follows its last timestamp included, inside it and in order."""
        seek, _ = _frames(stretch)
        found, n_closed = closed(tokenizer, decoded, seek)
        tail = decoded.tokens[n_closed:]
        is_cut_off = len(decoded.tokens) >= (self.options.max_tokens or self.checkpoint.n_text_ctx // 2)
        # an unfinished tail is a hole behind what is closed, and is read again
        if any(t < tokenizer.eot for t in tail) and not (found and is_cut_off):
            times = [(t - tokenizer.timestamp_begin) * POSITION_S for t in tail if t >= tokenizer.timestamp_begin]
            offset_s = seek * mel.HOP / SAMPLE_RATE
            end_s = stretch.speech[-1].end / SAMPLE_RATE
            start = offset_s + times[0] if times else found[-1].end if found else offset_s
            end = offset_s + times[-1] if len(times) > 1 and times[-1] > times[0] else end_s
            found.append(segment(tokenizer, decoded, seek, slice(n_closed, None), start, end))
        # a dot alone is written for music, not said
        return _inside([s for s in found if plain(s.text)], stretch)

    def _place(
        self, tokenizer: Tokenizer, segments: list[Segment], sound: tuple[str, Sound], stretch: Stretch
    ) -> Generator[Window | Wait | Event, Got | None, list[Segment]]:
        """Give the segments their words, inside the stretch."""
        text = tuple(t for s in segments for t in s.tokens if t < tokenizer.eot)
        asked = question.alignment(tokenizer, text, self.checkpoint.n_text_ctx)
        answer = yield from self.asker.ask(asked, *sound)
        assert isinstance(answer, Aligned)
        o = self.options
        placed = place_heard(
            *(segments, tokenizer, answer, self.samples, stretch),
            lag_s=self.checkpoint.lag_s,
            prepend=o.prepend_punctuations,
            append=o.append_punctuations,
        )
        return _inside(placed, stretch)

    # --- holes ------------------------------------------------------------------------------------------------------

    def _fill(self, segments: Sequence[Segment], placed: Sequence[Segment], stretch: Stretch, depth: int) -> Steps:
        """Read speech between the segments again, by itself; what stays without words is dropped aloud.

        placed: the same segments with their words, if any: those are kept; where they are does not say what is read.
        """
        if not segments:
            return _nothing(stretch, NO_WORDS)
        kept: list[Segment] = []
        dropped: list[Dropped] = []
        for i, (before, after) in enumerate(zip([None, *segments], [*segments, None], strict=True)):
            kept += placed[max(0, i - 1) : i]
            hole = _hole(stretch, before, after)
            if _speech_s(hole) < HOLE_S or depth >= DEEPEST:
                dropped += _lines(hole, NO_WORDS)
                continue
            reading = yield from self.read(hole, depth + 1)
            kept += self._without_repeats(reading.segments, before, after)
            dropped += reading.dropped
        return Reading(tuple(kept), tuple(dropped))

    def _without_repeats(
        self, found: Sequence[Segment], before: Segment | None, after: Segment | None
    ) -> list[Segment]:
        """What a hole says, without the words that its neighbours say already: they lie on its edges."""
        kept = list(found)
        if kept and before is not None and n_repeated(before.text, kept[0].text) >= len(plain(kept[0].text).split()):
            kept = kept[1:]
        if kept and after is not None and n_repeated(kept[-1].text, after.text) >= len(plain(kept[-1].text).split()):
            kept = kept[:-1]
        return kept


def speaking(n_vocab: int, language: str, o: Options) -> Tokenizer:
    """The vocabulary, set to a language. What is English already is not translated: it is written as it is spoken."""
    return Tokenizer(n_vocab, language, str(Task.TRANSCRIBE if language == "en" else o.task))


def _goes_on(
    o: Options, tokenizer: Tokenizer, before: Sequence[int], last: int, before_s: float, left_s: float, more: Decoded
) -> bool:
    """May what was decoded go on behind the tokens before it, whose last timestamp is `last`? Seconds are of speech."""
    times = [t for t in (last, *more.tokens) if t >= tokenizer.timestamp_begin]
    news = is_news(tokenizer.decode(before), tokenizer.decode(more.tokens), before_s, left_s)
    return news and not faults(o, tokenizer, more, left_s, "") and times == sorted(times)


def _speech_s(stretch: Stretch) -> float:
    return sum(s.end - s.start for s in stretch.speech) / SAMPLE_RATE


def _nothing(stretch: Stretch, reason: str) -> Reading:
    return Reading(dropped=_lines(stretch, reason), reason=reason)


def _lines(stretch: Stretch, reason: str) -> tuple[Dropped, ...]:
    """The speech of a stretch, as one line, if there is any to speak of."""
    if _speech_s(stretch) < LEAST_DROPPED_S:
        return ()
    start, end = stretch.speech[0].start, stretch.speech[-1].end
    return (Dropped(start / SAMPLE_RATE, end / SAMPLE_RATE, reason),)


def _once(unheard: Sequence[Dropped], holes: Sequence[Dropped]) -> tuple[Dropped, ...]:
    """Lines for words that were not heard again, and for the speech that has none since: one for what is the same."""

    def meets(a: Dropped, b: Dropped) -> bool:
        return a.start < b.end and b.start < a.end

    why = {d: NOT_AGAIN for d in holes if d.reason == NO_WORDS and any(meets(d, u) for u in unheard)}
    lines = [replace(d, reason=why.get(d, d.reason)) for d in holes]
    lines += [u for u in unheard if not any(meets(d, u) for d in holes)]
    return tuple(sorted(lines, key=lambda line: line.start))


def _hole(stretch: Stretch, before: Segment | None, after: Segment | None) -> Stretch:
    """What lies between two segments of a stretch, or between one and its edge."""
    start = stretch.start if before is None else max(stretch.start, _sample(before.end))
    end = stretch.end if after is None else min(stretch.end, _sample(after.start))
    inside = (Span(max(s.start, start), min(s.end, end), s.voice) for s in stretch.speech)
    return Stretch(start, max(start, end), tuple(s for s in inside if s.start < s.end))


def _sample(seconds: float) -> int:
    """On an audio position."""
    return round(seconds / POSITION_S) * POSITION


def _inside(segments: Sequence[Segment], stretch: Stretch) -> list[Segment]:
    """The segments in order, inside their stretch; one without length, but with words, lasts until the next."""
    found: list[Segment] = []
    first_s, last_s = stretch.start / SAMPLE_RATE, stretch.end / SAMPLE_RATE
    for s in segments:
        start = min(max(s.start, found[-1].end if found else first_s), last_s)
        end = min(max(s.end, start), last_s)
        found.append(replace(s, start=start, end=end))
    following = [*[s.start for s in found[1:]], last_s][: len(found)]
    found = [s if s.end > s.start else replace(s, end=after) for s, after in zip(found, following, strict=True)]
    return [replace(s, words=within(s.words, s.start, s.end)) if s.words else s for s in found]
