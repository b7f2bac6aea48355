"""Weights into the network's modules, on a device and in a precision. Knows no form of file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sottovoce.model.dims import Dims
from sottovoce.model.stored import Numbers, damaged
from sottovoce.model.weights import POSITIONS, Checkpoint, open_weights
from sottovoce.model.whisper import Whisper, sinusoids

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PIECE = 1 << 20  # numbers that are looked at together


def load(
    path: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    alignment_heads: Sequence[tuple[int, int]] | None = None,
) -> Whisper:
    """The network with the weights of a file or folder, for inference.

    alignment_heads: (layer, head) pairs; None: the file's own if they fit, else every head of the decoder's upper half.
    Tensors are read one by one, so that memory holds one copy of the model and one tensor.
    Raises ModelError as `open_weights` and `Checkpoint.read` do, and if a weight does not fit into dtype.
    """
    checkpoint = open_weights(path, alignment_heads)
    model = _empty(checkpoint.dims)
    _fill(model, checkpoint, torch.device(device), dtype)
    model.alignment_heads = checkpoint.alignment_heads
    return model.requires_grad_(False).eval()


def _empty(dims: Dims) -> Whisper:
    """The network without storage: every tensor is on the meta device until it is filled."""
    with torch.device("meta"), _NoRandom():
        return Whisper(dims)


class _NoRandom(TorchFunctionMode):
    """Leaves tensors as they are where a module would draw its first weights.

    There is nothing to draw on the meta device, and a first `normal_` on it imports torch's compiler (2 s).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _fill(model: Whisper, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
    full: dict[str, Tensor] = {}
    for name, shape in checkpoint.shapes.items():
        # torch's own positions where the file has none: their last bits differ
        has_own = name != POSITIONS or name in checkpoint.stored.tensors
        given = _tensor(checkpoint.read(name)) if has_own else sinusoids(*shape)
        # a copy even where nothing changes: what stays mapped would break when the file is replaced
        tensor = given.to(dtype, copy=True)
        if torch.finfo(dtype).max < torch.finfo(given.dtype).max and not _is_finite(tensor):
            raise damaged(checkpoint.path, f"{name} holds values that are not finite in {dtype}", "finite weights")
        full[name] = tensor.to(device)
        checkpoint.forget()
    model.load_state_dict(full, assign=True)


def _tensor(numbers: Numbers) -> Tensor:
    if numbers.bfloat16:
        return torch.from_numpy(numbers.values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(numbers.values)


def _is_finite(tensor: Tensor) -> bool:
    # piece by piece: low precision is copied to float32 for it
    return all(piece.sum(dtype=torch.float32).isfinite() for piece in torch.split(tensor.flatten(), PIECE))


def numbers_of(model: Whisper) -> Callable[[str], Numbers]:
    """A network's tensors by their names, as a checkpoint gives them."""
    tensors: dict[str, Tensor] = model.state_dict()

    def read(name: str) -> Numbers:
        tensor = tensors[name].detach().cpu()
        if tensor.dtype == torch.bfloat16:
            return Numbers(tensor.view(torch.int16).numpy().view(np.uint16), bfloat16=True)
        return Numbers(tensor.numpy())

    return read
