"""The network on compiled CPU kernels: packed weights, slots and rows, passes over lines. Plain twin: plain.py.

A line is one token of one row. Arrays are numpy's. Weights, keys and values are bfloat16, which numpy keeps as uint16,
or in 8 bits with scales where that is asked for; the residual stream and logits float32.

    self: per layer (n_rows + 1, H, n_text_ctx, 64) keys and values; the last row is for texts that are only read.
        What a row continues lies in the row that it continues (sources)
    cross: per layer and slot the keys and values of a sound, packed (cpp/decoder.cpp)
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Seq

import numpy as np

from sottovoce.engine import kernels, packing
from sottovoce.engine.host_rules import HostRules
from sottovoce.engine.kernels import BLOCK, GROUP, HEAD, MOST_CHOICES, TILE_K, padded, pointer, room, to_bfloat16
from sottovoce.engine.packing import Read
from sottovoce.engine.sampler import Proposal
from sottovoce.model.dims import Dims
from sottovoce.model.stored import Numbers


def fits(dims: Dims, device: str, dtype: str) -> bool:
    """Whether there are kernels for it: bfloat16, a CPU that they know, heads as wide as every checkpoint has them."""
    widths = {dims.n_text_state, dims.n_audio_state}
    if dtype != "bfloat16" or device != "cpu" or widths != {HEAD * dims.n_text_head} | {HEAD * dims.n_audio_head}:
        return False
    return kernels.library() is not None


class NativeNetwork:
    """A model's encoder and decoder.

    read: gives a tensor by its name, which is packed before the next is asked for.
    kv_bits, weight_bits: 16 or 8, of the keys and values of sound, and of the decoder's weights. encoder_bits: 16 or 8,
    of the weights of the encoder's blocks and of what they are given.
    """

    def __init__(
        self,
        dims: Dims,
        read: Read,
        n_slots: int,
        n_rows: int,
        n_threads: int,
        kv_bits: int = 16,
        weight_bits: int = 16,
        encoder_bits: int = 16,
    ) -> None:
        self.encoder = NativeEncoder(dims, read, n_threads, encoder_bits)
        self.decoder = NativeDecoder(dims, read, n_slots, n_rows, n_threads, kv_bits, weight_bits)
        self.features = self.encoder.features
        self.put_sound_, self.copy_rows_ = self.decoder.put_sound_, self.decoder.copy_rows_
        self.read, self.step, self.scores = self.decoder.read, self.decoder.step, self.decoder.scores


class NativeEncoder:
    """An encoder's packed weights. bits: 16 or 8, of its blocks' weights and of what is multiplied."""

    def __init__(self, dims: Dims, read: Read, n_threads: int, bits: int = 16) -> None:
        self.library = kernels.needed()
        self.dims = dims
        self.n_threads = n_threads
        self._kept: list[np.ndarray] = []
        pack = packing.in_8_bits if bits == 8 else packing.in_16_bits
        layers = (kernels.EncoderLayer * dims.n_audio_layer)()
        for layer, name in zip(layers, packing.blocks("encoder", dims.n_audio_layer), strict=True):
            own = f"{name}.attn"
            parts = {
                **packing.norm(read, f"{name}.attn_ln", "norm"),
                **packing.linear(read, "attn_in", [f"{own}.query", f"{own}.key", f"{own}.value"], pack, n_threads),
                **packing.linear(read, "attn_out", [f"{own}.out"], pack, n_threads),
                **packing.norm(read, f"{name}.mlp_ln", "mlp_norm"),
                **packing.linear(read, "mlp_in", [f"{name}.mlp.0"], pack, n_threads),
                **packing.linear(read, "mlp_out", [f"{name}.mlp.2"], pack, n_threads),
            }
            packing.fill(layer, parts, self._kept)
        ends = packing.addresses(packing.norm(read, "encoder.ln_post", "norm").values(), self._kept)
        sizes = dims.n_audio_layer, dims.n_audio_state, dims.n_audio_head, dims.n_audio_ctx
        self._structure = kernels.Encoder(*sizes, bits, *ends, layers)
        self.n_mels = padded(dims.n_mels, TILE_K)
        taps = [read(f"encoder.conv{i}.weight").float32().transpose(0, 2, 1) for i in (1, 2)]  # (C, 3, n_in)
        taps[0] = np.pad(taps[0], ((0, 0), (0, 0), (0, self.n_mels - dims.n_mels)))
        narrow, wide = (packing.packed([Numbers(t.reshape(len(t), -1))], n_threads) for t in taps)
        biases = [packing.numbers(read, f"encoder.conv{i}.bias") for i in (1, 2)]
        positions = packing.numbers(read, "encoder.positional_embedding")
        both = packing.addresses((narrow, biases[0], wide, biases[1], positions), self._kept)
        self._convolution = [ctypes.c_void_p(at) for at in both]
        self._sound = self._between = np.zeros(0, np.uint16)
        self._x = np.zeros(0, np.float32)
        self._scratch = np.zeros(0, np.uint8)

    def features(self, mel: np.ndarray) -> np.ndarray:
        """(W, M, F) float32 log-mel -> (W, S, C) encoded sound, bfloat16."""
        d, n = self.dims, len(mel)
        model = ctypes.byref(self._structure)
        n_bytes = self.library.sv_encoder_scratch(model, n, self.n_threads)
        if n_bytes > len(self._scratch):
            self._scratch = room((n_bytes,), np.uint8)
        self._convolve(mel)
        found = np.empty((n, d.n_audio_ctx, d.n_audio_state), np.uint16)
        given, taken, scratch = (pointer(a) for a in (self._x, found, self._scratch))
        self.library.sv_encode(model, n, given, taken, self.n_threads, scratch)
        return found

    def _convolve(self, mel: np.ndarray) -> None:
        """(W, M, F) -> self._x: (W, S, C) float32, with positions."""
        d, n, n_frames = self.dims, len(mel), 2 * self.dims.n_audio_ctx + 2
        behind = 2 * BLOCK  # lines that kernels may read beyond the last one
        n_lines = n * n_frames + behind
        if n_lines * self.n_mels > len(self._sound):
            # kept from call to call: fresh memory costs more than what is computed in it. The frames on either side
            # of a window are written by nobody, and stay zero
            self._sound = np.zeros(n_lines * self.n_mels, np.uint16)
            self._between = np.zeros(n_lines * d.n_audio_state, np.uint16)
            self._x = np.empty(n * d.n_audio_ctx * d.n_audio_state, np.float32)
        lines = self._sound[: n * n_frames * self.n_mels].reshape(n, n_frames, -1)
        lines[:, 1:-1, : d.n_mels] = to_bfloat16(mel).transpose(0, 2, 1)
        given, middle, taken = (pointer(a) for a in (self._sound, self._between, self._x))
        sizes = n, d.n_audio_ctx, self.n_mels, d.n_audio_state
        scratch = pointer(self._scratch)
        self.library.sv_convolve(*sizes, given, *self._convolution, middle, taken, self.n_threads, scratch)


class NativeDecoder:
    """A decoder's packed weights, slots and rows; what its methods mean says network.Network."""

    def __init__(
        self,
        dims: Dims,
        read: Read,
        n_slots: int,
        n_rows: int,
        n_threads: int,
        kv_bits: int = 16,
        weight_bits: int = 16,
    ) -> None:
        self.library = kernels.needed()
        self.dims = dims
        self.n_layer = dims.n_text_layer
        self.spare_row = n_rows
        self.n_keys, self.n_values = padded(dims.n_audio_ctx, GROUP), padded(dims.n_audio_ctx, TILE_K)
        heads, shape = dims.n_text_head, (n_rows + 1, dims.n_text_head, dims.n_text_ctx, HEAD)
        layers, n_scaled = range(self.n_layer), n_slots if kv_bits == 8 else 0
        self.self_k, self.self_v = ([room(shape, np.uint16, huge=False) for _ in layers] for _ in range(2))
        sizes, kind = (self.n_keys, self.n_values), np.int8 if kv_bits == 8 else np.uint16
        self.cross_k, self.cross_v = ([room((n_slots, heads, n * HEAD), kind) for _ in layers] for n in sizes)
        self.scale_k, self.scale_v = ([room((n_scaled, heads, n), np.float32) for _ in layers] for n in sizes)
        self._kept: list[np.ndarray] = []  # what the structures point to
        self._kv: list[tuple[kernels.Weight, np.ndarray]] = []  # by layer what a sound is projected with, and its bias
        self._structure = self._structure_of(
            read, packing.in_8_bits if weight_bits == 8 else packing.in_16_bits, n_threads
        )
        self._most_lines = int(self.library.sv_most_lines())
        self.n_threads = n_threads
        n_hear = int(self.library.sv_hear_scratch(dims.n_audio_ctx, dims.n_text_state, n_threads))
        n_decode = int(self.library.sv_decoder_scratch(ctypes.byref(self._structure), n_threads))
        self._scratch = room((max(n_hear, n_decode),), np.uint8)
        self._sources = np.zeros((n_rows + 1, dims.n_text_ctx), np.int32)
        places = {"scratch": self._scratch.ctypes.data, "sources": self._sources.ctypes.data}
        self._pass = kernels.Pass(n_threads=n_threads, **places)

    # --- sounds and rows --------------------------------------------------------------------------------------------

    def put_sound_(self, slots: Seq[int], features: np.ndarray) -> None:
        d, features = self.dims, np.ascontiguousarray(features)
        where = np.asarray(slots, np.int32)
        sizes = len(where), d.n_audio_ctx, d.n_audio_state
        for i, (weight, bias) in enumerate(self._kv):
            pools = self.cross_k[i], self.cross_v[i], self.scale_k[i], self.scale_v[i]
            given, b, to, scratch = (pointer(a) for a in (features, bias, where, self._scratch))
            kept = (pointer(a) if a.size else None for a in pools)
            self.library.sv_hear(*sizes, given, ctypes.byref(weight), b, to, *kept, self.n_threads, scratch)

    def copy_rows_(self, targets: Seq[int], sources: Seq[int], length: int) -> None:
        """The numbers stay where they are: a target knows in which row they lie.

        So a source must not begin another text while a target goes on: rows of one sequence end together.
        """
        self._sources[list(targets), :length] = self._sources[list(sources), :length]

    # --- passes -----------------------------------------------------------------------------------------------------

    def read(self, texts: Seq[Seq[int]], rows: Seq[int], slots: Seq[int], wanted: Seq[Seq[int]]) -> np.ndarray:
        logits, _ = self._read(texts, rows, slots, wanted, [0] * len(texts), ())
        return logits

    def step(self, tokens: Seq[int], rows: Seq[int], positions: Seq[int], groups: Seq[tuple[int, int]]) -> np.ndarray:
        slots = [slot for slot, n_rows in groups for _ in range(n_rows)]
        logits, _ = self._read([(token,) for token in tokens], rows, slots, [(0,)] * len(tokens), positions, ())
        return logits

    def scores(
        self, text: Seq[int], slot: int, wanted: Seq[int], heads: Seq[tuple[int, int]], n_ids: int
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._read([text], [self.spare_row], [slot], [wanted], [0], heads, n_ids)

    def _read(
        self,
        texts: Seq[Seq[int]],
        rows: Seq[int],
        slots: Seq[int],
        wanted: Seq[Seq[int]],
        starts: Seq[int],
        heads: Seq[tuple[int, int]],
        n_ids: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read texts whose first tokens stand at `starts`, in as many passes as their lines need.

        Returns what is wanted and the scores of heads. n_ids: for how probable the token after each of the wanted is
        among so many ids, instead of logits.
        """
        sizes = [len(text) for text in texts]
        tokens = np.concatenate([np.asarray(text, np.int32) for text in texts])
        places = np.concatenate([np.arange(a, a + n, dtype=np.int32) for a, n in zip(starts, sizes, strict=True)])
        ends = np.cumsum(sizes)
        asked = np.concatenate([np.asarray(w, np.int64) + e - n for w, e, n in zip(wanted, ends, sizes, strict=True)])
        of_row, of_slot = (np.repeat(np.asarray(x, np.int32), sizes) for x in (rows, slots))
        found = np.empty(len(asked) if n_ids else (len(asked), self.dims.n_vocab), np.float32)
        known = tokens[asked + 1] if n_ids else None
        scores = np.empty((len(heads), len(tokens), self.dims.n_audio_ctx), np.float32)
        p = self._pass
        p.n_ids, p.lines_of_scores = n_ids, len(tokens)
        for a in range(0, len(tokens), self._most_lines):
            b = min(len(tokens), a + self._most_lines)
            first, last = np.searchsorted(asked, (a, b))
            lines = tokens[a:b], places[a:b], of_row[a:b], of_slot[a:b]
            p.logits = p.probs = found[first:last].ctypes.data
            p.known = None if known is None else known[first:last].ctypes.data
            p.scores = scores[:, a:].ctypes.data
            self._run(lines, (asked[first:last] - a).astype(np.int32), heads)
        return found, scores

    def _run(self, lines: tuple[np.ndarray, ...], wanted: np.ndarray, heads: Seq[tuple[int, int]]) -> None:
        """One pass. lines: tokens, positions, rows and slots, (T,) int32 each."""
        tokens, places, rows, slots = lines
        cuts = np.flatnonzero(np.diff(slots, prepend=-1))
        line, n_lines = cuts.astype(np.int32), np.diff(cuts, append=len(slots)).astype(np.int32)
        slot, pairs = slots[cuts], np.asarray(heads, np.int32).reshape(-1, 2)
        p = self._pass
        p.n_lines, p.n_groups, p.n_wanted, p.n_heads = len(tokens), len(cuts), len(wanted), len(pairs)
        p.tokens, p.positions, p.rows = tokens.ctypes.data, places.ctypes.data, rows.ctypes.data
        p.group_slot, p.group_line, p.group_n_lines = slot.ctypes.data, line.ctypes.data, n_lines.ctypes.data
        p.wanted, p.heads = wanted.ctypes.data, pairs.ctypes.data
        self.library.sv_decode(ctypes.byref(self._structure), ctypes.byref(p))

    # --- weights ----------------------------------------------------------------------------------------------------

    def _structure_of(self, read: Read, pack: packing.Linear, n_threads: int) -> kernels.Decoder:
        layers = (kernels.DecoderLayer * self.n_layer)()
        for i, name in enumerate(packing.blocks("decoder", self.n_layer)):
            own, cross = f"{name}.attn", f"{name}.cross_attn"
            parts = {
                **packing.norm(read, f"{name}.attn_ln", "self_norm"),
                **packing.linear(read, "self_in", [f"{own}.query", f"{own}.key", f"{own}.value"], pack, n_threads),
                **packing.linear(read, "self_out", [f"{own}.out"], pack, n_threads),
                **packing.norm(read, f"{name}.cross_attn_ln", "cross_norm"),
                **packing.linear(read, "cross_in", [f"{cross}.query"], pack, n_threads),
                **packing.linear(read, "cross_out", [f"{cross}.out"], pack, n_threads),
                **packing.norm(read, f"{name}.mlp_ln", "mlp_norm"),
                **packing.linear(read, "mlp_in", [f"{name}.mlp.0"], pack, n_threads),
                **packing.linear(read, "mlp_out", [f"{name}.mlp.2"], pack, n_threads),
                "self_k": self.self_k[i], "self_v": self.self_v[i],
                "cross_k": self.cross_k[i], "cross_v": self.cross_v[i],
                "cross_k_scale": self.scale_k[i], "cross_v_scale": self.scale_v[i],
            }  # fmt: skip
            packing.fill(layers[i], parts, self._kept)
            heard = packing.linear(read, "", [f"{cross}.key", f"{cross}.value"], pack, n_threads)
            *weight, bias = heard.values()
            self._kv.append((kernels.Weight(*packing.addresses(weight, self._kept)), bias))
        d = self.dims
        embedding = pack("", [read("decoder.token_embedding.weight")], n_threads)
        positions = packing.numbers(read, "decoder.positional_embedding")
        ends = positions, *packing.norm(read, "decoder.ln", "norm").values(), *embedding.values()
        return kernels.Decoder(
            *(d.n_text_layer, d.n_text_state, d.n_text_head, d.n_vocab, d.n_text_ctx, d.n_audio_ctx),
            *packing.addresses(ends, self._kept),
            layers,
        )


class NativeChooser:
    """What rows may say next, where nothing is drawn and no rule about repetition holds."""

    most = MOST_CHOICES

    def __init__(self, rules: HostRules, n_threads: int) -> None:
        self.library = kernels.needed()
        self.rules = rules
        self.n_threads = n_threads

    def choose(self, logits: np.ndarray, lines: Seq[int], rows: Seq[int], k: int) -> Proposal:
        """The k best tokens under the rules. logits: (R, V) float32, written over; lines: of it, by row."""
        v = self.rules.vocabulary
        rules = kernels.Rules(v.n_vocab, v.eot, v.timestamp_begin, v.no_timestamps, **self.rules.pointers())
        tokens, logprobs = np.empty((len(lines), k), np.int64), np.empty((len(lines), k), np.float32)
        gains = np.empty((len(lines), k), np.float32)
        of_line, of_row = np.asarray(lines, np.int64), np.asarray(rows, np.int64)
        which, where = pointer(of_line), pointer(of_row)
        found = (pointer(a) for a in (tokens, logprobs, gains))
        given = pointer(logits)
        self.library.sv_choose(ctypes.byref(rules), len(lines), given, which, where, k, *found, self.n_threads)
        return Proposal(tokens, logprobs, gains if self.rules.boosts(rows) else None)
