"""Weights from disk, tensor by tensor: opens whatever form, checks what it gives. Knows no module; fetches nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sottovoce.errors import ModelError
from sottovoce.model.ctranslate2 import open_ctranslate2
from sottovoce.model.dims import Dims
from sottovoce.model.forms import INDEX, file_of, form_of, weights_of
from sottovoce.model.ggml import open_ggml
from sottovoce.model.pickled import read_pickled
from sottovoce.model.pt import open_pt
from sottovoce.model.stored import Heads, Numbers, Stored, damaged, misfit
from sottovoce.model.transformers import CONFIG, open_transformers

__all__ = ["POSITIONS", "Checkpoint", "dims_of", "n_weights", "open_weights", "shapes", "sinusoids"]

log = logging.getLogger(__name__)

Shape = tuple[int, ...]

POSITIONS = "encoder.positional_embedding"  # fixed, so that some files leave it out
MAX_TIMESCALE = 10_000.0  # openai/whisper model.py:sinusoids
N_NAMED = 5  # names that a message lists before it counts the rest


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file or folder of weights that is open, and has exactly the tensors of its network.

    shapes: of each tensor, in the network's order. alignment_heads: (layer, head) pairs within the decoder.
    """

    path: Path
    dims: Dims
    shapes: dict[str, Shape]
    alignment_heads: Heads
    stored: Stored

    def read(self, name: str) -> Numbers:
        """A tensor of the expected shape, finite, in one piece; a view of the file where it can be.

        The encoder's positions are computed where the file leaves them out.
        Raises ModelError if it has another shape, or holds what is no number.
        """
        read, shape = self.stored.tensors.get(name), self.shapes[name]
        if read is None:
            assert name == POSITIONS, f"{name} is there, or the file would not have been opened"
            return Numbers(sinusoids(*shape))
        given = read()
        if given.shape != shape:
            raise ModelError(
                f"{self.path} ({self.stored.form}): {name} has shape {list(given.shape)}, {list(shape)} was expected "
                "from the model's dimensions; the file and its configuration do not belong together: "
                "run `sottovoce models verify NAME`"
            )
        numbers = Numbers(np.ascontiguousarray(given.values), given.bfloat16)
        if not numbers.is_finite():
            raise damaged(self.path, f"{name} holds values that are not finite in {given.name}", "finite weights")
        return numbers

    def forget(self) -> None:
        """Let what was read of the file leave memory; views of it are read again if they are touched."""
        self.stored.forget()


def open_weights(path: Path, alignment_heads: Sequence[tuple[int, int]] | None = None) -> Checkpoint:
    """The weights of a file or folder, opened but not yet read.

    alignment_heads: (layer, head) pairs; None: the file's own if they fit, else every head of the decoder's upper half.
    Raises ModelError if the form is unknown, if a tensor is missing or unexpected, if the file ends early, or if heads
    that are given lie outside the decoder.
    """
    stored = _open(path)
    dims = stored.dims
    if dims.n_audio_layer + dims.n_text_layer > len(stored.tensors):  # else a damaged header names millions
        raise damaged(path, f"{len(stored.tensors)} tensors are there", "those of every layer")
    expected = shapes(dims)
    _check_names(path, stored, sorted(set(expected) - set(stored.tensors) - {POSITIONS}), "missing")
    _check_names(path, stored, sorted(set(stored.tensors) - set(expected)), "unexpected")
    heads = _heads_of(stored, path) if alignment_heads is None else tuple((i, j) for i, j in alignment_heads)
    if heads is not None and (why := misfit(heads, dims)):
        raise ModelError(f"{path}: {why}; leave them out to use the file's own, or the decoder's upper half")
    return Checkpoint(path, dims, expected, dims.upper_half if heads is None else heads, stored)


def dims_of(path: Path) -> Dims:
    """The dimensions in a file's header; no weight is read. Raises ModelError as open_weights does."""
    return _open(path).dims


def n_weights(dims: Dims) -> int:
    """How many numbers a network of these dimensions holds."""
    return dims.n_parameters + dims.n_audio_ctx * dims.n_audio_state


def shapes(dims: Dims) -> dict[str, Shape]:
    """Every tensor of a network of these dimensions, in the order of its state dictionary."""
    c, t = dims.n_audio_state, dims.n_text_state
    encoder: dict[str, Shape] = {
        "positional_embedding": (dims.n_audio_ctx, c),
        **_biased("conv1", c, dims.n_mels, 3),
        **_biased("conv2", c, c, 3),
    }
    for i in range(dims.n_audio_layer):
        encoder |= _block(f"blocks.{i}", c, ("attn",))
    encoder |= _biased("ln_post", c)
    decoder: dict[str, Shape] = {
        "positional_embedding": (dims.n_text_ctx, t),
        "token_embedding.weight": (dims.n_vocab, t),
    }
    for i in range(dims.n_text_layer):
        decoder |= _block(f"blocks.{i}", t, ("attn", "cross_attn"))
    decoder |= _biased("ln", t)
    return {
        f"{side}.{name}": shape
        for side, tensors in (("encoder", encoder), ("decoder", decoder))
        for name, shape in tensors.items()
    }


def sinusoids(n_positions: int, n_state: int) -> np.ndarray:
    """(n_positions, n_state) float32 position embedding of the encoder. Source: openai/whisper model.py:sinusoids."""
    half = n_state // 2
    step = np.float32(math.log(MAX_TIMESCALE) / (half - 1))
    # rounded once each, as good libraries of float32 do: another last bit of a rate is 1e-4 in the last position
    rates = np.exp((-step * np.arange(half, dtype=np.float32)).astype(np.float64)).astype(np.float32)
    angles = np.arange(n_positions, dtype=np.float32)[:, None] * rates
    return np.concatenate([np.sin(angles, dtype=np.float64), np.cos(angles, dtype=np.float64)], axis=1, dtype="f4")


def _biased(name: str, *shape: int) -> dict[str, Shape]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _block(name: str, n: int, attentions: tuple[str, ...]) -> dict[str, Shape]:
    tensors: dict[str, Shape] = {}
    for attention in attentions:
        tensors |= _biased(f"{name}.{attention}.query", n, n)
        tensors[f"{name}.{attention}.key.weight"] = (n, n)  # softmax would cancel a bias
        tensors |= _biased(f"{name}.{attention}.value", n, n) | _biased(f"{name}.{attention}.out", n, n)
        tensors |= _biased(f"{name}.{attention}_ln", n)
    return (
        tensors | _biased(f"{name}.mlp.0", 4 * n, n) | _biased(f"{name}.mlp.2", n, 4 * n) | _biased(f"{name}.mlp_ln", n)
    )


def _open(path: Path) -> Stored:
    stored = _open_form(path)
    for kind in ("audio", "text"):
        n_state, n_head = (getattr(stored.dims, f"n_{kind}_{what}") for what in ("state", "head"))
        if n_state < 4 or n_head < 1 or n_state % n_head or n_state % 2:
            raise damaged(path, f"n_{kind}_state is {n_state}, n_{kind}_head {n_head}", "a width that the heads divide")
    if stored.dims.n_audio_state != stored.dims.n_text_state:
        said = f"n_audio_state is {stored.dims.n_audio_state}, n_text_state {stored.dims.n_text_state}"
        raise damaged(path, said, "one width, for the decoder listens to what the encoder heard")
    return stored


def _open_form(path: Path) -> Stored:
    form, _ = form_of(path)
    file = file_of(path)
    if form == "ggml":
        return open_ggml(file)
    if form == "ct2":
        return open_ctranslate2(file)
    if form == "safetensors" or file.name.endswith(INDEX):
        return open_transformers(_there(file))
    content, _ = read_pickled(file) if (file.parent / CONFIG).is_file() else (None, None)
    from_transformers = isinstance(content, dict) and "model_state_dict" not in content
    return open_transformers((file,)) if from_transformers else open_pt(file)


def _there(file: Path) -> tuple[Path, ...]:
    files = weights_of(file)
    if missing := [shard.name for shard in files if not shard.is_file()]:
        raise ModelError(
            f"{file}: {missing[0]} is missing, {len(files)} files were expected; run `sottovoce models verify NAME`"
        )
    return files


def _heads_of(stored: Stored, path: Path) -> Heads | None:
    """The file's own, if they fit: distilled checkpoints often keep those of a teacher with more layers."""
    why = misfit(stored.heads, stored.dims) if stored.heads else None
    if why is None:
        return stored.heads
    log.warning("%s: in its configuration, %s; times of words come from the decoder's upper half instead", path, why)
    return None


def _check_names(path: Path, stored: Stored, names: list[str], what: str) -> None:
    if names:
        listed = ", ".join(names[:N_NAMED]) + (f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else "")
        raise ModelError(
            f"{path} ({stored.form}): {len(names)} {what} tensors: {listed}; exactly the tensors of a Whisper model of "
            f"{stored.dims.n_audio_layer} + {stored.dims.n_text_layer} layers were expected. The file is incomplete or "
            "of another architecture: run `sottovoce models verify NAME`"
        )
