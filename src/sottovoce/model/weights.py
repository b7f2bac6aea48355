"""Weights from disk to modules: opens whatever form, checks every tensor, fills the network. Fetches nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sottovoce.errors import ModelError
from sottovoce.model.ctranslate2 import open_ctranslate2
from sottovoce.model.dims import Dims
from sottovoce.model.export import export_pt, export_safetensors
from sottovoce.model.forms import INDEX, file_of, form_of, weights_of
from sottovoce.model.ggml import open_ggml
from sottovoce.model.pt import open_pt, read_torch
from sottovoce.model.stored import Heads, Stored, damaged, misfit
from sottovoce.model.transformers import CONFIG, open_transformers
from sottovoce.model.whisper import Whisper, sinusoids

__all__ = ["dims_of", "export_pt", "export_safetensors", "load", "n_weights"]

log = logging.getLogger(__name__)

POSITIONS = "encoder.positional_embedding"  # fixed, so that some files leave it out
PIECE = 1 << 20  # numbers that are looked at together
N_NAMED = 5  # names that a message lists before it counts the rest


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
    Raises ModelError if the form is unknown, if a tensor is missing, unexpected, of another shape or not finite,
    if the file ends early, or if heads that are given lie outside the decoder.
    """
    stored = _open(path)
    model = _empty(stored.dims, path)
    _fill(model, stored, path, torch.device(device), dtype)
    heads = _heads_of(stored, path) if alignment_heads is None else tuple((i, j) for i, j in alignment_heads)
    if heads is not None:
        if why := misfit(heads, stored.dims):
            raise ModelError(f"{path}: {why}; leave them out to use the file's own, or the decoder's upper half")
        model.alignment_heads = heads
    return model.requires_grad_(False).eval()


def dims_of(path: Path) -> Dims:
    """The dimensions in a file's header; no weight is read. Raises ModelError as load does."""
    return _open(path).dims


def n_weights(dims: Dims) -> int:
    """How many numbers a network of these dimensions holds."""
    return sum(tensor.numel() for tensor in _empty(dims, Path()).state_dict().values())


def _open(path: Path) -> Stored:
    form, _ = form_of(path)
    file = file_of(path)
    if form == "ggml":
        return open_ggml(file)
    if form == "ct2":
        return open_ctranslate2(file)
    if form == "safetensors" or file.name.endswith(INDEX):
        return open_transformers(_there(file))
    content = read_torch(file) if (file.parent / CONFIG).is_file() else None
    from_transformers = isinstance(content, dict) and "model_state_dict" not in content
    return open_transformers((file,)) if from_transformers else open_pt(file)


def _there(file: Path) -> tuple[Path, ...]:
    files = weights_of(file)
    if missing := [shard.name for shard in files if not shard.is_file()]:
        raise ModelError(
            f"{file}: {missing[0]} is missing, {len(files)} files were expected; run `sottovoce models verify NAME`"
        )
    return files


def _empty(dims: Dims, path: Path) -> Whisper:
    """The network without storage: every tensor is on the meta device until it is filled."""
    for kind in ("audio", "text"):
        n_state, n_head = getattr(dims, f"n_{kind}_state"), getattr(dims, f"n_{kind}_head")
        if n_state < 1 or n_head < 1 or n_state % n_head or n_state % 2:
            raise damaged(path, f"n_{kind}_state is {n_state}, n_{kind}_head {n_head}", "a width that the heads divide")
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


def _heads_of(stored: Stored, path: Path) -> Heads | None:
    """The file's own, if they fit: distilled checkpoints often keep those of a teacher with more layers."""
    why = misfit(stored.heads, stored.dims) if stored.heads else None
    if why is None:
        return stored.heads
    log.warning("%s: in its configuration, %s; times of words come from the decoder's upper half instead", path, why)
    return None


def _fill(model: Whisper, stored: Stored, path: Path, device: torch.device, dtype: torch.dtype) -> None:
    empty = model.state_dict()
    _check_names(path, stored, sorted(set(empty) - set(stored.tensors) - {POSITIONS}), "missing")
    _check_names(path, stored, sorted(set(stored.tensors) - set(empty)), "unexpected")
    full: dict[str, Tensor] = {}
    for name, slot in empty.items():
        read = stored.tensors.get(name)
        given = sinusoids(*slot.shape) if read is None else read()
        if given.shape != slot.shape:
            raise ModelError(
                f"{path} ({stored.form}): {name} has shape {list(given.shape)}, {list(slot.shape)} was expected from "
                "the model's dimensions; the file and its configuration do not belong together: "
                "run `sottovoce models verify NAME`"
            )
        # a copy even where nothing changes: what stays mapped would break when the file is replaced
        tensor = given.to(dtype, copy=True).contiguous()
        # piece by piece: low precision is copied to float32 for it
        if not all(piece.sum(dtype=torch.float32).isfinite() for piece in torch.split(tensor.flatten(), PIECE)):
            raise damaged(path, f"{name} holds values that are not finite in {dtype}", "finite weights")
        full[name] = tensor.to(device)
        if read is not None:
            stored.forget(given)
    model.load_state_dict(full, assign=True)


def _check_names(path: Path, stored: Stored, names: list[str], what: str) -> None:
    if names:
        listed = ", ".join(names[:N_NAMED]) + (f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else "")
        raise ModelError(
            f"{path} ({stored.form}): {len(names)} {what} tensors: {listed}; exactly the tensors of a Whisper model of "
            f"{stored.dims.n_audio_layer} + {stored.dims.n_text_layer} layers were expected. The file is incomplete or "
            "of another architecture: run `sottovoce models verify NAME`"
        )


class _Temp:
    def __init__(self, path, alignment_heads):
        from sottovoce.model import modules

        self.m = load(path, dtype=torch.float32, alignment_heads=alignment_heads)
        self.heads = self.m.alignment_heads
        self.tensor = modules.numbers_of(self.m)


def open_weights(path, alignment_heads=None):
    return _Temp(path, alignment_heads)
