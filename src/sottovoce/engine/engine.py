"""The heart: step() schedules, runs and updates. Synchronous and single-threaded; loop.py gives it a thread.

Where memory does not suffice for all at once, it is done in smaller parts, until there is nothing to do; windows whose
step was cut short begin again from their prompts. Only one that does not fit by itself fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from sottovoce.engine import admission
from sottovoce.engine.load import Load
from sottovoce.engine.memory import is_out_of_memory
from sottovoce.engine.network import Array
from sottovoce.engine.runner import Runner
from sottovoce.engine.sampler import conclude
from sottovoce.engine.scheduler import Plan, Scheduler
from sottovoce.engine.sequence import Outcome, Sequence, Status
from sottovoce.engine.slots import SPARE_SLOTS, Rows, Slots
from sottovoce.errors import EngineError
from sottovoce.types import Align, Answer, Decode, Detect, Encode, Lane, Window

if TYPE_CHECKING:
    from sottovoce.model.whisper import Whisper

log = logging.getLogger(__name__)


class Engine:
    """Decodes windows together. sot: the id of <|startoftranscript|>."""

    def __init__(
        self, runner: Runner, sot: int, encode_windows: int = 4, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.runner = runner
        self.sot = sot
        self._clock = clock
        self._encode_s = 0.0
        self.scheduler = Scheduler(
            Slots(runner.n_slots, SPARE_SLOTS), Rows(runner.n_rows), encode_windows, runner.n_slots - SPARE_SLOTS
        )
        self._most_windows = encode_windows  # encoded together, as far as memory lets them
        self._most_rows = runner.n_rows  # decoded together, likewise
        self._suspects: set[Sequence] = set()  # one of them failed a step: each goes on by itself

    @property
    def idle(self) -> bool:
        return self.scheduler.idle

    @property
    def network(self) -> Whisper | None:
        """Modules, where torch computes."""
        return getattr(self.runner, "model", None)

    def begin(self) -> None:
        """Called once, on the thread that will step."""
        self.runner.begin()

    def admit(self, window: Window) -> None:
        """Raise OptionError if this engine could never decode the window. Any thread may ask."""
        admission.check(window, self.runner.dims, self.runner.n_rows)

    def add(self, window: Window, lane: Lane) -> Sequence:
        sequence = Sequence(window, lane, added_s=self._clock())
        self.scheduler.add(sequence)
        return sequence

    def withdraw(self, sequence: Sequence) -> None:
        """Its asker has left."""
        self._suspects.discard(sequence)
        self.runner.release(sequence)
        self.scheduler.withdraw(sequence)

    def step(self) -> list[Outcome]:
        """One round for everybody who can run: encode, begin, one token a row. Returns what has ended."""
        plan = self.scheduler.schedule()
        began_s = self._clock()
        outcomes = self._encode(plan)
        self._note_times(plan, began_s)
        outcomes += self._answer_at_once([s for s in plan.start if s.status is Status.RUNNING])
        outcomes += self._decode([s for s in (*plan.start, *plan.running) if s.status is Status.RUNNING])
        if self.idle:  # who comes next may find more memory
            self._most_windows, self._most_rows = self.scheduler.encode_windows, self.runner.n_rows
        return outcomes

    def check(self) -> None:
        """Raise AssertionError if anything has leaked."""
        self.scheduler.check()

    def load(self) -> Load:
        """What there is to do now. Only on the thread that steps."""
        s = self.scheduler
        used = s.rows.n - s.rows.n_free, s.slots.n, s.slots.n_held, len(s.running), s.n_waiting
        return Load(s.rows.n, *used, encode_s=self._encode_s)

    def _note_times(self, plan: Plan, began_s: float) -> None:
        encoded_s = self._clock()
        for sequence in plan.start:
            sequence.began_s, sequence.encoded_s = began_s, encoded_s
            if sequence.status is Status.DONE:  # its sound could not be encoded
                sequence.ended_s = encoded_s
        if plan.encode:
            self._encode_s += encoded_s - began_s

    def _encode(self, plan: Plan) -> list[Outcome]:
        left = [s for s in plan.encode if not isinstance(s.window.ask, Encode)]
        outcomes: list[Outcome] = []
        while left:
            group, left = left[: self._most_windows], left[self._most_windows :]
            try:
                with self.runner.computing():
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
        """As few parts as memory allows, nearly always one, of one sequence at least. Suspects stand alone."""
        suspects = [s for s in sequences if s in self._suspects]
        yield from ([s] for s in suspects)
        part: list[Sequence] = []
        n_rows = 0
        for sequence in sequences:
            if sequence in suspects:
                continue
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
        logits: list[Array] = []
        try:
            with self.runner.computing():
                logits += [self.runner.prefill(new)] if new else []
        except Exception as e:  # what is wrong with a newcomer must not touch those who run
            outcomes += self._begin_again_or_fail(new, e)
            new = []
        everybody = new + old
        if not everybody:
            return outcomes
        try:
            with self.runner.computing():
                logits += [self.runner.decode(old)] if old else []
                ended = self.runner.sample(everybody, logits[0] if len(logits) == 1 else self.runner.join(logits))
        except Exception as e:
            return outcomes + self._begin_again_or_fail(everybody, e)
        for sequence in [s for s, done in zip(everybody, ended, strict=True) if done]:
            outcomes += self._finish([sequence], _each(partial(conclude, eot=self.runner.vocabulary.eot)))
        return outcomes

    def _begin_again_or_fail(self, sequences: list[Sequence], cause: Exception) -> list[Outcome]:
        """From their prompts, for nobody knows how far a step came that failed.

        In smaller parts, if there was no memory; else each by itself, so that only the guilty one fails.
        """
        alone, starved = len(sequences) == 1, is_out_of_memory(cause)
        if alone and not (starved and self._has_another_chance(sequences[0])):
            return self._fail(sequences, cause)
        if starved and not alone:
            self._most_rows = self._half(sum(s.n_rows for s in sequences), "rows decoded", cause)
        elif not starved:
            log.warning("a step of %d windows failed; each goes on by itself (%s)", len(sequences), cause)
            self._suspects.update(sequences)
        for sequence in sequences:
            self.runner.release(sequence)
            sequence.start()
        return []

    def _finish(self, sequences: list[Sequence], run: Callable[[list[Sequence]], Iterable[Answer]]) -> list[Outcome]:
        try:
            with self.runner.computing():
                answers = run(sequences)
        except Exception as e:
            if len(sequences) == 1:
                return self._fail(sequences, e)
            n = self._half(len(sequences), "questions answered", e) if is_out_of_memory(e) else len(sequences) // 2
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

    def _has_another_chance(self, sequence: Sequence) -> bool:
        """Once, if what only makes it faster took room; that comes back, and so would the error."""
        first, sequence.retried = not sequence.retried, True
        return first and self.runner.give_room()

    def _half(self, n: int, what: str, cause: Exception) -> int:
        log.warning("out of memory with %d %s together; going on with %d (%s)", n, what, n // 2, cause)
        self.runner.give_room()
        return n // 2

    def _drop(self, sequence: Sequence) -> None:
        self._suspects.discard(sequence)
        self.runner.release(sequence)
        self.scheduler.finish(sequence)
        sequence.ended_s = self._clock()


def _each(run: Callable[[Sequence], Answer]) -> Callable[[list[Sequence]], Iterable[Answer]]:
    return lambda sequences: [run(sequence) for sequence in sequences]
