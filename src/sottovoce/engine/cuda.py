"""The network on CUDA: static buffers, steps and encoder as graphs, attention by index. Plain twin: plain.py.

    cross: per layer (n_slots, H, 1500, D) keys and values, of the model's dtype or 8-bit with a scale each
    self:  per layer (n_rows + 1, H, 448, D); the last row is of the lines that fill up a bucket
    tokens, positions: (n_rows + 1,) int64 by row: the newest token, and where it stands

Runs on any device: stream.py says what is recorded there, indirect.py attends where Triton does not.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends import cudnn

from sottovoce.engine.cache import raw_scores
from sottovoce.engine.graphs import Graphs, bucket
from sottovoce.engine.indirect import Attend, Kept
from sottovoce.engine.network import NOWHERE
from sottovoce.engine.plain import probabilities
from sottovoce.engine.stream import Stream
from sottovoce.model.whisper import DecoderBlock, Whisper

LENGTHS = (32, 64, 128, 256)  # buckets of text length, where attention cannot follow each line's own
READ_LENGTHS = (1, 4, 8)  # buckets of prompts: a language's question, a start, a start and a few words; else unrecorded
SPOKEN_LENGTHS = (32, 64, 128, 256)  # buckets of texts whose word times are asked for
READ_TOGETHER = 16  # texts: the keys and values of their sounds are gathered for them, layer by layer
EXACT_WINDOWS = 8  # up to so many windows are encoded together without filling up: one costs as much as many steps


class CudaNetwork:
    """model: on its device and in its dtype. int8: keys and values of sound in 8 bits."""

    def __init__(
        self, model: Whisper, n_slots: int, n_rows: int, stream: Stream, attend: Attend, int8: bool = False
    ) -> None:
        self.model, self.stream, self.attend = model, stream, attend
        self.graphs = Graphs(stream)
        weight, d = model.decoder.token_embedding.weight, model.dims
        self.device, self.dtype = weight.device, weight.dtype
        heads, width = d.n_text_head, d.n_text_state // d.n_text_head
        layers = range(d.n_text_layer)
        sound, text = (n_slots, heads, d.n_audio_ctx, width), (n_rows + 1, heads, d.n_text_ctx, width)
        self.cross = [Kept.empty(*sound, self.device, self.dtype, int8) for _ in layers]
        self.own = [Kept.empty(*text, self.device, self.dtype, False) for _ in layers]
        self.spare_row = n_rows
        self.tokens, self.positions = (torch.zeros(n_rows + 1, dtype=torch.int64, device=self.device) for _ in range(2))
        n_most = bucket(n_rows)
        self._lines = torch.zeros(2, n_most, dtype=torch.int64, device=self.device)  # row and slot of each line
        self._known_lines: tuple[list[int], list[int], int] | None = None  # what stands there now
        self._logits = torch.zeros(n_most, d.n_vocab, device=self.device)
        self._texts = torch.zeros(2 + READ_LENGTHS[-1], READ_TOGETHER, dtype=torch.int64, device=self.device)
        self._hidden = torch.zeros(
            READ_TOGETHER, READ_LENGTHS[-1], d.n_text_state, device=self.device, dtype=self.dtype
        )
        self._spoken = torch.zeros(1 + d.n_text_ctx, dtype=torch.int64, device=self.device)
        self._heard = torch.zeros(d.n_text_ctx, d.n_text_state, device=self.device, dtype=self.dtype)
        self._scores: dict[tuple[tuple[int, int], ...], Tensor] = {}  # by heads
        self._sounds: dict[int, tuple[Tensor, Tensor]] = {}  # mel and features, by bucket of windows

    # --- sounds -----------------------------------------------------------------------------------------------------

    def features(self, mel: Tensor) -> Tensor:
        """What comes back holds until the next call."""
        n, d = len(mel), self.model.dims
        size = n if n <= EXACT_WINDOWS else bucket(n)
        if size not in self._sounds:
            given = torch.zeros(size, *mel.shape[1:], device=self.device, dtype=self.dtype)
            self._sounds[size] = given, given.new_zeros(size, d.n_audio_ctx, d.n_audio_state)
        given, found = self._sounds[size]
        given[:n] = mel

        def work() -> None:
            # cuDNN convolves float32 in 10 bits (TF32); float32 is asked for by those who compare
            with cudnn.flags(enabled=False) if self.dtype == torch.float32 else nullcontext():
                found.copy_(self.model.encoder(given))

        self.graphs.run(("encoder", size, d.n_audio_ctx), work)
        return found[:n]

    def put_sound_(self, slots: Seq[int], features: Tensor) -> None:
        where = self.stream.put(list(slots))
        for kept, block in zip(self.cross, self.model.decoder.blocks, strict=True):
            assert isinstance(block, DecoderBlock)
            a = block.cross_attn
            keys, values = (a.heads(p(features)).transpose(1, 2) for p in (a.key, a.value))  # (W, H, S, D)
            kept.put_(where, keys, values)

    def copy_rows_(self, targets: Seq[int], sources: Seq[int], length: int) -> None:
        moved = [(t, s) for t, s in zip(targets, sources, strict=True) if t != s]
        if not moved:
            return
        to, of = self.stream.put(moved).unbind(1)
        for kept in self.own:
            for pool in (kept.keys, kept.values):
                pool[to, :, :length] = pool[of, :, :length]

    # --- steps ------------------------------------------------------------------------------------------------------

    def put_rows_(self, rows: Seq[int], tokens: Seq[int], positions: Seq[int]) -> None:
        """These rows go on from tokens that the host knows."""
        where, newest, places = self.stream.put([list(rows), list(tokens), list(positions)])
        self.tokens.index_copy_(0, where, newest)
        self.positions.index_copy_(0, where, places)

    def step(self, tokens: Seq[int], rows: Seq[int], positions: Seq[int], groups: Seq[tuple[int, int]]) -> Tensor:
        self.put_rows_(rows, tokens, positions)
        return self.go(rows, [slot for slot, n_rows in groups for _ in range(n_rows)], max(positions))

    def go(self, rows: Seq[int], slots: Seq[int], longest: int) -> Tensor:
        """One token a row, from what `tokens` and `positions` hold. longest: no row stands behind that position.

        Returns (R, V) float32 logits, which hold until the next call.
        """
        size = bucket(len(rows))
        self._put_lines_(list(rows), list(slots), size)
        n_text = self.model.dims.n_text_ctx
        length = n_text if self.attend.any_length else next((n for n in LENGTHS if longest < n < n_text), n_text)

        def work() -> None:
            of_row, of_slot = self._lines[0, :size], self._lines[1, :size]
            places = self.positions[of_row]
            cache = _StepPass(self, of_row, of_slot, places, length)
            hidden = self.model.decoder(self.tokens[of_row][:, None], places[:, None], cache)
            self._logits[:size] = self.model.decoder.logits(hidden[:, 0])

        self.graphs.run(("step", size, length), work)
        return self._logits[: len(rows)]

    def _put_lines_(self, rows: list[int], slots: list[int], size: int) -> None:
        if self._known_lines == (rows, slots, size):
            return
        n_spare = size - len(rows)
        self._lines[:, :size] = self.stream.put([rows + [self.spare_row] * n_spare, slots + [-1] * n_spare])
        self._known_lines = rows, slots, size

    # --- whole texts ------------------------------------------------------------------------------------------------

    def read(self, texts: Seq[Seq[int]], rows: Seq[int], slots: Seq[int], wanted: Seq[Seq[int]]) -> Tensor:
        parts = [slice(i, i + READ_TOGETHER) for i in range(0, len(texts), READ_TOGETHER)]
        found = [self._read(texts[p], rows[p], slots[p], wanted[p]) for p in parts]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _read(self, texts: Seq[Seq[int]], rows: Seq[int], slots: Seq[int], wanted: Seq[Seq[int]]) -> Tensor:
        n, longest = len(texts), max(len(text) for text in texts)
        length = next((n for n in READ_LENGTHS if longest <= n), None)
        size = n if length is None else bucket(n)
        given = np.zeros((2 + (length or longest), size), np.int64)  # row, slot and tokens of each line
        given[0], given[1] = self.spare_row, -1
        given[0, :n] = [self.spare_row if row == NOWHERE else row for row in rows]
        given[1, :n] = slots
        for line, text in enumerate(texts):
            given[2 : 2 + len(text), line] = text
        if length is None:
            hidden = self._hidden_of(self.stream.put(given))
        else:
            texts_here, hidden = self._texts[: 2 + length, :size], self._hidden[:size, :length]
            texts_here.copy_(self.stream.put(given))

            def work() -> None:
                hidden.copy_(self._hidden_of(texts_here))

            self.graphs.run(("read", size, length), work)
        asked = [(line, i) for line, indices in enumerate(wanted) for i in indices]
        lines, indices = self.stream.put(asked).unbind(1)
        return self.model.decoder.logits(hidden[lines, indices])

    def _hidden_of(self, given: Tensor) -> Tensor:
        """(B, T, C) of lines (2 + T, B): row, slot, tokens."""
        n_tokens, n_texts = len(given) - 2, given.shape[1]
        cache = _ReadPass(self, given[0], given[1], ())
        hidden: Tensor = self.model.decoder(given[2:].T, self._places(n_tokens, n_texts), cache)
        return hidden

    def scores(
        self, text: Seq[int], slot: int, wanted: Seq[int], heads: Seq[tuple[int, int]], n_ids: int
    ) -> tuple[Tensor, Tensor]:
        """The scores hold until the next call."""
        pairs, d = tuple(heads), self.model.dims
        if pairs not in self._scores:
            self._scores[pairs] = torch.zeros(len(pairs), d.n_text_ctx, d.n_audio_ctx, device=self.device)
        n_text, found = d.n_text_ctx, self._scores[pairs]
        length = next((n for n in SPOKEN_LENGTHS if len(text) <= n < n_text), n_text)
        line, hidden = self._spoken[: 1 + length], self._heard[:length]  # slot, tokens
        line.copy_(self.stream.put([slot, *text, *[0] * (length - len(text))]))

        def work() -> None:
            cache = _ReadPass(self, None, line[:1], pairs)
            hidden.copy_(self.model.decoder(line[None, 1:], self._places(length, 1), cache)[0])
            for buffer, pair in zip(found, pairs, strict=True):
                buffer[:length] = cache.scores[pair]

        self.graphs.run((f"scores of heads {list(self._scores).index(pairs)}", length, d.n_audio_ctx), work)
        before, known = self.stream.put([list(wanted), [text[i + 1] for i in wanted]]).unbind(0)
        return probabilities(self.model.decoder.logits(hidden[before]), known, n_ids), found[:, : len(text)]

    def _places(self, n: int, n_texts: int) -> Tensor:
        return torch.arange(n, device=self.device).expand(n_texts, -1)


class _StepPass:
    """One new token a line. lines, slots, places: (R,) int64; nothing here waits for the device or asks it."""

    def __init__(self, network: CudaNetwork, rows: Tensor, slots: Tensor, places: Tensor, length: int) -> None:
        self.network, self.rows, self.slots, self.places, self.length = network, rows, slots, places, length
        self.lengths = places + 1

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = self.network.own[i_layer]
        own.keys[self.rows, :, self.places] = k[:, 0]
        own.values[self.rows, :, self.places] = v[:, 0]
        return self.network.attend(q[:, 0], own, self.rows, self.lengths, self.length)[:, None]

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        n_positions = self.network.model.dims.n_audio_ctx
        return self.network.attend(q[:, 0], self.network.cross[i_layer], self.slots, None, n_positions)[:, None]


class _ReadPass:
    """Texts from their beginning, padded on the right; what padding writes is overwritten later.

    rows: where keys and values are kept; None: nowhere. scores: of heads (layer, head), before the softmax, of the
    single text, (T, S) float32.
    """

    def __init__(self, network: CudaNetwork, rows: Tensor | None, slots: Tensor, heads: Seq[tuple[int, int]]) -> None:
        self.network, self.rows, self.slots, self.heads = network, rows, slots, heads
        self.scores: dict[tuple[int, int], Tensor] = {}

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, H, T, D)
        if self.rows is not None:
            own = self.network.own[i_layer]
            own.keys[self.rows, :, : k.shape[2]] = k
            own.values[self.rows, :, : v.shape[2]] = v
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        keys, values = self.network.cross[i_layer].gather(
            self.slots.clamp(min=0), self.network.model.dims.n_audio_ctx, q.dtype
        )
        for layer, head in self.heads:
            if layer == i_layer:
                self.scores[layer, head] = raw_scores(q[0, :, head], keys[0, head])
        return F.scaled_dot_product_attention(q.transpose(1, 2), keys, values).transpose(1, 2)
