"""The device: encode, prefill, decode, align. Executes what it is told; knows no policy, no lane, no future.

Everything runs in the model's dtype; logits come back in float32.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from sottovoce import threads
from sottovoce.audio import mel_torch
from sottovoce.engine import align_native, fused, kernels, native
from sottovoce.engine.choices import DeviceChooser
from sottovoce.engine.cuda import CudaNetwork
from sottovoce.engine.fused import Fused
from sottovoce.engine.late import Late
from sottovoce.engine.plain import NOWHERE, Network, PlainNetwork
from sottovoce.engine.rules import RuleBook, Vocabulary
from sottovoce.engine.sampler import Proposal, advance, merged, propose
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.slots import SPARE_SLOTS
from sottovoce.engine.stream import PlainStream, Stream, stream_of
from sottovoce.model.whisper import Whisper
from sottovoce.types import Align, Aligned, Decode, Detect, Detected, Encoded, Sound


class Runner:
    """One model on one device, with its slots and rows. model: already on its device and in its dtype.

    parts: how a device is driven that runs ahead of the host, and what computes there; None: as suits the device.
    """

    def __init__(
        self,
        model: Whisper,
        vocabulary: Vocabulary,
        n_rows: int,
        n_threads: int = 0,
        kv: str = "auto",
        weight_bits: int = 16,
        parts: tuple[Stream, Fused] | None = None,
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        weight = model.decoder.token_embedding.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.n_rows = n_rows
        self.n_threads = n_threads
        self.n_slots = n_rows + SPARE_SLOTS
        cuda = stream_of(self.device)
        if parts is None and cuda is not None:
            parts = cuda, fused.fused(self.device, self.dtype)
        self.stream, self.fused = parts or (PlainStream(self.device), fused.PLAIN)
        self.rules = RuleBook(vocabulary, n_rows + 1, model.dims.n_text_ctx, self.device, self.stream)
        self.network: Network
        self.chooser: native.NativeChooser | DeviceChooser | None = None
        self.late: Late | None = None
        if parts is not None:
            ahead = CudaNetwork(model, self.n_slots, n_rows, self.stream, self.fused.attend, kv == "int8")
            self.network, self.late = ahead, Late(ahead, self.rules, self.fused.best)
            self.chooser = DeviceChooser(self.rules, self.stream, self.fused.best)
        elif native.fits(model.dims, self.device, self.dtype):
            n = n_threads or threads.n_threads()
            self.network = native.NativeNetwork(
                model, self.n_slots, n_rows, n, 16 if kv == "bfloat16" else 8, weight_bits
            )
            self.chooser = native.NativeChooser(self.rules, n)
        else:
            self.network = PlainNetwork(model, self.n_slots, n_rows)
        self._generators: dict[int, torch.Generator] = {}  # by a sequence's first row, while it draws

    def begin(self) -> None:
        """Called on the engine's own thread: torch counts CPU threads by the thread that calls it."""
        self.stream.begin()
        if self.n_threads and self.device.type == "cpu":
            torch.set_num_threads(self.n_threads)

    def give_room(self) -> bool:
        """Drop what only makes it faster. Returns whether there was anything."""
        return isinstance(self.network, CudaNetwork) and self.network.graphs.forget()

    def features(self, sounds: Seq[Sound]) -> Tensor:
        """(W, S, C) encoded sound, in the model's dtype."""
        given = [s.features for s in sounds]
        if all(f is not None for f in given):
            return torch.stack([torch.from_numpy(f) for f in given if f is not None]).to(self.device, self.dtype)
        return self.network.features(mel_torch.batch(sounds, self.model.dims.n_mels, self.device))

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
        asks = [s.window.ask for s in sequences if isinstance(s.window.ask, Decode)]
        drafts = [s.draft(self.vocabulary.eot, self.model.dims.n_text_ctx) for s in sequences]
        texts = [(*a.prompt, *draft) for a, draft in zip(asks, drafts, strict=True)]
        # of each: where the text starts, which says how probable silence is, and where it goes on, also in its draft
        wanted = [(a.i_sot, *range(len(a.prompt) - 1, len(t))) for a, t in zip(asks, texts, strict=True)]
        logits = self.network.read(texts, [s.rows[0] for s in sequences], [s.slot for s in sequences], wanted)
        firsts = np.cumsum([0, *(len(w) for w in wanted[:-1])]).tolist()
        silence = logits[self.stream.put(firsts)].softmax(dim=-1)[:, self.vocabulary.no_speech]
        lasts = []
        for sequence, ask, draft, first in zip(sequences, asks, drafts, firsts, strict=True):
            row = sequence.rows[0]
            self.network.copy_rows_(sequence.rows[1:], [row] * (len(sequence.rows) - 1), len(ask.prompt))
            self.rules.reset_(sequence.rows, ask)
            if ask.search.temperature > 0:
                self._generators[row] = torch.Generator(self.device).manual_seed(ask.search.seed)
            n_verified = self._verify(sequence, draft, logits[first + 1 :]) if draft else 0
            lasts.append(first + 1 + n_verified)
        if self.late is not None and all(self.late.takes(s) for s in sequences):
            self.late.begin_(sequences, silence)
            return logits[self.stream.put(lasts)]
        for sequence, prob in zip(sequences, silence.tolist(), strict=True):  # sync
            sequence.no_speech_prob = prob
        if self.late is not None:
            self.late.begin_([s for s in sequences if self.late.takes(s)])
        return logits[self.stream.put([last for s, last in zip(sequences, lasts, strict=True) for _ in s.rows])]

    def _verify(self, sequence: Sequence, draft: Seq[int], logits: Tensor) -> int:
        """Take from a draft what the sequence would say itself; returns how many tokens that are.

        logits: of its end of the prompt and of each token of the draft, (1 + n_draft, V) or more.
        """
        row = self.stream.put(sequence.rows)
        for i, token in enumerate(draft):
            found = self._proposal([sequence], logits[i : i + 1].clone())  # sync
            if int(found.tokens[0, 0]) != token:
                return i
            advance(sequence, found.tokens, found.logprobs, self.vocabulary.eot)
            self.rules.update_(self.stream.put([token]), row)
        return len(draft)

    def decode(self, sequences: Seq[Sequence]) -> Tensor:
        """One step for running sequences: (R, V) logits after each row's newest token."""
        if self.late is not None:
            return self.late.step(sequences)
        newest = [trace[-1] for s in sequences for trace in s.tokens]
        places = [s.position for s in sequences for _ in s.rows]
        rows = [row for s in sequences for row in s.rows]
        return self.network.step(newest, rows, places, [(s.slot, len(s.rows)) for s in sequences])

    def sample(self, sequences: Seq[Sequence], logits: Tensor) -> list[bool]:
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
            some = logits if len(others) == len(sequences) else logits[self.stream.put(lines)]
            done.update(zip(others, self._sample_now([sequences[i] for i in others], some), strict=True))
        fed = [i for i, is_ahead in enumerate(ahead) if is_ahead]
        if fed:
            late.choose_([sequences[i] for i in fed], logits, [int(firsts[i]) for i in fed])
        late.collect(n_left=1 if fed else 0)
        done.update((i, late.is_over(sequences[i])) for i in fed)
        return [done[i] for i in range(len(sequences))]

    def _sample_now(self, sequences: Seq[Sequence], logits: Tensor) -> list[bool]:
        """As sample, on the host."""
        proposal = self._proposal(sequences, logits)
        done, chosen, line = [], [], 0
        moves: list[tuple[int, int]] = []  # of all together: a device is told what to copy once a step, not once a beam
        longest = 0
        for sequence in sequences:
            lines = slice(line, line + len(sequence.rows))
            step = advance(sequence, proposal.tokens[lines], proposal.logprobs[lines], self.vocabulary.eot)
            sources = [sequence.rows[i] for i in step.sources]
            if sources != sequence.rows and not step.done:
                moves += [(to, of) for to, of in zip(sequence.rows, sources, strict=True) if to != of]
                longest = max(longest, sequence.position)
            chosen += step.tokens
            done.append(step.done or sequence.n_sampled >= sequence.n_most(self.model.dims.n_text_ctx))
            line = lines.stop
        if moves:
            targets, origins = zip(*moves, strict=True)
            self.network.copy_rows_(targets, origins, longest)
            self.rules.copy_rows_(targets, origins)
        rows = [row for s in sequences for row in s.rows]
        self.rules.update_(self.stream.put(chosen), self.stream.put(rows))
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
            self.rules.apply_(some, self.stream.put(rows))
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
            found.append(Detected(tuple(line[list(ask.languages)].softmax(dim=-1).tolist())))  # sync
        return found

    def align(self, sequence: Sequence) -> Aligned:
        """When each token of a known text is spoken."""
        ask, v = sequence.window.ask, self.vocabulary
        assert isinstance(ask, Align)
        text = (*ask.sot, v.no_timestamps, *ask.text, v.eot)
        n_sot, n_text = len(ask.sot), len(ask.text)
        probs, scores = self.network.scores(
            text, sequence.slot, range(n_sot, n_sot + n_text), self.model.alignment_heads, v.eot
        )
        n_positions = sequence.window.sound.n_frames // 2
        asked = n_sot, n_positions, ask.qk_scale, ask.medfilt_width
        if isinstance(self.network, native.NativeNetwork):
            starts = align_native.jumps(scores.numpy(), *asked, self.network.n_threads).tolist()
        else:
            starts = self.fused.jumps(scores, *asked).tolist()  # sync
        return Aligned(tuple(starts), tuple(probs.tolist()))  # sync
