"""The network: a function of its weights. Caches are passed in, never hooked on; it knows no row, slot or request.

Parameter names are the checkpoints' own (openai/whisper model.py), so that every form of weights maps onto one.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.model.dims import Dims as Dims
from sottovoce.model.dims import unpack_alignment_heads as unpack_alignment_heads


class Cache(Protocol):
    """Where the decoder's keys and values live between calls.

    q, k, v: (B, T, H, D), neither scaled nor transposed. Both return (B, T, H, D).
    """

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store k and v at the positions being decoded; attend causally to all that is stored."""
        ...

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        """Attend to the keys and values of each row's sound."""
        ...


def sinusoids(n_positions: int, n_state: int, max_timescale: float = 10_000.0) -> Tensor:
    """(n_positions, n_state) position embedding of the encoder. Source: openai/whisper model.py:sinusoids."""
    # on the CPU even while a network is laid out on the meta device: arithmetic there imports torch's compiler (2 s)
    step = math.log(max_timescale) / (n_state // 2 - 1)
    rates = torch.exp(-step * torch.arange(n_state // 2, device="cpu"))
    angles = torch.arange(n_positions, device="cpu")[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LayerNorm(nn.LayerNorm):
    """Computed in float32 whatever the model's precision, as the checkpoints were trained."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 or x.device.type in ("cpu", "cuda"):
            # torch's kernels there accumulate low precision in float32 by themselves
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class Attention(nn.Module):
    """The four projections of multi-head attention; who attends to what is the caller's business."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_head, -1)  # (B, T, C) -> (B, T, H, D)


class EncoderBlock(nn.Module):
    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = Attention(n_state, n_head)
        self.attn_ln = LayerNorm(n_state)
        self.mlp = nn.Sequential(nn.Linear(n_state, 4 * n_state), nn.GELU(), nn.Linear(4 * n_state, n_state))
        self.mlp_ln = LayerNorm(n_state)

    def forward(self, x: Tensor) -> Tensor:
        h = self.attn_ln(x)
        q, k, v = (self.attn.heads(p(h)).transpose(1, 2) for p in (self.attn.query, self.attn.key, self.attn.value))
        a = F.scaled_dot_product_attention(q, k, v)  # (B, H, S, D)
        x = x + self.attn.out(a.transpose(1, 2).flatten(2))
        x = x + self.mlp(self.mlp_ln(x))
        return x


class DecoderBlock(nn.Module):
    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = Attention(n_state, n_head)
        self.attn_ln = LayerNorm(n_state)
        self.cross_attn = Attention(n_state, n_head)
        self.cross_attn_ln = LayerNorm(n_state)
        self.mlp = nn.Sequential(nn.Linear(n_state, 4 * n_state), nn.GELU(), nn.Linear(4 * n_state, n_state))
        self.mlp_ln = LayerNorm(n_state)

    def forward(self, x: Tensor, i_layer: int, cache: Cache) -> Tensor:
        a = self.attn
        h = self.attn_ln(x)
        h = cache.attend_self(i_layer, a.heads(a.query(h)), a.heads(a.key(h)), a.heads(a.value(h)))
        x = x + a.out(h.flatten(2))
        a = self.cross_attn
        h = cache.attend_cross(i_layer, a.heads(a.query(self.cross_attn_ln(x))))
        x = x + a.out(h.flatten(2))
        x = x + self.mlp(self.mlp_ln(x))
        return x


class Encoder(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        n_state = dims.n_audio_state
        self.conv1 = nn.Conv1d(dims.n_mels, n_state, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(n_state, n_state, kernel_size=3, stride=2, padding=1)
        self.positional_embedding: Tensor
        self.register_buffer("positional_embedding", sinusoids(dims.n_audio_ctx, n_state))
        self.blocks = nn.ModuleList([EncoderBlock(n_state, dims.n_audio_head) for _ in range(dims.n_audio_layer)])
        self.ln_post = LayerNorm(n_state)

    def forward(self, mel: Tensor) -> Tensor:
        """mel: (B, M, F) normalised log-mel, F = 2 * n_audio_ctx. Returns (B, S, C)."""
        x = F.gelu(self.conv1(mel))
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # (B, S, C)
        x = x + self.positional_embedding
        for block in self.blocks:
            x = block(x)
        h: Tensor = self.ln_post(x)
        return h


class Decoder(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        n_state = dims.n_text_state
        self.token_embedding = nn.Embedding(dims.n_vocab, n_state)
        self.positional_embedding = nn.Parameter(torch.empty(dims.n_text_ctx, n_state))
        self.blocks = nn.ModuleList([DecoderBlock(n_state, dims.n_text_head) for _ in range(dims.n_text_layer)])
        self.ln = LayerNorm(n_state)

    def forward(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """tokens, positions: (B, T) int64. Returns (B, T, C) after the last norm; `logits` turns it into scores."""
        x = self.token_embedding(tokens) + self.positional_embedding[positions]
        for i_layer, block in enumerate(self.blocks):
            x = block(x, i_layer, cache)
        h: Tensor = self.ln(x)
        return h

    def logits(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., V) float32."""
        return F.linear(x, self.token_embedding.weight).float()

    def cross_kv(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per layer the keys and values of encoded sound. features: (B, S, C). Each is (B, S, H, D)."""
        pairs = []
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            a = block.cross_attn
            pairs.append((a.heads(a.key(features)), a.heads(a.value(features))))
        return pairs


class Whisper(nn.Module):
    """A checkpoint's network. alignment_heads: (layer, head) pairs whose cross-attention follows the words."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = Encoder(dims)
        self.decoder = Decoder(dims)
        self.alignment_heads = dims.upper_half
