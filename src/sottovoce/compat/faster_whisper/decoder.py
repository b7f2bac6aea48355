"""What the surface asks of our engine: which language, and which segments, one after another or of chunks together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np
from tqdm import tqdm

from sottovoce.api import Whisper
from sottovoce.audio import mel
from sottovoce.compat.faster_whisper.chunks import Chunk
from sottovoce.compat.faster_whisper.segments import Segment, segment_of
from sottovoce.errors import OptionError
from sottovoce.flow.drive import Done
from sottovoce.flow.protocol import Known
from sottovoce.options import Options
from sottovoce.types import SAMPLE_RATE, Detect, Detected, Sound
from sottovoce.types import Segment as Ours

Heard = tuple[str, float, list[tuple[str, float]]]  # language, its probability, (code, probability) of all

EMPTY_FRAME = -1.5  # what log-mel makes of silence that is its own loudest moment


class Decoder:
    """Drives our flows, and tells their segments as faster-whisper's: numbered from 1, none without text or length."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper

    # --- segments ----------------------------------------------------------------------------------------------------

    def segments(self, samples: np.ndarray, options: Options, log_progress: bool) -> Iterator[Segment]:
        """The segments of a recording as they are known."""
        n_told = 0
        bar = tqdm(total=len(samples) / SAMPLE_RATE, unit="seconds", disable=not log_progress)
        with bar, closing(self._whisper.events(self._whisper.flow(samples, options))) as events:
            for event in events:
                if isinstance(event, Known):
                    for segment in _told(event.segments):
                        n_told += 1
                        yield segment_of(segment, n_told)
                    bar.update(event.position_s - bar.n)

    def chunk_segments(
        self, chunks: Sequence[Chunk], options: Options, n_together: int, log_progress: bool
    ) -> Iterator[Segment]:
        """The segments of chunks, n_together of which are decoded at once; told in order, as soon as order allows."""
        flows = ((i, self._whisper.flow(chunk.samples, options)) for i, chunk in enumerate(chunks))
        waiting: dict[int, list[Ours]] = defaultdict(list)
        done: set[int] = set()
        front = n_told = 0
        with tqdm(total=len(chunks), disable=not log_progress) as bar:
            for i, event in self._whisper.events_each(flows, n_together):
                if isinstance(event, Known):
                    waiting[i] += _told(event.segments)
                elif isinstance(event, Done):
                    if event.error is not None:
                        raise event.error
                    done.add(i)
                    bar.update()
                while front < len(chunks):
                    for segment in waiting.pop(front, ()):
                        n_told += 1
                        yield segment_of(segment, n_told, chunks[front].offset_s)
                    if front not in done:
                        break
                    front += 1

    # --- language ----------------------------------------------------------------------------------------------------

    def vote(self, sounds: Iterable[Sound], threshold: float) -> Heard:
        """Listen until one language is probable enough, else take what most windows say.

        Raises OptionError (a ValueError) for an English-only model.
        """
        if not self._whisper.is_multilingual:
            raise OptionError("detect_language: this model knows English only; use a model without '.en'")
        tokenizer = self._whisper.tokenizer()
        votes: dict[str, list[float]] = defaultdict(list)
        probs: list[tuple[str, float]] = []
        for sound in sounds:
            answer = self._whisper.ask(sound, Detect(tokenizer.language_tokens)).result()
            assert isinstance(answer, Detected)
            probs = sorted(zip(tokenizer.language_codes, answer.probs, strict=True), key=lambda p: -p[1])
            language, probability = probs[0]
            if probability > threshold:
                return language, probability, probs
            votes[language].append(probability)
        language = max(votes, key=lambda code: len(votes[code]))
        return language, max(votes[language]), probs

    def sounds(self, samples: np.ndarray, start: int, n_windows: int) -> Iterator[Sound]:
        """The first windows from a frame on; from the beginning, if that lies beyond the end.

        One frame more than the recording has is heard, as in the reference, so that an empty one can be asked about.
        """
        n_frames = len(samples) // mel.HOP + 1
        start = start if start < n_frames - 1 else 0
        return self._windows(samples, start, min(n_frames, start + n_windows * mel.N_FRAMES))

    def chunk_sounds(self, chunks: Iterable[np.ndarray], n_windows: int) -> Iterator[Sound]:
        """The first windows of chunks laid end to end, each normalised by itself, and one empty frame after them."""
        n_mels = self._whisper.dims.n_mels
        parts: list[np.ndarray] = []
        n_frames = 0
        for samples in chunks:
            if n_frames >= n_windows * mel.N_FRAMES:
                break
            for sound in self._windows(samples, 0, len(samples) // mel.HOP):
                parts.append(mel.batch([sound], n_mels)[0, :, : sound.n_frames])
                n_frames += sound.n_frames
        parts.append(np.full((n_mels, 1), EMPTY_FRAME, np.float32))
        yield from feature_sounds(np.concatenate(parts, axis=1), n_windows)

    def _windows(self, samples: np.ndarray, start: int, end: int) -> Iterator[Sound]:
        peak = mel.peak(samples, self._whisper.dims.n_mels)
        for i in range(start, end, mel.N_FRAMES):
            size = min(mel.N_FRAMES, end - i)
            yield Sound(mel.cut(samples, i, size), peak=peak, n_frames=size)


def feature_sounds(features: np.ndarray, n_windows: int) -> Iterator[Sound]:
    """The first windows of (n_mels, F) features."""
    for i in range(0, min(features.shape[-1], n_windows * mel.N_FRAMES), mel.N_FRAMES):
        part = features[..., i : i + mel.N_FRAMES]
        yield Sound(mel=part, n_frames=part.shape[-1])


def _told(segments: Iterable[Ours]) -> list[Ours]:
    return [s for s in segments if s.text.strip()]
