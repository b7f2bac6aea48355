"""What a Whisper model must compute and move, from its dimensions alone. Pure; knows no tensor and no machine.

A part counts 2 operations a multiply-add, and the bytes that cannot stay where they are: weights once a pass, keys and
values once a row, results once. Activations inside a pass are not counted: a good program keeps them near.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sottovoce.model.dims import Dims

FLOAT_BYTES = 4  # logits and log-mel are float32 always


@dataclass(frozen=True, slots=True)
class Part:
    """operations and bytes of one piece of work."""

    name: str
    operations: float
    n_bytes: float

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.operations / self.n_bytes

    def bound_s(self, rate: float, bandwidth: float) -> float:
        """The least time: rate in operations/s, bandwidth in bytes/s; the slower of the two decides."""
        return max(self.operations / rate, self.n_bytes / bandwidth)


def total(name: str, parts: Iterable[Part]) -> Part:
    """The work of all parts as one."""
    found = list(parts)
    return Part(name, sum(p.operations for p in found), sum(p.n_bytes for p in found))


def bound_s(parts: Iterable[Part], rate: float, bandwidth: float) -> float:
    """One part after another, each at its own bound."""
    return sum(p.bound_s(rate, bandwidth) for p in parts)


def encoder(dims: Dims, n_windows: int, n_bytes_each: float) -> list[Part]:
    """Log-mel to features, for windows of 30 s together. n_bytes_each: of a weight and of a feature."""
    c, s, n_layer = dims.n_audio_state, dims.n_audio_ctx, dims.n_audio_layer
    weights, features = n_layer * 12 * c * c, n_windows * s * c
    kernels = 3 * dims.n_mels * c + 3 * c * c
    sound = n_windows * 2 * s * dims.n_mels * FLOAT_BYTES
    convolved = 2 * s * 3 * dims.n_mels * c + s * 3 * c * c  # the second one has half the positions
    return [
        Part("convolutions", n_windows * 2 * convolved, kernels * n_bytes_each + sound),
        Part("encoder matrices", n_windows * 2 * s * weights, (weights + features) * n_bytes_each),
        Part("encoder attention", n_windows * n_layer * 4 * s * s * c, n_layer * features * n_bytes_each),
    ]


def cross_kv(dims: Dims, n_windows: int, n_bytes_each: float) -> list[Part]:
    """Features to the keys and values that every step of their windows reads."""
    c, t, s, n_layer = dims.n_audio_state, dims.n_text_state, dims.n_audio_ctx, dims.n_text_layer
    weights = n_layer * 2 * c * t
    written = n_windows * n_layer * 2 * s * t
    return [Part("cross keys and values", n_windows * 2 * s * weights, (weights + written) * n_bytes_each)]


def decode(
    dims: Dims, n_rows: int, n_bytes_each: float, position: int, n_new: int = 1, n_logits: int = 1, n_slots: int = 0
) -> list[Part]:
    """One pass over n_rows texts, n_new tokens each, the first of which stands at `position`.

    n_logits: tokens of each row whose scores are asked for. n_slots: sounds that are read; 0: one a row.
    """
    c, n_layer, s, v = dims.n_text_state, dims.n_text_layer, dims.n_audio_ctx, dims.n_vocab
    n_tokens, n_slots = n_rows * n_new, n_slots or n_rows
    weights = n_layer * 14 * c * c  # the keys and values of sound are there already
    seen = position + (n_new + 1) / 2  # positions that a token attends to, on average
    n_scores = n_rows * n_logits
    return [
        Part("decoder weights", 2 * n_tokens * weights, weights * n_bytes_each),
        Part("cross attention", n_tokens * n_layer * 4 * s * c, n_slots * n_layer * 2 * s * c * n_bytes_each),
        Part(
            "self attention",
            n_tokens * n_layer * 4 * seen * c,
            n_rows * n_layer * 2 * (position + n_new) * c * n_bytes_each,
        ),
        Part("logits", 2 * n_scores * v * c, v * c * n_bytes_each + n_scores * v * FLOAT_BYTES),
    ]
