"""faster-whisper's `feature_extractor` over our mel. Source: faster_whisper/feature_extractor.py (1.2.1)."""

from __future__ import annotations

import numpy as np

from sottovoce.audio import mel
from sottovoce.errors import OptionError
from sottovoce.types import SAMPLE_RATE

__all__ = ["FeatureExtractor"]


class FeatureExtractor:
    """Waveform -> log-mel features. Rates and sizes are the checkpoints' own; others raise OptionError."""

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = SAMPLE_RATE,
        hop_length: int = mel.HOP,
        chunk_length: int = mel.WINDOW_S,
        n_fft: int = mel.N_FFT,
    ) -> None:
        if (sampling_rate, hop_length, n_fft) != (SAMPLE_RATE, mel.HOP, mel.N_FFT):
            raise OptionError(
                f"sampling_rate {sampling_rate}, hop_length {hop_length}, n_fft {n_fft} were given, {SAMPLE_RATE}, "
                f"{mel.HOP}, {mel.N_FFT} were expected: no checkpoint knows others; leave them out"
            )
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.chunk_length = chunk_length
        self.n_samples = chunk_length * sampling_rate
        self.nb_max_frames = self.n_samples // hop_length
        self.time_per_frame = hop_length / sampling_rate
        self.sampling_rate = sampling_rate
        self.mel_filters = mel.filters(feature_size).copy()

    def __call__(self, waveform: np.ndarray, padding: int = 160, chunk_length: int | None = None) -> np.ndarray:
        """(..., feature_size, (N + padding) // 160) float32 of (..., N) samples; padding: zeros to append.

        chunk_length: seconds, remembered in n_samples and nb_max_frames.
        """
        if chunk_length is not None:
            self.n_samples = chunk_length * self.sampling_rate
            self.nb_max_frames = self.n_samples // self.hop_length
        n_frames = (waveform.shape[-1] + padding) // self.hop_length
        more = max(0, mel.N_FFT // 2 + 1 - waveform.shape[-1] - padding)  # too short to mirror its start
        features = mel.log_mel(waveform.astype(np.float32), len(self.mel_filters), padding + more)
        return features[..., :n_frames]
