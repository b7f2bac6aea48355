"""The slow twin of the engine's caches: keys and values in lists, attention as the paper writes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sottovoce.model.dims import Dims
from sottovoce.model.whisper import Whisper


class PlainCache:
    """Keys and values of some rows that advance together; knows no slot, no pool and no kernel."""

    def __init__(self, model: Whisper, features: Tensor) -> None:
        """features: (B, S, C) encoded sound, one per row."""
        self.cross = model.decoder.cross_kv(features)
        self.past: dict[int, tuple[Tensor, Tensor]] = {}

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if i_layer in self.past:
            old_k, old_v = self.past[i_layer]
            k, v = torch.cat([old_k, k], dim=1), torch.cat([old_v, v], dim=1)
        self.past[i_layer] = (k, v)
        n_new, n_all = q.shape[1], k.shape[1]
        hidden = torch.ones(n_new, n_all, dtype=torch.bool, device=q.device).triu(n_all - n_new + 1)
        return attend(q, k, v, hidden)

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        return attend(q, *self.cross[i_layer])


def random_model(dims: Dims, seed: int = 0) -> Whisper:
    """Weights as large as trained ones, so that attention and logits are not flat."""
    torch.manual_seed(seed)
    model = Whisper(dims)
    for name, tensor in model.named_parameters():
        std = 1.0 if "ln" in name and name.endswith("weight") else tensor.shape[-1] ** -0.5
        nn.init.normal_(tensor, std=std if tensor.dim() > 1 else 0.3 * std)
        if "ln" in name and name.endswith("weight"):
            tensor.data += 1
    return model.requires_grad_(False).eval()


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """(B, T, H, D) from q (B, T, H, D) and k, v (B, S, H, D); hidden: (T, S), true where q must not look."""
    scores = torch.einsum("bthd,bshd->bhts", q, k).float() / q.shape[-1] ** 0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return torch.einsum("bhts,bshd->bthd", scores.softmax(dim=-1).to(v.dtype), v)


def logits_of(model: Whisper, features: Tensor, tokens: Tensor) -> Tensor:
    """(B, T, V) scores after each of tokens (B, T), all at once. features: (B, S, C) encoded sound."""
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    x = model.decoder(tokens, positions, PlainCache(model, features))
    return model.decoder.logits(x)


def greedy(model: Whisper, mel: Tensor, prompt: list[int], end: int, n_tokens: int) -> list[int]:
    """The most probable continuation of a prompt, one position after another, without any rule. mel: (1, M, F)."""
    cache = PlainCache(model, model.encoder(mel))
    tokens, new = list(prompt), list(prompt)
    while len(tokens) < len(prompt) + n_tokens:
        positions = torch.arange(len(tokens) - len(new), len(tokens))[None]
        x = model.decoder(torch.tensor([new]), positions, cache)
        new = [int(model.decoder.logits(x[:, -1]).argmax())]
        if new == [end]:
            break
        tokens += new
    return tokens[len(prompt) :]
