"""A recording becomes text: the sequential strategy, which is the reference algorithm. No I/O, no tensor, no clock.

Windows follow one another: the timestamps of one say where the next begins, and its text is the next one's context.
Source: openai/whisper transcribe.py (20250625), whose tokens it reproduces; beside it: bench/parity.py.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np

from sottovoce.audio import mel, vad
from sottovoce.flow import question
from sottovoce.flow.gates import are_alike, echoes
from sottovoce.flow.ladder import Prompt, climb, is_repetitive, is_silence, is_silent, is_unsure
from sottovoce.flow.lines import closed, ends_in_silence, segment
from sottovoce.flow.listen import Asker, Checkpoint, Excerpt, candidates, detect, listen
from sottovoce.flow.protocol import Event, Flow, Got, Known, Wait
from sottovoce.flow.question import POSITION_FRAMES, POSITION_S, ids
from sottovoce.flow.silence import is_anomaly, skip_hallucinations
from sottovoce.flow.spans import Span, Stretch
from sottovoce.flow.switching import by_language, follow
from sottovoce.flow.terms import Terms, listened
from sottovoce.flow.words import place_words
from sottovoce.options import Options
from sottovoce.text.formats import Transcript
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Aligned, Decoded, Manner, Segment, Sound, Window

SPOKEN = vad.VadOptions(min_silence_duration_ms=200, speech_pad_ms=0)  # where a window may switch its language

__all__ = ["Checkpoint", "detect_language", "transcribe"]


def transcribe(samples: np.ndarray, options: Options, checkpoint: Checkpoint, flow_id: str) -> Flow:
    """A flow that transcribes (N,) float32 samples at 16 kHz.

    flow_id: unique among the flows of an engine; keys of its windows begin with it.
    Raises OptionError, at the first step, if the checkpoint cannot do what is asked.
    """
    return (yield from _Sequential(samples, options, checkpoint, flow_id).run())


def detect_language(samples: np.ndarray, options: Options, checkpoint: Checkpoint, flow_id: str) -> Flow:
    """A flow that yields Heard and returns an empty transcript with the language."""
    return (yield from _Sequential(samples, options, checkpoint, flow_id).run(listen_only=True))


class _Sequential:
    """State of one recording on its way through the windows; seek and sizes are mel frames."""

    def __init__(self, samples: np.ndarray, options: Options, checkpoint: Checkpoint, flow_id: str) -> None:
        self.samples = samples
        self.options = options
        self.checkpoint = checkpoint
        self.asker = Asker(flow_id)
        self.n_frames = len(samples) // mel.HOP
        self.peak = mel.peak(samples, checkpoint.n_mels)
        self.n_context = checkpoint.n_text_ctx // 2 - 1
        self.tokenizer: Tokenizer
        self.terms: Terms | None = None
        self.tokens: list[int] = []  # of everything known, the initial prompt first: the context of what follows
        self.n_initial = 0
        self.reset_at = 0  # tokens before this index are no context any more
        self.segments: list[Segment] = []
        self.last_speech_s = 0.0
        self.spoken: str | None = None  # the language of the window before, where it may change

    # --- the recording ----------------------------------------------------------------------------------------------

    def run(self, listen_only: bool = False) -> Flow:
        heard, self.tokenizer = yield from listen(self.asker, self.options, self.checkpoint, self._full_windows())
        yield heard
        if not listen_only:
            self.terms = listened(self.tokenizer, self.options, self.checkpoint)
            self._read_initial_prompt()
            for start, end in self._clips():
                seek = start
                while seek < end:
                    seek, final = yield from self._window(seek, min(self._window_frames, end - seek), end)
                    yield Known(final, min(seek, self.n_frames) / mel.FRAMES_PER_S)
        shares = by_language(self.segments)
        return Transcript(
            text=self.tokenizer.decode(self.tokens[self.n_initial :]),
            segments=tuple(self.segments),
            language=next(iter(shares), heard.language),
            duration=len(self.samples) / SAMPLE_RATE,
            language_probability=heard.probability,
            language_probs=dict(heard.probs),
            task=self.options.task,
            languages=shares,
        )

    @property
    def _window_frames(self) -> int:
        return round(self.options.chunk_length * mel.FRAMES_PER_S)

    def _clips(self) -> list[tuple[int, int]]:
        """(start, end) frames to be transcribed, inside the recording."""
        clips = self.options.clips or ((0.0, None),)
        ends = [self.n_frames if end is None else round(end * mel.FRAMES_PER_S) for _, end in clips]
        return [
            (round(start * mel.FRAMES_PER_S), min(e, self.n_frames)) for (start, _), e in zip(clips, ends, strict=True)
        ]

    def _full_windows(self) -> Iterator[Excerpt]:
        """30 s each, from the beginning, by name: where the language is heard."""
        for seek in range(0, max(1, self.n_frames), mel.N_FRAMES):
            # a full window may be decoded next, and finds its slot warm
            name = f"{seek}+{mel.N_FRAMES}" if seek + mel.N_FRAMES <= self.n_frames else f"language:{seek}"
            size = min(mel.N_FRAMES, self.n_frames - seek)
            sound = Sound(mel.cut(self.samples, seek, mel.N_FRAMES), peak=self.peak)
            yield Excerpt(name, sound, size / mel.FRAMES_PER_S)

    # --- one window -------------------------------------------------------------------------------------------------

    def _window(
        self, seek: int, size: int, clip_end: int
    ) -> Generator[Window | Wait | Event, Got | None, tuple[int, tuple[Segment, ...]]]:
        """Decode `size` frames from `seek` on. Returns where the next window begins, and what became final."""
        tokenizer, language = self.tokenizer, None
        if self.options.follows and tokenizer.multilingual:
            language, size = yield from self._language(seek, size)
            tokenizer = Tokenizer(self.checkpoint.n_vocab, language, str(self.options.task))
        name, sound = f"{seek}+{size}", Sound(mel.cut(self.samples, seek, size), peak=self.peak, n_frames=size)
        decoded = yield from self._decode(tokenizer, name, sound, seek)
        if is_silence(self.options, decoded):
            return seek + size, ()
        drafts, next_seek, ends_in_silence = self._split(tokenizer, decoded, seek, size)
        if self.options.word_timestamps:
            drafts, next_seek, keep = yield from self._place(
                tokenizer, drafts, name, sound, seek, next_seek, ends_in_silence
            )
            if not keep:
                return next_seek, ()
        final = self._settle([replace(d, language=language) for d in drafts] if language else drafts)
        if self.options.condition_on_previous_text is False or (
            decoded.temperature > self.options.prompt_reset_on_temperature
        ):
            self.reset_at = len(self.tokens)
        return next_seek, final

    def _language(self, seek: int, size: int) -> Generator[Window | Wait | Event, Got | None, tuple[str, int]]:
        """What is spoken where a window begins, and how many of its frames are of that language.

        With candidates the window ends where another one of them begins, and text in another language is no context;
        without, it is of one language, as in faster-whisper.
        """
        among = candidates(self.options, self.tokenizer)
        start, end = seek * mel.HOP, (seek + size) * mel.HOP
        speech = []
        if self.options.languages:
            found = vad.speech(self.samples[start:end], SPOKEN)
            speech = [Span(start + s.start, min(start + s.end, end)) for s in found]
        if not speech:
            sound = Sound(mel.cut(self.samples, seek, size), peak=self.peak, n_frames=size)
            heard = yield from detect(self.asker, self.tokenizer, f"{seek}+{size}", sound, among)
            return heard.language, size
        window = Stretch(start, end, tuple(speech))
        parts = yield from follow(self.asker, self.tokenizer, among, self.samples, self.peak, window)
        first = parts[0]
        if first.language != self.spoken:
            self.reset_at = len(self.tokens)
        self.spoken = first.language
        return first.language, (first.stretch.end - start) // mel.HOP

    def _decode(
        self, tokenizer: Tokenizer, name: str, sound: Sound, seek: int
    ) -> Generator[Window | Wait | Event, Got | None, Decoded]:
        """What the gates let pass; what only says the user's prompt again must be heard without it too.

        On silence and noise a prompt is written as if it had been spoken. openai-whisper does so; nobody wants it.
        """
        o = self.options
        decoded = yield from self._climbed(tokenizer, name, sound, seek, self._prompt(tokenizer, seek))
        given = " ".join(self.tokenizer.decode(ids(self.tokenizer, t)) for t in (o.initial_prompt, o.hotwords) if t)
        text = tokenizer.decode(decoded.tokens)
        if not given or o.manner is not Manner.OPENAI or is_silence(o, decoded) or not echoes(text, given):
            return decoded
        context, without = self.tokens[max(self.n_initial, self.reset_at) :], replace(o, hotwords=None)
        prompt = Prompt(*question.prompt(tokenizer, context, without, self.checkpoint.n_text_ctx))
        unprompted = yield from self._climbed(tokenizer, name, sound, seek, prompt)
        agree = not is_silence(o, unprompted) and are_alike(text, tokenizer.decode(unprompted.tokens))
        return decoded if agree else unprompted

    def _climbed(
        self, tokenizer: Tokenizer, name: str, sound: Sound, seek: int, prompt: Prompt
    ) -> Generator[Window | Wait | Event, Got | None, Decoded]:
        """Climb the ladder of temperatures until a decoding passes the gates; the last one stands."""
        o = self.options

        def badness(decoded: Decoded) -> int:
            unsure = is_unsure(o, decoded)
            return 0 if unsure and is_silent(o, decoded) else 2 * is_repetitive(o, tokenizer, decoded) + unsure

        def stands(tried: Sequence[Decoded]) -> Decoded:
            if o.manner is Manner.OPENAI:
                return tried[-1]
            passable = [decoded for decoded in tried if not is_repetitive(o, tokenizer, decoded)]
            return max(passable or tried, key=lambda decoded: decoded.avg_logprob)

        climbed = yield from climb(
            self.asker,
            o,
            tokenizer,
            prompt,
            (name, sound),
            badness,
            stands,
            salt=seek,
            n_text_ctx=self.checkpoint.n_text_ctx,
            terms=self.terms,
        )
        if climbed.passed or o.manner is Manner.OPENAI:
            return climbed.best
        return replace(climbed.best, temperature=climbed.tried[-1].temperature)

    def _split(self, tokenizer: Tokenizer, decoded: Decoded, seek: int, size: int) -> tuple[list[Segment], int, bool]:
        """Cut a window's tokens at its pairs of timestamps.

        Returns the segments, where the next window begins, and whether the model closed the window with one timestamp,
        which says that no speech follows.
        """
        tokens, begin, offset_s = decoded.tokens, tokenizer.timestamp_begin, seek * mel.HOP / SAMPLE_RATE
        silent = ends_in_silence(tokenizer, decoded)
        drafts, n_closed = closed(tokenizer, decoded, seek)
        if drafts and silent:
            return drafts, seek + size, True
        if drafts:
            # what follows the last pair is unfinished: the next window decodes it again
            return drafts, seek + (tokens[n_closed - 1] - begin) * POSITION_FRAMES, False
        duration_s = size * mel.HOP / SAMPLE_RATE
        stamps = [t for t in tokens if t >= begin]
        if stamps and stamps[-1] != begin:
            duration_s = (stamps[-1] - begin) * POSITION_S
        return [segment(tokenizer, decoded, seek, slice(None), offset_s, offset_s + duration_s)], seek + size, silent

    def _place(
        self,
        tokenizer: Tokenizer,
        drafts: list[Segment],
        name: str,
        sound: Sound,
        seek: int,
        next_seek: int,
        ends_in_silence: bool,
    ) -> Generator[Window | Wait | Event, Got | None, tuple[list[Segment], int, bool]]:
        """Give the segments of a window their words, and let the words say where to go on.

        The last value returned is False if nothing of the window is to be kept.
        """
        o, size, offset_s = self.options, sound.n_frames, seek * mel.HOP / SAMPLE_RATE
        text = tuple(t for d in drafts for t in d.tokens if t < tokenizer.eot)
        aligned = None
        if text:
            answer = yield from self.asker.ask(
                question.alignment(tokenizer, text, self.checkpoint.n_text_ctx), name, sound
            )
            assert isinstance(answer, Aligned)
            aligned = answer
        drafts = place_words(
            drafts,
            tokenizer,
            aligned,
            offset_s=offset_s,
            last_speech_s=self.last_speech_s,
            prepend=o.prepend_punctuations,
            append=o.append_punctuations,
        )
        last_end = _last_word_end(drafts)
        ends_in_silence = ends_in_silence or o.whole_windows
        if not ends_in_silence and last_end is not None and last_end > offset_s:
            next_seek = round(last_end * mel.FRAMES_PER_S)
        threshold = o.hallucination_silence_threshold
        if threshold is not None:
            window_end_s = (seek + mel.N_FRAMES) * mel.HOP / SAMPLE_RATE
            if not ends_in_silence and last_end is not None and last_end > offset_s:
                far = window_end_s - last_end > threshold
                next_seek = round(last_end * mel.FRAMES_PER_S) if far else seek + size
            first = next((d for d in drafts if d.words), None)
            if first is not None and is_anomaly(first) and first.start - offset_s > threshold:
                return [], seek + round((first.start - offset_s) * mel.FRAMES_PER_S), False
            cut = skip_hallucinations(
                drafts, threshold, self.last_speech_s, offset_s, offset_s + size / mel.FRAMES_PER_S, window_end_s
            )
            if cut is not None:
                drafts, resume_s, bad_end_s = cut
                at_end = self.n_frames / mel.FRAMES_PER_S - bad_end_s < threshold
                next_seek = self.n_frames if at_end else round(resume_s * mel.FRAMES_PER_S)
        last_end = _last_word_end(drafts)
        if last_end is not None:
            self.last_speech_s = last_end
        return drafts, next_seek, True

    def _settle(self, drafts: list[Segment]) -> tuple[Segment, ...]:
        """The segments are final: number them, empty those without length or text, remember their tokens."""
        final = []
        for i, draft in enumerate(drafts, start=len(self.segments)):
            if draft.start == draft.end or not draft.text.strip():
                # words are empty even where none were asked for, as in the reference: its json says so
                draft = replace(draft, text="", tokens=(), words=(), logprobs=())
            final.append(replace(draft, id=i))
            self.tokens += draft.tokens
        self.segments += final
        return tuple(final)

    # --- context ----------------------------------------------------------------------------------------------------

    def _read_initial_prompt(self) -> None:
        given = self.options.initial_prompt
        if given is not None:
            self.tokens = question.ids(self.tokenizer, given)
            self.n_initial = len(self.tokens)

    def _prompt(self, tokenizer: Tokenizer, seek: int) -> Prompt:
        """`question.prompt` with the context that is in force at this window."""
        o = self.options
        if o.carry_initial_prompt:
            known = self.tokens[max(self.n_initial, self.reset_at) :]
            n_left = self.n_context - self.n_initial
            context = self.tokens[: self.n_initial] + known[-n_left:]
        else:
            context = self.tokens[self.reset_at :]
        return Prompt(*question.prompt(tokenizer, context, o, self.checkpoint.n_text_ctx, is_first=seek == 0))


def _last_word_end(segments: list[Segment]) -> float | None:
    """End of the last word; without any word, of the last segment."""
    ends = [w.end for s in segments for w in s.words or ()]
    return ends[-1] if ends else segments[-1].end if segments else None
