"""The heart: step() schedules, runs and updates. Synchronous and single-threaded; loop.py gives it a thread.

Where memory does not suffice for all at once, it is done in smaller parts, until there is nothing to do; windows whose
step was cut short begin again from their prompts. Only one that does not fit by itself fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch

from sottovoce.audio.mel import HOP, N_FFT
from sottovoce.engine.memory import is_out_of_memory
from sottovoce.engine.runner import Runner
from sottovoce.engine.sampler import conclude
from sottovoce.engine.scheduler import Plan, Scheduler
from sottovoce.engine.sequence import Outcome, Sequence, Status
from sottovoce.engine.slots import SPARE_SLOTS, Rows, Slots
from sottovoce.errors import EngineError, OptionError
from sottovoce.model.dims import Dims
from sottovoce.types import Align, Answer, Ask, Decode, Detect, Encode, Lane, Sound, Window

log = logging.getLogger(__name__)


class Engine:
    """Decodes windows together. sot: the id of <|startoftranscript|>."""

    def __init__(self, runner: Runner, sot: int, encode_windows: int = 4) -> None:
        self.runner = runner
        self.sot = sot
        self.scheduler = Scheduler(Slots(runner.n_slots, SPARE_SLOTS), Rows(runner.n_rows), encode_windows)
        self._most_windows = encode_windows  # encoded together, as far as memory lets them
        self._most_rows = runner.n_rows  # decoded together, likewise

    @property
    def idle(self) -> bool:
        return self.scheduler.idle

    def begin(self) -> None:
        """Called once, on the thread that will step."""
        self.runner.begin()

    def admit(self, window: Window) -> None:
        """Raise OptionError if this engine could never decode the window. Any thread may ask."""
        dims, ask = self.runner.model.dims, window.ask
        _check_sound(window.sound, dims)
        _check_ids(ask, dims.n_vocab)
        if isinstance(ask, Decode):
            if ask.search.n_rows > self.runner.n_rows:
                raise OptionError(
                    f"beam_size or best_of: {ask.search.n_rows} was given, at most {self.runner.n_rows} rows decode "
                    f"together here; pass less, or raise `rows` (--rows, SOTTOVOCE_ROWS)"
                )
            if not 0 < len(ask.prompt) < dims.n_text_ctx:
                raise OptionError(
                    f"prompt: {len(ask.prompt)} tokens were given, 1 to {dims.n_text_ctx - 1} were expected; "
                    "shorten initial_prompt, hotwords or prefix"
                )
            if ask.search.no_repeat_ngram_size >= dims.n_text_ctx:
                raise OptionError(
                    f"no_repeat_ngram_size: {ask.search.no_repeat_ngram_size} was given, less than {dims.n_text_ctx} "
                    "was expected; pass 0 to allow repetition"
                )

    def add(self, window: Window, lane: Lane) -> Sequence:
        sequence = Sequence(window, lane)
        self.scheduler.add(sequence)
        return sequence

    def withdraw(self, sequence: Sequence) -> None:
        """Its asker has left."""
        self.runner.release(sequence)
        self.scheduler.withdraw(sequence)

    def step(self) -> list[Outcome]:
        """One round for everybody who can run: encode, begin, one token a row. Returns what has ended."""
        plan = self.scheduler.schedule()
        outcomes = self._encode(plan)
        outcomes += self._answer_at_once([s for s in plan.start if s.status is Status.RUNNING])
        outcomes += self._decode([s for s in (*plan.start, *plan.running) if s.status is Status.RUNNING])
        if self.idle:  # who comes next may find more memory
            self._most_windows, self._most_rows = self.scheduler.encode_windows, self.runner.n_rows
        return outcomes

    def check(self) -> None:
        """Raise AssertionError if anything has leaked."""
        self.scheduler.check()

    def _encode(self, plan: Plan) -> list[Outcome]:
        left = [s for s in plan.encode if not isinstance(s.window.ask, Encode)]
        outcomes: list[Outcome] = []
        while left:
            group, left = left[: self._most_windows], left[self._most_windows :]
            try:
                with torch.inference_mode():
                    self.runner.encode(group)
            except Exception as e:  # whatever the device raises, the askers are told and the slots are not trusted
                if is_out_of_memory(e) and len(group) > 1:
                    self._most_windows = self._half(len(group), "windows encoded", e)
                    left = group + left
                    continue
                slots = {s.slot for s in group}
                for slot in slots:
                    self.scheduler.slots.forget(slot)
                outcomes += self._fail([s for s in plan.start if s.slot in slots], e)
        return outcomes

    def _answer_at_once(self, started: list[Sequence]) -> list[Outcome]:
        """Questions that need no token after token."""
        detect = [s for s in started if isinstance(s.window.ask, Detect)]
        outcomes = self._finish(detect, lambda asked: self.runner.detect(asked, self.sot)) if detect else []
        for sequence in started:
            match sequence.window.ask:
                case Align():
                    outcomes += self._finish([sequence], _each(self.runner.align))
                case Encode():
                    # its slot holds nothing that another window could use
                    self.scheduler.slots.forget(sequence.slot)
                    outcomes += self._finish([sequence], _each(self.runner.encoded))
        return outcomes

    def _decode(self, running: list[Sequence]) -> list[Outcome]:
        decoding = [s for s in running if isinstance(s.window.ask, Decode)]
        new = [s for s in decoding if s.is_new]
        old = sorted((s for s in decoding if not s.is_new), key=lambda s: s.slot)
        return [outcome for part in self._parts(new + old) for outcome in self._advance(part)]

    def _parts(self, sequences: list[Sequence]) -> Iterator[list[Sequence]]:
        """As few parts as memory allows, one sequence in each at least: nearly always one part."""
        part: list[Sequence] = []
        n_rows = 0
        for sequence in sequences:
            if part and n_rows + sequence.n_rows > self._most_rows:
                yield part
                part, n_rows = [], 0
            part.append(sequence)
            n_rows += sequence.n_rows
        if part:
            yield part

    def _advance(self, part: list[Sequence]) -> list[Outcome]:
        """One token for each; those without any read their prompts first."""
        new, old = [s for s in part if s.is_new], [s for s in part if not s.is_new]
        outcomes: list[Outcome] = []
        logits: list[torch.Tensor] = []
        try:
            with torch.inference_mode():
                logits += [self.runner.prefill(new)] if new else []
        except Exception as e:  # what is wrong with a newcomer must not touch those who run
            outcomes += self._begin_again_or_fail(new, e)
            new = []
        everybody = new + old
        if not everybody:
            return outcomes
        try:
            with torch.inference_mode():
                logits += [self.runner.decode(old)] if old else []
                ended = self.runner.sample(everybody, logits[0] if len(logits) == 1 else torch.cat(logits))
        except Exception as e:
            return outcomes + self._begin_again_or_fail(everybody, e)
        for sequence in [s for s, done in zip(everybody, ended, strict=True) if done]:
            outcomes += self._finish([sequence], _each(partial(conclude, eot=self.runner.vocabulary.eot)))
        return outcomes

    def _begin_again_or_fail(self, sequences: list[Sequence], cause: Exception) -> list[Outcome]:
        """From their prompts, for nobody knows how far a step came that ran out of memory; in smaller parts."""
        alone = len(sequences) == 1
        if not is_out_of_memory(cause) or (alone and not self.runner.give_room()):
            return self._fail(sequences, cause)
        if not alone:
            self._most_rows = self._half(sum(s.n_rows for s in sequences), "rows decoded", cause)
        for sequence in sequences:
            self.runner.release(sequence)
            sequence.start()
        return []

    def _finish(self, sequences: list[Sequence], run: Callable[[list[Sequence]], Iterable[Answer]]) -> list[Outcome]:
        try:
            with torch.inference_mode():
                answers = run(sequences)
        except Exception as e:
            if len(sequences) == 1 or not is_out_of_memory(e):
                return self._fail(sequences, e)
            n = self._half(len(sequences), "questions answered", e)
        else:
            for sequence in sequences:
                self._drop(sequence)
            return [Outcome(s, answer) for s, answer in zip(sequences, answers, strict=True)]
        return self._finish(sequences[:n], run) + self._finish(sequences[n:], run)

    def _fail(self, sequences: list[Sequence], cause: Exception) -> list[Outcome]:
        log.error("a step failed; %d windows are answered with its error", len(sequences), exc_info=cause)
        what = "the device failed while decoding"
        if is_out_of_memory(cause):
            what = "one window alone does not fit into memory; use fewer beams, a smaller model, or --device cpu"
        outcomes = []
        for sequence in sequences:
            self._drop(sequence)
            error = EngineError(f"{what}: {type(cause).__name__}: {cause}")
            error.__cause__ = cause
            outcomes.append(Outcome(sequence, error=error))
        return outcomes

    def _half(self, n: int, what: str, cause: Exception) -> int:
        log.warning("out of memory with %d %s together; going on with %d (%s)", n, what, n // 2, cause)
        self.runner.give_room()
        return n // 2

    def _drop(self, sequence: Sequence) -> None:
        self.runner.release(sequence)
        self.scheduler.finish(sequence)


def _each(run: Callable[[Sequence], Answer]) -> Callable[[list[Sequence]], Iterable[Answer]]:
    return lambda sequences: [run(sequence) for sequence in sequences]


def _check_sound(sound: Sound, dims: Dims) -> None:
    """A shape that does not fit would fail the windows that are encoded with it."""
    forms = {"samples": sound.samples, "mel": sound.mel, "features": sound.features}
    given = {name: array for name, array in forms.items() if array is not None}
    n = sound.n_frames
    if len(given) != 1 or not 0 <= n <= 2 * dims.n_audio_ctx:
        raise OptionError(
            f"a sound with {', '.join(given) or 'nothing'} and {n} frames was given, one of {', '.join(forms)} and at "
            f"most {2 * dims.n_audio_ctx} frames were expected"
        )
    ((name, array),) = given.items()
    shapes: dict[str, tuple[int, ...]] = {
        "samples": (n * HOP + N_FFT - HOP,),
        "mel": (dims.n_mels, min(array.shape[-1], 2 * dims.n_audio_ctx)),
        "features": (dims.n_audio_ctx, dims.n_audio_state),
    }
    if array.shape != shapes[name]:
        raise OptionError(
            f"{name}: shape {array.shape} was given, {shapes[name]} was expected; cut it into windows of 30 s"
        )


def _check_ids(ask: Ask, n_vocab: int) -> None:
    """An id outside the vocabulary would fail, on some devices for good, everybody who decodes at that step."""
    match ask:
        case Decode():
            ids = (*ask.prompt, *ask.rules.suppress, *ask.rules.suppress_first, *ask.rules.begun)
        case Detect():
            ids = ask.languages
        case Align():
            ids = (*ask.sot, *ask.text)
        case Encode():
            ids = ()
    for i in ids:
        if not 0 <= i < n_vocab:
            raise OptionError(
                f"token id {i} was given, 0 to {n_vocab - 1} were expected; look at initial_prompt, prefix and "
                "suppress_tokens, which may come from another model's tokenizer"
            )
