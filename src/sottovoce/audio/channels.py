"""A recording at any rate, its channels apart: for surfaces that promise more than the engine needs. Knows no model.

What the engine hears is `decode.load`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np

from sottovoce.audio.source import Source, name_of, opened, why
from sottovoce.errors import AudioError, OptionError

FULL_SCALE = 32768  # of 16-bit samples


def load_channels(source: Source, n_channels: int, sample_rate_hz: int) -> np.ndarray:
    """(n_channels, N) float32 in [-1, 1) of a recording's first audio stream, mixed down or up as FFmpeg does.

    n_channels: 1 or 2. Broken packets are left out. Raises AudioError if the source cannot be opened or holds no sound,
    OptionError for a rate below 1.
    """
    assert n_channels in (1, 2)
    if sample_rate_hz < 1:
        raise OptionError(f"sampling_rate: {sample_rate_hz} was given, a rate in Hz was expected; pass 16000")
    layout = ("mono", "stereo")[n_channels - 1]
    resampler = av.AudioResampler(format="s16", layout=layout, rate=sample_rate_hz)
    with opened(source) as container:
        pieces = [frame.to_ndarray().reshape(-1, n_channels) for frame in _resampled(container, resampler)]
    if not pieces:
        raise AudioError(f"{name_of(source)}: no sound was found (0 samples), a recording was expected; check the file")
    return np.ascontiguousarray(np.concatenate(pieces).T, np.float32) / FULL_SCALE


def _resampled(container: Any, resampler: av.AudioResampler) -> Iterator[av.AudioFrame]:
    try:
        for packet in container.demux(audio=0):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                frame.pts = None  # gaps and jumps between timestamps are not sound
                yield from resampler.resample(frame)
        yield from resampler.resample(None)
    except av.error.FFmpegError as e:
        raise AudioError(f"the recording could not be decoded ({why(e)}); convert it to wav or flac") from e
