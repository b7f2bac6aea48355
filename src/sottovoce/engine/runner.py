"""The device: encode, prefill, decode, align. Executes what it is told; knows no policy, no lane, no future.

Everything runs in the model's dtype; logits come back in float32.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from sottovoce import threads
from sottovoce.audio import mel
from sottovoce.engine import kernels, native
from sottovoce.engine.align import attention_matrix, token_jumps
from sottovoce.engine.plain import NOWHERE, Network, PlainNetwork
from sottovoce.engine.rules import RuleBook, Vocabulary
from sottovoce.engine.sampler import Proposal, advance, merged, propose
from sottovoce.engine.sequence import Sequence
from sottovoce.model.whisper import Whisper
from sottovoce.types import Align, Aligned, Decode, Detect, Detected, Encoded, Sound

SPARE_SLOTS = 4  # slots beyond the rows, so that what was just freed is remembered a little longer


class Runner:
    """One model on one device, with its slots and rows. model: already on its device and in its dtype."""

    def __init__(
        self, model: Whisper, vocabulary: Vocabulary, n_rows: int, n_threads: int = 0, kv: str = "auto"
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        weight = model.decoder.token_embedding.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.n_rows = n_rows
        self.n_threads = n_threads
        self.n_slots = n_rows + SPARE_SLOTS
        self.rules = RuleBook(vocabulary, n_rows, model.dims.n_text_ctx, self.device)
        self.network: Network
        self.chooser: native.NativeChooser | None = None
        if native.fits(model):
            n = n_threads or threads.n_threads()
            self.network = native.NativeNetwork(model, self.n_slots, n_rows, n, kv != "bfloat16")
            self.chooser = native.NativeChooser(self.rules, n)
        else:
            self.network = PlainNetwork(model, self.n_slots, n_rows)
        self._generators: dict[int, torch.Generator] = {}  # by a sequence's first row, while it draws

    def begin(self) -> None:
        """Called on the engine's own thread: torch counts CPU threads by the thread that calls it."""
        if self.n_threads and self.device.type == "cpu":
            torch.set_num_threads(self.n_threads)

    def features(self, sounds: Seq[Sound]) -> Tensor:
        """(W, S, C) encoded sound, in the model's dtype."""
        given = [s.features for s in sounds]
        if all(f is not None for f in given):
            return torch.stack([torch.from_numpy(f) for f in given if f is not None]).to(self.device, self.dtype)
        return self.network.features(mel.batch(sounds, self.model.dims.n_mels, self.device))

    def encode(self, sequences: Seq[Sequence]) -> None:
        """Put the sound of each sequence into its slot."""
        given = [s for s in sequences if s.window.sound.features is not None]
        heard = [s for s in sequences if s.window.sound.features is None]
        for group in (given, heard):
            if group:
                features = self.features([s.window.sound for s in group])
                self.network.put_sound_([s.slot for s in group], features)

    def encoded(self, sequence: Sequence) -> Encoded:
        return Encoded(self.features([sequence.window.sound])[0].float().cpu().numpy())  # sync

    def prefill(self, sequences: Seq[Sequence]) -> Tensor:
        """Read the prompts of new sequences; note how probable silence is. Returns (R, V) logits, by row of each."""
        asks = [s.window.ask for s in sequences]
        prompts = [a.prompt for a in asks if isinstance(a, Decode)]
        # two of each: where the text starts, which says how probable silence is, and where it goes on
        wanted = [(a.i_sot, len(a.prompt) - 1) for a in asks if isinstance(a, Decode)]
        logits = self.network.read(prompts, [s.rows[0] for s in sequences], [s.slot for s in sequences], wanted)
        silence = logits[::2].softmax(dim=-1)[:, self.vocabulary.no_speech].tolist()  # sync
        for sequence, ask, prob in zip(sequences, asks, silence, strict=True):
            assert isinstance(ask, Decode)
            sequence.no_speech_prob = prob
            first = sequence.rows[0]
            self.network.copy_rows_(sequence.rows[1:], [first] * (len(sequence.rows) - 1), len(ask.prompt))
            self.rules.reset_(sequence.rows, ask)
            if ask.search.temperature > 0:
                self._generators[first] = torch.Generator(self.device).manual_seed(ask.search.seed)
        widths = torch.tensor([len(s.rows) for s in sequences], device=self.device)
        return logits[1::2].repeat_interleave(widths, dim=0)

    def decode(self, sequences: Seq[Sequence]) -> Tensor:
        """One step for running sequences: (R, V) logits after each row's newest token."""
        newest = [trace[-1] for s in sequences for trace in s.tokens]
        places = [s.position for s in sequences for _ in s.rows]
        rows = [row for s in sequences for row in s.rows]
        return self.network.step(newest, rows, places, [(s.slot, len(s.rows)) for s in sequences])

    def sample(self, sequences: Seq[Sequence], logits: Tensor) -> list[bool]:
        """Choose the next token of every row. logits: (R, V), rows in the order of the sequences. Returns who ended."""
        proposal = self._proposal(sequences, logits)
        done, chosen, line = [], [], 0
        for sequence in sequences:
            lines = slice(line, line + len(sequence.rows))
            step = advance(sequence, proposal.tokens[lines], proposal.logprobs[lines], self.vocabulary.eot)
            sources = [sequence.rows[i] for i in step.sources]
            if sources != sequence.rows and not step.done:
                self.network.copy_rows_(sequence.rows, sources, sequence.position)
                self.rules.copy_rows_(sequence.rows, sources)
            chosen += step.tokens
            done.append(step.done or self._is_full(sequence))
            line = lines.stop
        rows = torch.tensor([row for s in sequences for row in s.rows], device=self.device)
        self.rules.update_(torch.tensor(chosen, device=self.device), rows)
        return done

    def _proposal(self, sequences: Seq[Sequence], logits: Tensor) -> Proposal:
        """What every row may continue with; rows that a kernel can choose for are chosen for together."""
        quick = [self.chooser is not None and self._is_quick(s) for s in sequences]
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
            self.rules.apply_(some, torch.tensor(rows, device=self.device))
            generators = [self._generators.get(s.rows[0]) for s in group]
            widths = [len(s.rows) for s in group]
            parts.append((lines, propose(some, list(zip(searches, widths, strict=True)), generators)))
        return parts[0][1] if len(parts) == 1 else merged(parts)

    def _is_quick(self, sequence: Sequence) -> bool:
        ask = sequence.window.ask
        assert isinstance(ask, Decode)
        few = ask.search.beam_size < kernels.MOST_CHOICES
        return ask.search.temperature == 0 and few and not self.rules.repeats(sequence.rows)

    def release(self, sequence: Sequence) -> None:
        """The sequence has ended: drop what is kept for its rows on this side."""
        self.rules.release(sequence.rows)
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
            found.append(Detected(tuple(line[list(ask.languages)].softmax(dim=-1).tolist())))  # sync
        return found

    def align(self, sequence: Sequence) -> Aligned:
        """When each token of a known text is spoken."""
        ask, v = sequence.window.ask, self.vocabulary
        assert isinstance(ask, Align)
        text = (*ask.sot, v.no_timestamps, *ask.text, v.eot)
        n_sot, n_text = len(ask.sot), len(ask.text)
        logits, scores = self.network.scores(
            text, sequence.slot, range(n_sot, n_sot + n_text), self.model.alignment_heads
        )
        spoken = logits[:, : v.eot].softmax(dim=-1)
        probs = spoken.gather(1, torch.tensor(ask.text, device=self.device)[:, None])[:, 0]
        n_positions = sequence.window.sound.n_frames // 2
        matrix = attention_matrix(scores, n_positions, ask.qk_scale, ask.medfilt_width)
        jumps = token_jumps(matrix[n_sot:-1].cpu().numpy())  # sync
        return Aligned(tuple(jumps.tolist()), tuple(probs.tolist()))

    def _is_full(self, sequence: Sequence) -> bool:
        ask = sequence.window.ask
        assert isinstance(ask, Decode)
        n = sequence.n_sampled
        return n >= ask.search.max_tokens or len(ask.prompt) + n > self.model.dims.n_text_ctx
