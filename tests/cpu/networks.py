"""Networks to compare: of random weights, and two that must answer alike, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sottovoce.engine.network import Network
from sottovoce.model.dims import Dims
from sottovoce.model.whisper import Whisper

Close = Callable[[Tensor, Tensor], bool]


def prompts_and_steps_agree(
    twins: tuple[Network, Network], close: Close, *, n: int, n_slots: int, n_vocab: int, longest: int, n_steps: int
) -> None:
    """n rows of different lengths, several of them at one slot, in an order that is not that of the rows.

    longest: tokens of a prompt, at most. Raises AssertionError where they differ.
    """
    draw = torch.Generator().manual_seed(n)
    texts = [torch.randint(0, n_vocab, (1 + 7 * i % longest,), generator=draw).tolist() for i in range(n)]
    rows, slots = list(range(n))[::-1], sorted(i % n_slots for i in range(n))
    wanted = [(0, len(t) - 1) if len(t) > 1 else (0,) for t in texts]
    ours, theirs = (network.read(texts, rows, slots, wanted) for network in twins)
    assert close(ours, theirs)
    groups = [(slot, slots.count(slot)) for slot in sorted(set(slots))]
    for i in range(n_steps):
        tokens, positions = [i + 7 * row for row in rows], [len(t) + i for t in texts]
        ours, theirs = (network.step(tokens, rows, positions, groups) for network in twins)
        assert close(ours, theirs)


def a_network(dims: Dims, scale: float) -> Whisper:
    """Of random weights, in bfloat16, whose norms leave what they are given as large as it was."""
    torch.manual_seed(0)
    model = Whisper(dims).eval().requires_grad_(False)
    for p in model.parameters():
        p.normal_(0, scale if p.ndim > 1 else 0.5)
    for name, p in model.named_parameters():
        if "ln" in name and name.endswith("weight"):
            p.add_(1.0)
    return model.to(torch.bfloat16)
