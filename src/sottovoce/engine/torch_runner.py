"""A runner on torch: any device that it knows. Everything runs in the model's dtype; logits come back in float32."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sottovoce.audio import mel_torch
from sottovoce.engine import fused
from sottovoce.engine.choices import DeviceChooser
from sottovoce.engine.cuda import CudaNetwork
from sottovoce.engine.fused import Fused
from sottovoce.engine.late import Late
from sottovoce.engine.plain import PlainNetwork
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.runner import Runner
from sottovoce.engine.sampler import Proposal, is_beam
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.stream import PlainStream, Stream, stream_of
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.model.whisper import Whisper
from sottovoce.types import Encoded, Search, Sound


class TorchRunner(Runner):
    """One model on one device, with its slots and rows. model: already on its device and in its dtype.

    n_threads: of a CPU; 0 as torch has it. kv: int8 keeps keys and values of sound in 8 bits on CUDA.
    parts: how a device is driven that runs ahead of the host, and what computes there; None: as suits the device.
    """

    def __init__(
        self,
        model: Whisper,
        vocabulary: Vocabulary,
        n_rows: int,
        n_threads: int = 0,
        kv: str = "auto",
        parts: tuple[Stream, Fused] | None = None,
    ) -> None:
        super().__init__(model.dims, vocabulary, n_rows)
        self.model, self.heads = model, model.alignment_heads
        weight = model.decoder.token_embedding.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.n_threads = n_threads
        cuda = stream_of(self.device)
        if parts is None and cuda is not None:
            parts = cuda, fused.fused(self.device, self.dtype)
        self.stream, self.fused = parts or (PlainStream(self.device), fused.PLAIN)
        rules = RuleBook(vocabulary, n_rows + 1, model.dims.n_text_ctx, self.device, self.stream)
        self.rules, self.chooser = rules, None
        if parts is None:
            self.network = PlainNetwork(model, self.n_slots, n_rows)
            return
        ahead = CudaNetwork(model, self.n_slots, n_rows, self.stream, self.fused.attend, kv == "int8")
        self.network, self.late = ahead, Late(ahead, rules, self.fused.best)
        self.chooser = DeviceChooser(rules, self.stream, self.fused.best)

    def begin(self) -> None:
        """torch counts CPU threads by the thread that calls it."""
        self.stream.begin()
        if self.n_threads and self.device.type == "cpu":
            torch.set_num_threads(self.n_threads)

    def computing(self) -> AbstractContextManager[None]:
        return torch.inference_mode()

    def give_room(self) -> bool:
        return isinstance(self.network, CudaNetwork) and self.network.graphs.forget()

    def put(self, values: object) -> Tensor:
        return self.stream.put(values)

    def join(self, parts: Seq[Tensor]) -> Tensor:
        return torch.cat(list(parts))

    def softmax(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def features(self, sounds: Seq[Sound]) -> Tensor:
        given = [s.features for s in sounds]
        if all(f is not None for f in given):
            return torch.stack([torch.from_numpy(f) for f in given if f is not None]).to(self.device, self.dtype)
        encoded: Tensor = self.network.features(mel_torch.batch(sounds, self.dims.n_mels, self.device))
        return encoded

    def encoded(self, sequence: Sequence) -> Encoded:
        return Encoded(self.features([sequence.window.sound])[0].float().cpu().numpy())  # sync

    def jumps(self, scores: Tensor, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int) -> Tensor:
        return self.fused.jumps(scores, n_sot, n_positions, qk_scale, medfilt_width)

    def generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    def propose(
        self,
        logits: Tensor,
        groups: Seq[tuple[Search, int]],
        generators: Seq[torch.Generator | None],
        gains: Tensor | None,
    ) -> Proposal:
        return propose(logits, groups, generators, gains)


def propose(
    logits: Tensor,
    groups: Seq[tuple[Search, int]],
    generators: Seq[torch.Generator | None],
    gains: Tensor | None = None,
) -> Proposal:
    """What each row may continue with. logits: (R, V) float32; groups: (search, n_rows) in the order of the rows.

    generators: one per group, None where nothing is drawn; a group's draw does not depend on its neighbours.
    gains: (R, V) float32, what tokens gain by keywords.
    Twin: sampler.py:propose.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    widest = max((s.beam_size for s, _ in groups if is_beam(s)), default=0)
    n = widest + 1 if widest else 1
    scores = logprobs if gains is None else logprobs + gains
    values, tokens = scores.topk(n, dim=-1) if widest else scores.max(dim=-1, keepdim=True)
    if gains is not None:
        logits = logits + gains
        values = logprobs.gather(1, tokens)
    row = 0
    for (search, n_rows), generator in zip(groups, generators, strict=True):
        if search.temperature > 0:
            lines = slice(row, row + n_rows)
            best = logits[lines].amax(dim=-1, keepdim=True)  # taken off first: a tiny temperature makes no infinity
            probs = torch.softmax((logits[lines] - best) / search.temperature, dim=-1)
            drawn = torch.multinomial(probs, 1, generator=generator)
            tokens[lines, :1] = drawn
            values[lines, :1] = logprobs[lines].gather(1, drawn)
        row += n_rows
    won = None if gains is None else gains.gather(1, tokens).cpu().numpy()
    return Proposal(tokens.cpu().numpy(), values.cpu().numpy(), won)  # sync
