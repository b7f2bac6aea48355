"""Any container, file or stream -> float32 mono 16 kHz, through PyAV. Knows no model, no mel, no request.

Samples equal those of `ffmpeg -i source -f s16le -ac 1 -ar 16000` over 32768, which is how openai/whisper hears
(audio.py:load_audio, 20250625): gaps between timestamps are not filled, what a container says to skip is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import av
import av.error
import av.filter
import numpy as np

from sottovoce.audio.source import Source, duration_s, name_of, opened, why
from sottovoce.errors import AudioError, OptionError
from sottovoce.types import SAMPLE_RATE

logger = logging.getLogger(__name__)

Progress = Callable[[float, float | None], None]  # seconds of sound decoded, seconds in all if the container says

FULL_SCALE = 32768  # of 16-bit samples
PROGRESS_S = 10  # sound between two calls of on_progress


@dataclass(frozen=True, slots=True)
class Track:
    """One audio stream of a recording. index: as `stream` of load. duration_s, language: None if not written there."""

    index: int
    codec: str
    channels: int
    sample_rate_hz: int
    duration_s: float | None
    language: str | None


def load(
    source: Source,
    *,
    stream: int = 0,
    channel: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """The sound of a recording.

    source: a path, an http(s) URL, the bytes of a media file, a binary file object (a pipe will do), or samples:
        (N,) floats at 16 kHz, or int16 or int32, which are scaled.
    stream: which audio stream, from 0. channel: only this one, from 0; None mixes all of them down, as FFmpeg does.
    start_s, end_s: only this part; what lies before is decoded and dropped, what lies after is not read.
    Returns (N,) float32 in [-1, 1), 16 kHz, N > 0. Memory: 6 bytes a sample while decoding, 4 after.
    Raises AudioError if the source cannot be opened, is not media, or holds no sound. What is broken in the middle is
    left out with a warning.
    """
    _check_part(start_s, end_s)
    if hasattr(source, "__array__"):
        samples = _from_array(np.asarray(source), stream, channel)
        samples = samples[round(start_s * SAMPLE_RATE) : None if end_s is None else round(end_s * SAMPLE_RATE)]
        return _some(samples, f"samples of {samples.dtype}", start_s)
    pcm = bytearray()
    with closing(_pcm(source, stream, channel, start_s, end_s, on_progress)) as pieces:
        for piece in pieces:
            pcm += piece.data
    return _some(_to_float(np.frombuffer(pcm, np.int16)), name_of(source), start_s)


def blocks(
    source: Source, *, stream: int = 0, channel: int | None = None, start_s: float = 0.0, end_s: float | None = None
) -> Iterator[np.ndarray]:
    """The sound of a recording as it is decoded: what `load` returns, in pieces of some hundred samples or more.

    Raises AudioError as `load` does.
    """
    _check_part(start_s, end_s)
    if hasattr(source, "__array__"):
        yield load(source, stream=stream, channel=channel, start_s=start_s, end_s=end_s)
        return
    with closing(_pcm(source, stream, channel, start_s, end_s, None)) as pieces:
        for piece in pieces:
            yield _to_float(piece)


def probe(source: Source) -> tuple[Track, ...]:
    """The audio streams of a recording, read from its header. A file object that cannot seek is used up by it.

    Raises AudioError as `load` does.
    """
    with opened(source) as container:
        return tuple(
            Track(
                index=i,
                codec=str(track.codec_context.name),
                channels=len(track.codec_context.layout.channels),
                sample_rate_hz=int(track.codec_context.sample_rate),
                duration_s=duration_s(container, track),
                language=track.language if track.language not in (None, "und") else None,
            )
            for i, track in enumerate(container.streams.audio)
        )


# --- samples that are given ------------------------------------------------------------------------------------------


def _from_array(given: np.ndarray, stream: int, channel: int | None) -> np.ndarray:
    what = f"an array of shape {given.shape} and {given.dtype}"
    if given.ndim != 1:
        raise AudioError(
            f"{what} was given, (N,) samples of one channel were expected; pass one channel (samples[:, 0] or "
            "samples[0]) or their mean, or pass the file itself and choose with channel"
        )
    if stream != 0 or channel not in (None, 0):
        raise AudioError(f"stream {stream}, channel {channel} of {what} were asked for, but it has one; leave both out")
    if given.dtype in (np.int16, np.int32):
        return given.astype(np.float32) / -float(np.iinfo(given.dtype).min)
    if not np.issubdtype(given.dtype, np.floating):
        raise AudioError(f"{what} was given, floats in [-1, 1), int16 or int32 were expected; convert the samples")
    samples = np.ascontiguousarray(given, np.float32)
    if not np.isfinite(samples).all():
        i = int(np.argmin(np.isfinite(samples)))
        raise AudioError(f"{what} holds {samples[i]} at {i}, finite samples were expected; mend or drop those samples")
    return samples


def _some(samples: np.ndarray, name: str, start_s: float) -> np.ndarray:
    if not samples.size:
        where = f" after {start_s} s" if start_s else ""
        raise AudioError(f"{name}: no sound was found{where} (0 samples), a recording was expected; check the file")
    return samples


def _to_float(pcm: np.ndarray) -> np.ndarray:
    samples = pcm.astype(np.float32)
    samples /= FULL_SCALE
    return samples


def _check_part(start_s: float, end_s: float | None) -> None:
    if not start_s >= 0:
        raise OptionError(f"start_s: {start_s} was given, 0 or more was expected; leave it out")
    if end_s is not None and not end_s > start_s:
        raise OptionError(f"end_s: {end_s} was given, more than start_s ({start_s}) was expected; leave it out")


# --- decoding --------------------------------------------------------------------------------------------------------


def _pcm(
    source: Source,
    stream: int,
    channel: int | None,
    start_s: float,
    end_s: float | None,
    on_progress: Progress | None,
) -> Generator[np.ndarray]:
    """Pieces of int16 mono 16 kHz between start and end."""
    start = round(start_s * SAMPLE_RATE)
    end = None if end_s is None else round(end_s * SAMPLE_RATE)
    n = reported = 0  # samples
    name = name_of(source)
    with opened(source) as container:
        tracks = container.streams.audio
        if not 0 <= stream < len(tracks):
            raise AudioError(
                f"{name}: audio stream {stream} was asked for, but there {_are(len(tracks), 'audio stream')}, counted "
                "from 0; choose another"
            )
        total_s = duration_s(container, tracks[stream])
        for piece in _mixed(_frames(container, tracks[stream], name), channel, name):
            part = piece[max(0, start - n) : None if end is None else max(0, end - n)]
            n += piece.size
            if part.size:
                yield part
            if on_progress and n - reported >= PROGRESS_S * SAMPLE_RATE:
                reported = n
                on_progress(n / SAMPLE_RATE, total_s)
            if end is not None and n >= end:
                break
    if on_progress:
        on_progress(n / SAMPLE_RATE, total_s)


def _frames(container: Any, track: Any, name: str) -> Iterator[Any]:
    """Decoded frames; broken packets are left out and logged."""
    n_good = n_broken = 0
    must_be_finite = track.codec_context.name.startswith("pcm_f")
    for packet in _packets(container, track, name):
        try:
            frames = packet.decode()
        except av.error.EOFError:
            continue  # the decoder was emptied before
        except av.error.FFmpegError:
            n_broken += 1
            continue
        for frame in frames:
            if must_be_finite and not np.isfinite(frame.to_ndarray()).all():
                raise AudioError(
                    f"{name}: NaN or infinite samples were found, finite ones were expected; export the file again"
                )
            n_good += 1
            yield frame
    if not n_good:
        what = f"all {n_broken} packets are broken" if n_broken else "no sound was found (0 samples)"
        raise AudioError(f"{name}: {what}, a recording was expected; check how the file was made")
    if n_broken:
        logger.warning("%s: %d packets are broken and were left out", name, n_broken)


def _packets(container: Any, track: Any, name: str) -> Iterator[Any]:
    """Packets up to the end, or to where the container breaks; the last one is empty and makes the decoder give all."""
    try:
        while True:
            try:
                yield from container.demux(track)
                return
            except IndexError:
                continue  # a packet of a stream that began later, of which PyAV does not know; the next is another's
    except (OSError, av.error.ExitError) as e:
        raise AudioError(f"{name}: the recording could not be read to its end ({why(e)}); try again") from e
    except av.error.FFmpegError as e:
        logger.warning("%s: the container is broken, and its sound from there on is missing (%s)", name, why(e))
        last = av.Packet()
        last.stream = track
        yield last


def _mixed(frames: Iterable[Any], channel: int | None, name: str) -> Iterator[np.ndarray]:
    """Frames -> int16 mono 16 kHz. A recording may change its rate or channels on its way; so does the graph."""
    graph: Any = None
    kind: tuple[str, str, int] | None = None
    for frame in frames:
        n_channels = len(frame.layout.channels)
        if channel is not None and not 0 <= channel < n_channels:
            raise AudioError(
                f"{name}: channel {channel} was asked for, but there {_are(n_channels, 'channel')}, counted from 0; "
                "choose another, or leave it out to mix them all"
            )
        if kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            yield from _drain(graph)
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            graph = _graph(frame, channel, n_channels)
        graph.push(frame)
        yield from _pull(graph)
    yield from _drain(graph)


def _graph(frame: Any, channel: int | None, n_channels: int) -> Any:
    """What `ffmpeg -ac 1 -ar 16000 -f s16le` builds: mix, rate and width are converted in one pass."""
    mix = None if channel is None else f"mono|c0=c{channel}"
    try:
        return _link(frame, mix)
    except av.error.FFmpegError:
        if mix:
            raise
        # so many channels that FFmpeg knows no places for them: every one counts the same
        return _link(frame, "mono|c0=" + "+".join(f"{1 / n_channels:.9f}*c{i}" for i in range(n_channels)))


def _link(frame: Any, mix: str | None) -> Any:
    graph = av.filter.Graph()
    nodes = [
        graph.add(
            "abuffer",
            sample_rate=str(frame.sample_rate),
            sample_fmt=frame.format.name,
            channel_layout=frame.layout.name,
            time_base=str(frame.time_base or f"1/{frame.sample_rate}"),
        )
    ]
    if mix:
        nodes.append(graph.add("pan", mix))
    nodes.append(graph.add("aformat", sample_rates=str(SAMPLE_RATE), sample_fmts="s16", channel_layouts="mono"))
    nodes.append(graph.add("abuffersink"))
    for before, after in pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return graph


def _drain(graph: Any) -> Iterator[np.ndarray]:
    if graph is not None:
        graph.push(None)
        yield from _pull(graph)


def _pull(graph: Any) -> Iterator[np.ndarray]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield np.frombuffer(frame.planes[0], np.int16, frame.samples)  # to_ndarray costs as much as all else


def _are(n: int, noun: str) -> str:
    return f"is {n} {noun}" if n == 1 else f"are {n} {noun}s"
