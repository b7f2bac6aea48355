"""The network on compiled CPU kernels: packed weights, slots and rows, passes over lines. Plain twin: plain.py.

A line is one token of one row. Weights, keys and values are bfloat16, or in 8 bits with scales where that is asked for;
the residual stream and logits float32.

    self: per layer (n_rows + 1, H, n_text_ctx, 64) keys and values; the last row is for texts that are only read
    cross: per layer and slot the keys and values of a sound, packed (cpp/decoder.cpp)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from collections.abc import Sequence as Seq

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.engine import kernels
from sottovoce.engine.kernels import BLOCK, GROUP, HEAD, TILE_K, packed, packed8, padded, room
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.sampler import Proposal
from sottovoce.model.dims import Dims
from sottovoce.model.whisper import Decoder, DecoderBlock, Encoder, EncoderBlock, Whisper

Pack = Callable[[str, Tensor], dict[str, Tensor]]


def fits(dims: Dims, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are kernels for it: bfloat16, a CPU that they know, heads as wide as every checkpoint has them."""
    heads = (dims.n_text_state // dims.n_text_head, dims.n_audio_state // dims.n_audio_head)
    if dtype != torch.bfloat16 or device.type != "cpu" or heads != (HEAD, HEAD):
        return False
    return kernels.library() is not None


class NativeNetwork:
    """A model's encoder and decoder.

    The model's own weights are given up as they are packed: its modules cannot be called any more.
    kv_bits, weight_bits: 16 or 8, of the keys and values of sound, and of the decoder's weights.
    """

    def __init__(
        self, model: Whisper, n_slots: int, n_rows: int, n_threads: int, kv_bits: int = 16, weight_bits: int = 16
    ) -> None:
        self.encoder = NativeEncoder(model.encoder, model.dims, n_threads)
        sizes = n_slots, n_rows, n_threads, kv_bits, weight_bits
        self.decoder = NativeDecoder(model.decoder, model.dims, *sizes)
        for part in (model.encoder, *model.decoder.blocks, model.decoder.token_embedding):
            part.to("meta")  # packed now; a second copy would double the memory
        self.features = self.encoder.features
        self.put_sound_, self.copy_rows_ = self.decoder.put_sound_, self.decoder.copy_rows_
        self.read, self.step, self.scores = self.decoder.read, self.decoder.step, self.decoder.scores


class NativeEncoder:
    """An encoder's packed weights. bits: 16 or 8, of its blocks' weights and of what is multiplied."""

    def __init__(self, encoder: Encoder, dims: Dims, n_threads: int, bits: int = 16) -> None:
        found = kernels.library()
        assert found is not None, "there are no kernels for this CPU"
        self.library = found
        self.dims = dims
        self.n_threads = n_threads
        self._kept: list[Tensor] = []
        pack = _packed_bytes if bits == 8 else _packed
        layers = (kernels.EncoderLayer * dims.n_audio_layer)()
        for i, block in enumerate(encoder.blocks):
            assert isinstance(block, EncoderBlock)
            own, first, second = block.attn, *_linears(block.mlp)
            parts = {
                "norm": block.attn_ln.weight, "norm_bias": block.attn_ln.bias,
                **pack("attn_in", torch.cat([own.query.weight, own.key.weight, own.value.weight])),
                "attn_in_bias": torch.cat([own.query.bias, torch.zeros_like(own.query.bias), own.value.bias]),
                **pack("attn_out", own.out.weight), "attn_out_bias": own.out.bias,
                "mlp_norm": block.mlp_ln.weight, "mlp_norm_bias": block.mlp_ln.bias,
                **pack("mlp_in", first.weight), "mlp_in_bias": first.bias,
                **pack("mlp_out", second.weight), "mlp_out_bias": second.bias,
            }  # fmt: skip
            for name, tensor in parts.items():
                setattr(layers[i], name, _pointer(tensor, self._kept))
        norm = _pointer(encoder.ln_post.weight, self._kept), _pointer(encoder.ln_post.bias, self._kept)
        self._structure = kernels.Encoder(
            *(dims.n_audio_layer, dims.n_audio_state, dims.n_audio_head, dims.n_audio_ctx), bits, *norm, layers
        )
        self.n_mels = padded(dims.n_mels, TILE_K)
        conv1, conv2 = encoder.conv1, encoder.conv2
        assert conv1.bias is not None and conv2.bias is not None
        taps = F.pad(conv1.weight, (0, 0, 0, self.n_mels - dims.n_mels)), conv2.weight
        narrow, wide = (packed(t.transpose(1, 2).flatten(1)) for t in taps)  # (C, 3 * n_in), tap by tap
        parts_of_both = (narrow, conv1.bias, wide, conv2.bias, encoder.positional_embedding.float())
        self._convolution = [ctypes.c_void_p(_pointer(t, self._kept)) for t in parts_of_both]
        self._scratch = torch.empty(0, dtype=torch.uint8)

    def _convolved(self, mel: Tensor) -> Tensor:
        """(W, M, F) -> (W, S, C) float32, with positions."""
        d, n, n_frames = self.dims, len(mel), 2 * self.dims.n_audio_ctx + 2
        behind = 2 * BLOCK  # lines that kernels may read beyond the last one
        sound = torch.zeros(n * n_frames + behind, self.n_mels, dtype=torch.bfloat16)
        sound[: n * n_frames].view(n, n_frames, -1)[:, 1:-1, : d.n_mels] = mel.transpose(1, 2)
        between = torch.zeros(n * n_frames + behind, d.n_audio_state, dtype=torch.bfloat16)
        x = torch.empty(n, d.n_audio_ctx, d.n_audio_state)
        given, middle, taken = (ctypes.c_void_p(t.data_ptr()) for t in (sound, between, x))
        sizes = n, d.n_audio_ctx, self.n_mels, d.n_audio_state
        self.library.sv_convolve(*sizes, given, *self._convolution, middle, taken, self.n_threads)
        return x

    def features(self, mel: Tensor) -> Tensor:
        n, x = len(mel), self._convolved(mel)
        found = torch.empty(x.shape, dtype=torch.bfloat16)
        model = ctypes.byref(self._structure)
        n_bytes = self.library.sv_encoder_scratch(model, n, self.n_threads)
        if n_bytes > len(self._scratch):
            self._scratch = room((n_bytes,), torch.uint8)
        given, taken, scratch = (ctypes.c_void_p(t.data_ptr()) for t in (x, found, self._scratch))
        self.library.sv_encode(model, n, given, taken, self.n_threads, scratch)
        return found


class NativeDecoder:
    """A decoder's packed weights, slots and rows; what its methods mean says plain.Network."""

    def __init__(
        self,
        decoder: Decoder,
        dims: Dims,
        n_slots: int,
        n_rows: int,
        n_threads: int,
        kv_bits: int = 16,
        weight_bits: int = 16,
    ) -> None:
        found = kernels.library()
        assert found is not None, "there are no kernels for this CPU"
        self.library = found
        self.dims = dims
        self.n_layer = dims.n_text_layer
        self.spare_row = n_rows
        self.n_keys, self.n_values = padded(dims.n_audio_ctx, GROUP), padded(dims.n_audio_ctx, TILE_K)
        heads, shape = dims.n_text_head, (n_rows + 1, dims.n_text_head, dims.n_text_ctx, HEAD)
        layers, n_scaled = range(self.n_layer), n_slots if kv_bits == 8 else 0
        self.self_k, self.self_v = ([room(shape, torch.bfloat16, huge=False) for _ in layers] for _ in range(2))
        sizes, kind = (self.n_keys, self.n_values), torch.int8 if kv_bits == 8 else torch.bfloat16
        self.cross_k, self.cross_v = ([room((n_slots, heads, n * HEAD), kind) for _ in layers] for n in sizes)
        self.scale_k, self.scale_v = ([room((n_scaled, heads, n), torch.float32) for _ in layers] for n in sizes)
        self._kept: list[Tensor] = []  # what the structures point to
        self._kv = [self._cross_projection(block) for block in decoder.blocks]
        self._structure = self._structure_of(decoder, _packed8 if weight_bits == 8 else _packed)
        self._most_lines = int(found.sv_most_lines())
        self.n_threads = n_threads
        n_hear = n_threads * BLOCK * (GROUP * 4 + dims.n_text_state * 2)  # cpp/encoder.cpp:sv_hear
        n_decode = int(found.sv_decoder_scratch(ctypes.byref(self._structure), n_threads))
        self._scratch = room((max(n_hear, n_decode),), torch.uint8)
        self._pass = kernels.Pass(n_threads=n_threads, scratch=self._scratch.data_ptr())

    # --- sounds and rows --------------------------------------------------------------------------------------------

    def put_sound_(self, slots: Seq[int], features: Tensor) -> None:
        d, features = self.dims, features.contiguous()
        where = np.asarray(slots, np.int32)
        for i, (weight, bias) in enumerate(self._kv):
            pools = (self.cross_k[i], self.cross_v[i], self.scale_k[i], self.scale_v[i])
            tensors = (features, weight, bias, self._scratch)
            given, w, b, scratch = (ctypes.c_void_p(t.data_ptr()) for t in tensors)
            kept = (ctypes.c_void_p(t.data_ptr() if t.numel() else None) for t in pools)
            to = ctypes.c_void_p(where.ctypes.data)
            sizes = (len(where), d.n_audio_ctx, d.n_audio_state)
            self.library.sv_hear(*sizes, given, w, b, to, *kept, self.n_threads, scratch)

    def copy_rows_(self, targets: Seq[int], sources: Seq[int], length: int) -> None:
        moved = [(t, s) for t, s in zip(targets, sources, strict=True) if t != s]
        if not moved:
            return
        to, of = ([pair[i] for pair in moved] for i in range(2))
        for pool in (*self.self_k, *self.self_v):
            pool[to, :, :length] = pool[of, :, :length]

    # --- passes -----------------------------------------------------------------------------------------------------

    def read(self, texts: Seq[Seq[int]], rows: Seq[int], slots: Seq[int], wanted: Seq[Seq[int]]) -> Tensor:
        logits, _ = self._read(texts, rows, slots, wanted, [0] * len(texts), ())
        return logits

    def step(self, tokens: Seq[int], rows: Seq[int], positions: Seq[int], groups: Seq[tuple[int, int]]) -> Tensor:
        slots = [slot for slot, n_rows in groups for _ in range(n_rows)]
        logits, _ = self._read([(token,) for token in tokens], rows, slots, [(0,)] * len(tokens), positions, ())
        return logits

    def scores(self, text: Seq[int], slot: int, wanted: Seq[int], heads: Seq[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        return self._read([text], [self.spare_row], [slot], [wanted], [0], heads)

    def _read(
        self,
        texts: Seq[Seq[int]],
        rows: Seq[int],
        slots: Seq[int],
        wanted: Seq[Seq[int]],
        starts: Seq[int],
        heads: Seq[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Read texts whose first tokens stand at `starts`, in as many passes as their lines need."""
        sizes = [len(text) for text in texts]
        tokens = np.concatenate([np.asarray(text, np.int32) for text in texts])
        places = np.concatenate([np.arange(a, a + n, dtype=np.int32) for a, n in zip(starts, sizes, strict=True)])
        ends = np.cumsum(sizes)
        asked = np.concatenate([np.asarray(w, np.int64) + e - n for w, e, n in zip(wanted, ends, sizes, strict=True)])
        of_row, of_slot = (np.repeat(np.asarray(x, np.int32), sizes) for x in (rows, slots))
        logits = torch.empty(len(asked), self.dims.n_vocab)
        scores = torch.empty(len(heads), len(tokens), self.dims.n_audio_ctx)
        for a in range(0, len(tokens), self._most_lines):
            b = min(len(tokens), a + self._most_lines)
            first, last = np.searchsorted(asked, (a, b))
            part = torch.empty(len(heads), b - a, self.dims.n_audio_ctx)
            lines = tokens[a:b], places[a:b], of_row[a:b], of_slot[a:b]
            self._run(lines, (asked[first:last] - a).astype(np.int32), logits[first:last], heads, part)
            scores[:, a:b] = part
        return logits, scores

    def _run(
        self,
        lines: tuple[np.ndarray, ...],
        wanted: np.ndarray,
        logits: Tensor,
        heads: Seq[tuple[int, int]],
        scores: Tensor,
    ) -> None:
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
        p.logits, p.scores = logits.data_ptr(), scores.data_ptr()
        self.library.sv_decode(ctypes.byref(self._structure), ctypes.byref(p))

    # --- weights ----------------------------------------------------------------------------------------------------

    def _cross_projection(self, block: torch.nn.Module) -> tuple[Tensor, Tensor]:
        assert isinstance(block, DecoderBlock)
        a = block.cross_attn
        bias = a.value.bias.float()
        return packed(torch.cat([a.key.weight, a.value.weight])), torch.cat([torch.zeros_like(bias), bias])

    def _structure_of(self, decoder: Decoder, pack: Pack) -> kernels.Decoder:
        layers = (kernels.DecoderLayer * self.n_layer)()
        for i, block in enumerate(decoder.blocks):
            assert isinstance(block, DecoderBlock)
            own, cross, (first, second) = block.attn, block.cross_attn, _linears(block.mlp)
            parts = {
                "self_norm": block.attn_ln.weight, "self_norm_bias": block.attn_ln.bias,
                **pack("self_in", torch.cat([own.query.weight, own.key.weight, own.value.weight])),
                "self_in_bias": torch.cat([own.query.bias, torch.zeros_like(own.query.bias), own.value.bias]),
                **pack("self_out", own.out.weight), "self_out_bias": own.out.bias,
                "cross_norm": block.cross_attn_ln.weight, "cross_norm_bias": block.cross_attn_ln.bias,
                **pack("cross_in", cross.query.weight), "cross_in_bias": cross.query.bias,
                **pack("cross_out", cross.out.weight), "cross_out_bias": cross.out.bias,
                "mlp_norm": block.mlp_ln.weight, "mlp_norm_bias": block.mlp_ln.bias,
                **pack("mlp_in", first.weight), "mlp_in_bias": first.bias,
                **pack("mlp_out", second.weight), "mlp_out_bias": second.bias,
                "self_k": self.self_k[i], "self_v": self.self_v[i],
                "cross_k": self.cross_k[i], "cross_v": self.cross_v[i],
                "cross_k_scale": self.scale_k[i], "cross_v_scale": self.scale_v[i],
            }  # fmt: skip
            for name, tensor in parts.items():
                setattr(layers[i], name, _pointer(tensor, self._kept))
        d = self.dims
        embedding = pack("", decoder.token_embedding.weight).values()
        ends = (decoder.positional_embedding.float(), decoder.ln.weight, decoder.ln.bias, *embedding)
        return kernels.Decoder(
            *(d.n_text_layer, d.n_text_state, d.n_text_head, d.n_vocab, d.n_text_ctx, d.n_audio_ctx),
            *(_pointer(tensor, self._kept) for tensor in ends),
            layers,
        )


class NativeChooser:
    """What rows may say next, where nothing is drawn and no rule about repetition holds."""

    def __init__(self, rules: RuleBook, n_threads: int) -> None:
        found = kernels.library()
        assert found is not None, "there are no kernels for this CPU"
        self.library = found
        self.rules = rules
        self.n_threads = n_threads

    def choose(self, logits: Tensor, lines: Seq[int], rows: Seq[int], k: int) -> Proposal:
        """The k best tokens under the rules. logits: (R, V) float32, written over; lines: of it, by row."""
        v = self.rules.vocabulary
        pointers = {name: tensor.data_ptr() for name, tensor in self.rules.tensors().items()}
        rules = kernels.Rules(v.n_vocab, v.eot, v.timestamp_begin, v.no_timestamps, **pointers)
        tokens, logprobs = np.empty((len(lines), k), np.int64), np.empty((len(lines), k), np.float32)
        of_line, of_row = np.asarray(lines, np.int64), np.asarray(rows, np.int64)
        which, where, best, values = (ctypes.c_void_p(a.ctypes.data) for a in (of_line, of_row, tokens, logprobs))
        given = ctypes.c_void_p(logits.data_ptr())
        self.library.sv_choose(ctypes.byref(rules), len(lines), given, which, where, k, best, values, self.n_threads)
        return Proposal(tokens, logprobs)


def _linears(mlp: torch.nn.Sequential) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    first, second = mlp[0], mlp[2]
    assert isinstance(first, torch.nn.Linear) and isinstance(second, torch.nn.Linear)
    return first, second


def _packed(name: str, weight: Tensor) -> dict[str, Tensor]:
    """A linear layer's weight and its scale, of which bfloat16 has none, by the names of kernels.DecoderLayer."""
    return {name: packed(weight), f"{name}_scale": torch.empty(0)}


def _packed_bytes(name: str, weight: Tensor) -> dict[str, Tensor]:
    whole, scale, sums = kernels.packed_bytes(weight)
    return {name: whole, f"{name}_scale": scale, f"{name}_sums": sums}


def _packed8(name: str, weight: Tensor) -> dict[str, Tensor]:
    whole, scale = packed8(weight)
    return {name: whole, f"{name}_scale": scale}


def _pointer(tensor: Tensor, kept: list[Tensor]) -> int | None:
    """Where a tensor lies, as kernels read it: vectors float32, matrices as they are. `kept` keeps it alive.

    None: of one without numbers.
    """
    if not tensor.numel():
        return None
    tensor = (tensor.float() if tensor.ndim == 1 and tensor.is_floating_point() else tensor).detach().contiguous()
    kept.append(tensor)
    return tensor.data_ptr()
