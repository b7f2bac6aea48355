"""A checkpoint's dimensions and what follows from them. Knows no tensor, so that a list of models needs no torch."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dims:
    """A checkpoint's dimensions, in its own words (openai/whisper model.py:ModelDimensions)."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @property
    def is_multilingual(self) -> bool:
        return self.n_vocab >= 51865

    @property
    def n_languages(self) -> int:
        return self.n_vocab - 51765 - int(self.is_multilingual)

    @property
    def n_parameters(self) -> int:
        """Trained numbers in the network; the encoder's sinusoids are not trained, the output shares the embedding."""
        c, t = self.n_audio_state, self.n_text_state
        attention, mlp, norm = 4 * c * c + 3 * c, 8 * c * c + 5 * c, 2 * c
        convs = 3 * self.n_mels * c + c + 3 * c * c + c
        encoder = convs + self.n_audio_layer * (attention + mlp + 2 * norm) + norm
        attention, mlp, norm = 4 * t * t + 3 * t, 8 * t * t + 5 * t, 2 * t
        embeddings = (self.n_vocab + self.n_text_ctx) * t
        return encoder + embeddings + self.n_text_layer * (2 * attention + mlp + 3 * norm) + norm

    @property
    def upper_half(self) -> tuple[tuple[int, int], ...]:
        """(layer, head) of every head in the decoder's upper half: those that align words where nobody knows better."""
        layers = range(self.n_text_layer // 2, self.n_text_layer)
        return tuple((i_layer, i_head) for i_layer in layers for i_head in range(self.n_text_head))


def unpack_alignment_heads(dump: str, dims: Dims) -> tuple[tuple[int, int], ...]:
    """(layer, head) pairs from the form in which openai/whisper publishes them: base85 of a gzipped boolean array."""
    flags = gzip.decompress(base64.b85decode(dump))
    n = dims.n_text_head
    return tuple((i // n, i % n) for i, flag in enumerate(flags) if flag)
