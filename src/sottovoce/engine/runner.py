"""What an engine computes with: encode, prefill, decode, align. Executes what it is told; knows no policy, no lane.

`Runner` holds what torch_runner.py (any device that torch knows) and kernel_runner.py (CPUs that kernels are compiled
for, without torch) have in common. An Array is a tensor there, and numpy's here; logits are float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sottovoce.engine.network import NOWHERE, Array, Network
from sottovoce.engine.sampler import Proposal, advance, merged
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.slots import SPARE_SLOTS
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.model.dims import Dims
from sottovoce.types import Align, Aligned, Decode, Detect, Detected, Encoded, Search, Sound

if TYPE_CHECKING:
    from sottovoce.engine.late import Late


class Rules(Protocol):
    """Which tokens may follow on each row: rules.py, host_rules.py."""

    def reset_(self, rows: Seq[int], ask: Decode) -> None: ...
    def release(self, rows: Seq[int]) -> None: ...
    def repeats(self, rows: Seq[int]) -> bool: ...
    def apply_(self, logits: Array, rows: Array) -> None: ...
    def update_(self, tokens: Array, rows: Array) -> None: ...
    def copy_rows_(self, targets: Seq[int], sources: Seq[int]) -> None: ...
    def gains(self, rows: Seq[int]) -> Array | None: ...


class Chooser(Protocol):
    """What rows may say next, where nothing is drawn and no rule about repetition holds."""

    most: int  # tokens that it finds for a row, at most

    def choose(self, logits: Array, lines: Seq[int], rows: Seq[int], k: int) -> Proposal:
        """The k best tokens under the rules. logits: (R, V), written over; lines: of it, by row."""
        ...


class Runner(ABC):
    """One model with its slots and rows. A subclass gives it a network, rules and a chooser."""

    network: Network
    rules: Rules
    chooser: Chooser | None
    late: Late | None = None  # rows that run ahead of the host
    heads: Seq[tuple[int, int]]  # (layer, head) pairs that word times are read from

    def __init__(self, dims: Dims, vocabulary: Vocabulary, n_rows: int, n_windows: int | None = None) -> None:
        """n_windows: decoded together, at most; None: as many as rows."""
        self.dims = dims
        self.vocabulary = vocabulary
        self.n_rows = n_rows
        self.n_slots = (n_rows if n_windows is None else n_windows) + SPARE_SLOTS
        self._generators: dict[int, Any] = {}  # by a sequence's first row, while it draws

    # --- what is told apart -----------------------------------------------------------------------------------------

    @abstractmethod
    def put(self, values: object) -> Array:
        """Whole numbers of the host, (nested) lists, as an Array."""

    @abstractmethod
    def join(self, parts: Seq[Array]) -> Array:
        """(R, V) of several, one under the other."""

    @abstractmethod
    def softmax(self, logits: Array) -> Array:
        """Over the last axis."""

    @abstractmethod
    def features(self, sounds: Seq[Sound]) -> Array:
        """(W, S, C) encoded sound, in the model's precision."""

    @abstractmethod
    def encoded(self, sequence: Sequence) -> Encoded:
        """What the encoder makes of its sound, (S, C) float32, without a slot."""

    @abstractmethod
    def jumps(self, scores: Array, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int) -> Array:
        """As align.Jumps; scores may be written over."""

    @abstractmethod
    def generator(self, seed: int) -> Any:
        """What a sequence draws from."""

    @abstractmethod
    def propose(
        self, logits: Array, groups: Seq[tuple[Search, int]], generators: Seq[Any], gains: Array | None
    ) -> Proposal:
        """As sampler.propose."""

    def begin(self) -> None:  # noqa: B027  # most have nothing to begin
        """Called on the engine's own thread."""

    def computing(self) -> AbstractContextManager[None]:
        """In which an engine calls the rest."""
        return nullcontext()

    def give_room(self) -> bool:
        """Drop what only makes it faster. Returns whether there was anything."""
        return False

    # --- what is common ---------------------------------------------------------------------------------------------

    def encode(self, sequences: Seq[Sequence]) -> None:
        """Put the sound of each sequence into its slot."""
        given = [s for s in sequences if s.window.sound.features is not None]
        heard = [s for s in sequences if s.window.sound.features is None]
        for group in (given, heard):
            if group:
                features = self.features([s.window.sound for s in group])
                self.network.put_sound_([s.slot for s in group], features)

    def prefill(self, sequences: Seq[Sequence]) -> Array:
        """Read the prompts of new sequences; note how probable silence is. Returns (R, V) logits, by row of each."""
        asks = [s.window.ask for s in sequences if isinstance(s.window.ask, Decode)]
        drafts = [s.draft(self.vocabulary.eot, self.dims.n_text_ctx) for s in sequences]
        texts = [(*a.prompt, *draft) for a, draft in zip(asks, drafts, strict=True)]
        # of each: where the text starts, which says how probable silence is, and where it goes on, also in its draft
        wanted = [(a.i_sot, *range(len(a.prompt) - 1, len(t))) for a, t in zip(asks, texts, strict=True)]
        logits = self.network.read(texts, [s.rows[0] for s in sequences], [s.slot for s in sequences], wanted)
        firsts = np.cumsum([0, *(len(w) for w in wanted[:-1])]).tolist()
        silence = self.softmax(logits[self.put(firsts)])[:, self.vocabulary.no_speech]
        lasts = []
        for sequence, ask, draft, first in zip(sequences, asks, drafts, firsts, strict=True):
            row = sequence.rows[0]
            self.network.copy_rows_(sequence.rows[1:], [row] * (len(sequence.rows) - 1), len(ask.prompt))
            self.rules.reset_(sequence.rows, ask)
            if ask.search.temperature > 0:
                self._generators[row] = self.generator(ask.search.seed)
            n_verified = self._verify(sequence, draft, logits[first + 1 :]) if draft else 0
            lasts.append(first + 1 + n_verified)
        if self.late is not None and all(self.late.takes(s) for s in sequences):
            self.late.begin_(sequences, silence)
            return logits[self.put(lasts)]
        for sequence, prob in zip(sequences, silence.tolist(), strict=True):  # sync
            sequence.no_speech_prob = prob
        if self.late is not None:
            self.late.begin_([s for s in sequences if self.late.takes(s)])
        return logits[self.put([last for s, last in zip(sequences, lasts, strict=True) for _ in s.rows])]

    def _verify(self, sequence: Sequence, draft: Seq[int], logits: Array) -> int:
        """Take from a draft what the sequence would say itself; returns how many tokens that are.

        logits: of its end of the prompt and of each token of the draft, (1 + n_draft, V) or more.
        """
        row = self.put(sequence.rows)
        for i, token in enumerate(draft):
            found = self._proposal([sequence], logits[self.put([i])])  # a copy; sync
            if int(found.tokens[0, 0]) != token:
                return i
            advance(sequence, found, self.vocabulary.eot)
            self.rules.update_(self.put([token]), row)
        return len(draft)

    def decode(self, sequences: Seq[Sequence]) -> Array:
        """One step for running sequences: (R, V) logits after each row's newest token."""
        if self.late is not None:
            return self.late.step(sequences)
        newest = [trace[-1] for s in sequences for trace in s.tokens]
        places = [s.position for s in sequences for _ in s.rows]
        rows = [row for s in sequences for row in s.rows]
        return self.network.step(newest, rows, places, [(s.slot, len(s.rows)) for s in sequences])

    def sample(self, sequences: Seq[Sequence], logits: Array) -> list[bool]:
        """Choose the next token of every row. logits: (R, V), rows in the order of the sequences. Returns who ended."""
        late = self.late
        if late is None:
            return self._sample_now(sequences, logits)
        ahead = [late.takes(s) for s in sequences]
        firsts = np.cumsum([0, *(len(s.rows) for s in sequences)])
        others = [i for i, is_ahead in enumerate(ahead) if not is_ahead]
        # the others first: what feeds a row's next step must not be chosen for it twice if they run out of memory
        done = dict.fromkeys(range(len(sequences)), False)
        if others:
            lines = [line for i in others for line in range(firsts[i], firsts[i + 1])]
            some = logits if len(others) == len(sequences) else logits[self.put(lines)]
            done.update(zip(others, self._sample_now([sequences[i] for i in others], some), strict=True))
        fed = [i for i, is_ahead in enumerate(ahead) if is_ahead]
        if fed:
            late.choose_([sequences[i] for i in fed], logits, [int(firsts[i]) for i in fed])
        late.collect(n_left=1 if fed else 0)
        done.update((i, late.is_over(sequences[i])) for i in fed)
        return [done[i] for i in range(len(sequences))]

    def _sample_now(self, sequences: Seq[Sequence], logits: Array) -> list[bool]:
        """As sample, on the host."""
        proposal = self._proposal(sequences, logits)
        done, chosen, line = [], [], 0
        moves: list[tuple[int, int]] = []  # of all together: a device is told what to copy once a step, not once a beam
        longest = 0
        for sequence in sequences:
            lines = slice(line, line + len(sequence.rows))
            step = advance(sequence, proposal.lines(lines), self.vocabulary.eot)
            sources = [sequence.rows[i] for i in step.sources]
            if sources != sequence.rows and not step.done:
                moves += [(to, of) for to, of in zip(sequence.rows, sources, strict=True) if to != of]
                longest = max(longest, sequence.position)
            chosen += step.tokens
            done.append(step.done or sequence.n_sampled >= sequence.n_most(self.dims.n_text_ctx))
            line = lines.stop
        if moves:
            targets, origins = zip(*moves, strict=True)
            self.network.copy_rows_(targets, origins, longest)
            self.rules.copy_rows_(targets, origins)
        rows = [row for s in sequences for row in s.rows]
        self.rules.update_(self.put(chosen), self.put(rows))
        return done

    def _proposal(self, sequences: Seq[Sequence], logits: Array) -> Proposal:
        """What every row may continue with; rows that a kernel can choose for are chosen for together."""
        quick = [self._is_quick(s) for s in sequences]
        parts: list[tuple[list[int], Proposal]] = []
        firsts = np.cumsum([0, *(len(s.rows) for s in sequences)])
        for wanted in (True, False):
            chosen = [i for i, is_quick in enumerate(quick) if is_quick is wanted]
            if not chosen:
                continue
            group = [sequences[i] for i in chosen]
            lines = [line for i in chosen for line in range(firsts[i], firsts[i + 1])]
            rows = [row for s in group for row in s.rows]
            searches = [s.window.ask.search for s in group if isinstance(s.window.ask, Decode)]
            if wanted and self.chooser is not None:
                k = max(s.beam_size + 1 if s.beam_size > 1 else 1 for s in searches)
                parts.append((lines, self.chooser.choose(logits, lines, rows, k)))
                continue
            some = logits if len(lines) == len(logits) else logits[lines]
            self.rules.apply_(some, self.put(rows))
            generators = [self._generators.get(s.rows[0]) for s in group]
            widths = [len(s.rows) for s in group]
            asked = list(zip(searches, widths, strict=True))
            parts.append((lines, self.propose(some, asked, generators, self.rules.gains(rows))))
        return parts[0][1] if len(parts) == 1 else merged(parts)

    def _is_quick(self, sequence: Sequence) -> bool:
        ask = sequence.window.ask
        assert isinstance(ask, Decode)
        few = self.chooser is not None and ask.search.beam_size < self.chooser.most
        return few and ask.search.temperature == 0 and not self.rules.repeats(sequence.rows)

    def release(self, sequence: Sequence) -> None:
        """The sequence has ended: drop what is kept for its rows on this side."""
        self.rules.release(sequence.rows)
        if self.late is not None:
            self.late.release(sequence)
        if sequence.rows:
            self._generators.pop(sequence.rows[0], None)

    def detect(self, sequences: Seq[Sequence], sot: int) -> list[Detected]:
        """How probable each language is, from the first token alone."""
        asks = [s.window.ask for s in sequences]
        n = len(asks)
        logits = self.network.read([(sot,)] * n, [NOWHERE] * n, [s.slot for s in sequences], [(0,)] * n)
        found = []
        for line, ask in zip(logits, asks, strict=True):
            assert isinstance(ask, Detect)
            found.append(Detected(tuple(self.softmax(line[list(ask.languages)]).tolist())))  # sync
        return found

    def align(self, sequence: Sequence) -> Aligned:
        """When each token of a known text is spoken."""
        ask, v = sequence.window.ask, self.vocabulary
        assert isinstance(ask, Align)
        text = (*ask.sot, v.no_timestamps, *ask.text, v.eot)
        n_sot, n_text = len(ask.sot), len(ask.text)
        wanted = range(n_sot, n_sot + n_text)
        probs, scores = self.network.scores(text, sequence.slot, wanted, self.heads, v.eot)
        n_positions = sequence.window.sound.n_frames // 2
        starts = self.jumps(scores, n_sot, n_positions, ask.qk_scale, ask.medfilt_width)
        return Aligned(tuple(starts.tolist()), tuple(probs.tolist()))  # sync
