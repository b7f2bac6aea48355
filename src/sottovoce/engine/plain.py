"""The network on torch: any device, any precision. Knows no window, no policy.

The plain twin of native.py and of cuda.py.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch
from torch import Tensor

from sottovoce.engine.cache import AlignPass, DecodePass, Pools, PrefillPass
from sottovoce.engine.network import NOWHERE
from sottovoce.model.whisper import Whisper


def probabilities(logits: Tensor, tokens: Tensor, n_ids: int) -> Tensor:
    """How probable each of the tokens is among ids [0, n_ids). logits: (n, V); tokens: (n,) int64."""
    return logits[:, :n_ids].softmax(dim=-1).gather(1, tokens[:, None])[:, 0]


class PlainNetwork:
    """model: on its device and in its dtype."""

    def __init__(self, model: Whisper, n_slots: int, n_rows: int) -> None:
        self.model = model
        weight = model.decoder.token_embedding.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.pools = Pools(model.dims, n_slots, n_rows, self.device, self.dtype)

    def features(self, mel: Tensor) -> Tensor:
        encoded: Tensor = self.model.encoder(mel.to(self.dtype))
        return encoded

    def put_sound_(self, slots: Seq[int], features: Tensor) -> None:
        self.pools.put_sound_(slots, self.model.decoder.cross_kv(features))

    def copy_rows_(self, targets: Seq[int], sources: Seq[int], length: int) -> None:
        self.pools.copy_rows_(targets, sources, length)

    def read(self, texts: Seq[Seq[int]], rows: Seq[int], slots: Seq[int], wanted: Seq[Seq[int]]) -> Tensor:
        longest = max(len(text) for text in texts)
        padded = [[*text, *[0] * (longest - len(text))] for text in texts]
        tokens = torch.tensor(padded, device=self.device)
        kept = [] if NOWHERE in rows else rows
        hidden = self.model.decoder(tokens, self._positions(longest, len(texts)), PrefillPass(self.pools, kept, slots))
        lines = [line for line, indices in enumerate(wanted) for _ in indices]
        logits: Tensor = self.model.decoder.logits(hidden[lines, [i for indices in wanted for i in indices]])
        return logits

    def step(self, tokens: Seq[int], rows: Seq[int], positions: Seq[int], groups: Seq[tuple[int, int]]) -> Tensor:
        places = torch.tensor(positions, device=self.device)
        cache = DecodePass(self.pools, rows, places, max(positions), groups)
        hidden = self.model.decoder(torch.tensor(tokens, device=self.device)[:, None], places[:, None], cache)
        logits: Tensor = self.model.decoder.logits(hidden[:, 0])  # (R, 1, C) -> (R, V)
        return logits

    def scores(
        self, text: Seq[int], slot: int, wanted: Seq[int], heads: Seq[tuple[int, int]], n_ids: int
    ) -> tuple[Tensor, Tensor]:
        cache = AlignPass(self.pools, slot, heads)
        tokens = torch.tensor([list(text)], device=self.device)
        hidden = self.model.decoder(tokens, self._positions(len(text), 1), cache)
        logits = self.model.decoder.logits(hidden[0, list(wanted)])
        return probabilities(logits, tokens[0, [i + 1 for i in wanted]], n_ids), cache.scores

    def _positions(self, n: int, n_texts: int) -> Tensor:
        return torch.arange(n, device=self.device).expand(n_texts, -1)
