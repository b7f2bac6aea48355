"""temporary"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sottovoce.model import weights
from sottovoce.model.stored import Numbers
from sottovoce.model.whisper import Whisper


def load(path, *, device="cpu", dtype="float32", alignment_heads=None):
    return weights.load(
        path,
        device=device,
        dtype=getattr(torch, dtype) if isinstance(dtype, str) else dtype,
        alignment_heads=alignment_heads,
    )


def numbers_of(model: Whisper) -> Callable[[str], Numbers]:
    """A network's tensors by name, as a checkpoint gives them."""
    tensors: dict[str, Tensor] = model.state_dict()

    def tensor(name: str) -> Numbers:
        found = tensors[name].detach().cpu()
        if found.dtype == torch.bfloat16:
            return Numbers(found.view(torch.uint16).numpy(), bfloat16=True)
        return Numbers(found.numpy())

    return tensor
