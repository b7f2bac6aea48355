"""Waveform -> spans of speech, by the Silero network. Knows no file, no model of ours, no token.

The network hears a frame of 32 ms with the last 4 ms before it, and carries its state from frame to frame. All frames
of a block are heard in one call, on one thread; the result is the frame-by-frame loop's. How frames become spans is
how faster-whisper 1.2.1 does it (vad.py:get_speech_timestamps), down to the sample.

The network is silero-vad 6.0.0's, rewritten by scripts/make_vad.py; MIT, assets/LICENSE-silero-vad.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import inf
from typing import Any

import numpy as np

from sottovoce.audio.onnx import session
from sottovoce.errors import OptionError
from sottovoce.types import SAMPLE_RATE

__all__ = ["FRAME", "Span", "VadOptions", "blocks", "fresh_blocks", "probabilities", "spans", "speech"]

FRAME = 512  # samples (32 ms) of one probability
CONTEXT = 64  # samples before them that the network hears too
WIDTH = 128  # of its state
BLOCK = (
    256  # frames of one call (8 s), whose products stay in the cache: 350x real time, 270x with 4096 (1 core, 2026-11)
)
RECENT = 32  # frames before a block that are heard with it (1 s): two seconds bring nothing more
STREAM_QUIETER = 0.15  # speech ends at so much less than it begins; silero-vad utils_vad.py (6.0.0)
LEAST_THRESHOLD = 0.01


@dataclass(frozen=True, slots=True)
class Span:
    """Speech in samples [start, end)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class VadOptions:
    """When a frame is speech, and which frames make a span. Names, units and defaults are faster-whisper's.

    threshold: speech begins at this probability. neg_threshold: it ends below this one; None: threshold - 0.15.
    min_speech_duration_ms: shorter spans are dropped. max_speech_duration_s: longer ones are cut, at their last pause
    of more than min_silence_at_max_speech (ms) or, with use_max_poss_sil_at_max_speech, at their longest; without any
    pause, where they are. min_silence_duration_ms: shorter pauses end no span. speech_pad_ms: added on either side.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 0
    max_speech_duration_s: float = inf
    min_silence_duration_ms: float = 2000
    speech_pad_ms: float = 400
    min_silence_at_max_speech: float = 98
    use_max_poss_sil_at_max_speech: bool = False

    def __post_init__(self) -> None:
        for name in ("threshold", "neg_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise OptionError(f"{name}: {value!r} was given, a probability from 0 to 1 was expected; pass 0.5")
        for name in ("min_speech_duration_ms", "min_silence_duration_ms", "speech_pad_ms", "min_silence_at_max_speech"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name}: {getattr(self, name)!r} was given, milliseconds from 0 on were expected")
        if not self.max_speech_duration_s * SAMPLE_RATE > FRAME + 2 * _samples(self.speech_pad_ms):
            raise OptionError(
                f"max_speech_duration_s: {self.max_speech_duration_s!r} was given, more than twice speech_pad_ms "
                f"({self.speech_pad_ms}) was expected; raise it, or pad less"
            )


def speech(samples: np.ndarray, options: VadOptions | None = None) -> list[Span]:
    """The spans of (N,) float32 samples at 16 kHz in which somebody speaks, in order, none touching the next's inside.

    Raises OptionError if samples are not one channel of floats.
    """
    return spans(probabilities(samples), len(samples), options or VadOptions())


def probabilities(samples: np.ndarray) -> np.ndarray:
    """(N // FRAME + 1,) float32: how probable it is that somebody speaks in each frame. Zeros follow the end.

    samples: (N,) float32, 16 kHz. Raises OptionError if they are not.
    """
    return np.concatenate(list(blocks(samples)))


def blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """`probabilities`, block by block, so that the beginning of a long recording is known soon."""
    n_frames = _checked(samples).size // FRAME + 1
    h = c = _nothing_heard()
    for i in range(0, n_frames, BLOCK):
        frames, h, c = _session().run(None, {"input": _frames(samples, i, min(BLOCK, n_frames - i)), "h": h, "c": c})
        yield frames


def fresh_blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """As `blocks`, but every block is heard without memory of what was before, but for the last second.

    After a minute of noise or music the network's state is such that it misses the first seconds of speech (bench/
    inserted.py: of speech between such parts 1.2 % of the frames, without memory 0.2 %).
    """
    n_frames = _checked(samples).size // FRAME + 1
    nothing = _nothing_heard()
    for i in range(0, n_frames, BLOCK):
        first = max(0, i - RECENT)
        heard = _frames(samples, first, min(i + BLOCK, n_frames) - first)
        frames, _, _ = _session().run(None, {"input": heard, "h": nothing, "c": nothing})
        yield frames[i - first :]


def _nothing_heard() -> np.ndarray:
    return np.zeros((1, 1, WIDTH), np.float32)


def _checked(samples: np.ndarray) -> np.ndarray:
    """Samples as they are. Raises OptionError if they are not one channel of floats."""
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        what = f"an array of shape {samples.shape} and {samples.dtype}"
        raise OptionError(f"samples: {what} was given, (N,) floats at 16 kHz were expected; mix the channels first")
    return samples


def _frames(samples: np.ndarray, i_frame: int, n_frames: int) -> np.ndarray:
    """(n_frames, CONTEXT + FRAME) float32: what the network hears of frames [i_frame, i_frame + n_frames)."""
    start = i_frame * FRAME - CONTEXT
    heard = np.zeros(n_frames * FRAME + CONTEXT, np.float32)
    lead = max(0, -start)
    part = samples[start + lead : start + heard.size]
    heard[lead : lead + part.size] = part
    return np.lib.stride_tricks.sliding_window_view(heard, CONTEXT + FRAME)[::FRAME]


@cache
def _session() -> Any:
    return session(files("sottovoce.audio").joinpath("assets/silero_vad.onnx").read_bytes())


# --- probabilities -> spans ------------------------------------------------------------------------------------------


def spans(frames: np.ndarray, n_samples: int, options: VadOptions) -> list[Span]:
    """The spans that probabilities of successive frames stand for. n_samples: of the recording; no span goes beyond."""
    listener = _Listener(options)
    for i, probability in enumerate(frames.astype(np.float32).tolist()):
        listener.hear(i * FRAME, probability)
    return _padded(listener.finish(n_samples), n_samples, _samples(options.speech_pad_ms))


class _Listener:
    """Follows the frames, and notes what has ended; all in samples, None where nothing is.

    start: of the span that is open. quiet: since when it has been quiet. pauses: those of the span that were long
    enough to cut it there, each up to where speech came back. last: where the last began that was surely quiet for so
    long, over or not.
    """

    def __init__(self, options: VadOptions) -> None:
        o = options
        below = max(o.threshold - STREAM_QUIETER, LEAST_THRESHOLD) if o.neg_threshold is None else o.neg_threshold
        # compared as the network's own float32
        self._begins_at, self._ends_at = float(np.float32(o.threshold)), float(np.float32(below))
        self._longest = SAMPLE_RATE * o.max_speech_duration_s - FRAME - 2 * _samples(o.speech_pad_ms)
        self._shortest, self._gap = _samples(o.min_speech_duration_ms), _samples(o.min_silence_duration_ms)
        self._pause = _samples(o.min_silence_at_max_speech)
        self._at_longest_pause = o.use_max_poss_sil_at_max_speech
        self._found: list[Span] = []
        self._open(None)

    def hear(self, at: int, probability: float) -> None:
        """The frame that begins at a sample is speech with this probability."""
        if probability >= self._begins_at:
            self._resume(at)
            if self._start is None:
                self._open(at)
                return
        if self._start is not None and at - self._start > self._longest:
            self._cut(self._start, at)
        if self._start is not None and probability < self._ends_at:
            self._hush(self._start, at)

    def finish(self, n_samples: int) -> list[Span]:
        """The spans before padding; the recording's end ends what is open."""
        if self._start is not None and n_samples - self._start > self._shortest:
            self._found.append(Span(self._start, n_samples))
        return self._found

    def _open(self, start: int | None) -> None:
        self._start = start
        self._quiet: int | None = None
        self._last: int | None = None
        self._pauses: list[Span] = []

    def _resume(self, at: int) -> None:
        if self._quiet is not None and at - self._quiet > self._pause:
            self._pauses.append(Span(self._quiet, at))
        self._quiet = None

    def _hush(self, start: int, at: int) -> None:
        if self._quiet is None:
            self._quiet = at
        if at - self._quiet > self._pause:
            self._last = self._quiet
        if at - self._quiet >= self._gap:
            if self._quiet - start > self._shortest:
                self._found.append(Span(start, self._quiet))
            self._open(None)

    def _cut(self, start: int, at: int) -> None:
        """The span has become too long: end it at a pause, and go on after the pause if that is over."""
        over = self._pauses
        if self._at_longest_pause:
            pause = max(over, key=lambda p: p.end - p.start, default=None)
        else:
            pause = next((p for p in over if p.start == self._last), None)
        if pause is not None:
            end, resume = pause.start, pause.end
        else:
            end, resume = (at if self._last is None or self._at_longest_pause else self._last), None
        self._found.append(Span(start, end))
        self._open(resume)


def _padded(found: list[Span], n_samples: int, pad: float) -> list[Span]:
    """Spans with their margins; two whose margins would meet share what is between them."""
    starts, ends = [s.start for s in found], [s.end for s in found]
    for i in range(len(found)):
        if i == 0:
            starts[0] = int(max(0, starts[0] - pad))
        if i + 1 == len(found):
            ends[i] = int(min(n_samples, ends[i] + pad))
        elif starts[i + 1] - ends[i] < 2 * pad:
            half = (starts[i + 1] - ends[i]) // 2
            ends[i] += half
            starts[i + 1] -= half
        else:
            ends[i] = int(min(n_samples, ends[i] + pad))
            starts[i + 1] = int(max(0, starts[i + 1] - pad))
    return [Span(start, end) for start, end in zip(starts, ends, strict=True)]


def _samples(duration_ms: float) -> float:
    return SAMPLE_RATE * duration_ms / 1000
