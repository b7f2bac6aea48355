"""Whisper: recordings become transcripts. One flow, driven by threads or by an event loop, over one engine."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np

from sottovoce.audio import apart, cleanup, decode
from sottovoce.audio.source import Source, is_at_hand
from sottovoce.config import Config
from sottovoce.engine.device import Choice
from sottovoce.errors import AudioError, EngineError, OptionError
from sottovoce.flow import forced, longform, parallel
from sottovoce.flow.drive import Done, OnWindow, adrive, drive, drive_all
from sottovoce.flow.mending import Hook, mended
from sottovoce.flow.protocol import Event, Flow, Heard, Known, Opened
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.speakers import Diarizer, channel_names, labelled, side_by_side
from sottovoce.text.formats import Transcript
from sottovoce.text.replacing import rule
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import SAMPLE_RATE, Answer, Encode, Lane, Segment, Sound, Strategy, Window
from sottovoce.waking import Found, Pool, hold

if TYPE_CHECKING:
    from sottovoce.model.whisper import Whisper as Network

log = logging.getLogger(__name__)

K = TypeVar("K")
N_AHEAD = 2  # recordings of a list that are open beyond those that fill the rows, so that no row waits for one; readers
N_WAITING = 4  # windows of a recording beyond those that fill the rows, so that no row waits for one
OnProgress = Callable[[float, float], None]


class Left:
    """Has who asked for a recording left? Called as progress of reading it, it ends that."""

    def __init__(self) -> None:
        self.is_true = False

    def __call__(self, done_s: float, all_s: float | None) -> None:
        if self.is_true:
            raise AudioError("nobody waits for this recording any more")


class Whisper:
    """A Whisper model, loaded once and kept; recordings that come together are decoded together.

        model = Whisper("base")
        print(model.transcribe("talk.mp3").text)

    Calls may come from several threads; their windows share one batch. `close()` (or leaving a `with` block) gives the
    memory back; where several share a pool, the pool decides when (`open_pool`).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        compute: str | None = None,
        revision: str | None = None,
        threads: int | None = None,
        config: Config | None = None,
        on_download: Callable[[int, int, str], None] | None = None,
        pool: Pool[Found] | None = None,
        timeout_s: float = 0.0,
    ) -> None:
        """Load a model, from this disk or from the first source that serves it.

        model: a name (`sottovoce models list`), a Hugging Face repository id, a folder or a file; "base" if None.
        device: auto, cpu, cuda, cuda:N, mps. compute: auto, float32, bfloat16, float16, int8.
        threads: CPU threads; 0: as many as this process may use. What is None comes from `config`, or its defaults.
        on_download(n_done_bytes, n_all_bytes, source) is called while files are fetched; n_all_bytes: 0 if unknown.
        pool: where the model is awake already, or is loaded to stay; it is held there until `close()`. None: its own.
        timeout_s: how long to wait until a full pool has room.
        Raises ModelError (DownloadError), ConfigError, EngineError (BusyError: the pool is full of models in use).
        """
        given = {"model": None if model is None else os.fspath(model), "device": device, "compute": compute}
        self.config = (config or Config()).with_(**given, revision=revision, threads=threads)
        own = pool is None
        pool = Pool(idle_s=0.0) if pool is None else pool
        proves = False if own else None
        self._permit = hold(pool, self.config, proves=proves, timeout_s=timeout_s, on_download=on_download)
        found = self._permit.model
        self.choice: Choice = found.choice
        self.files = found.files
        self.dims = found.dims
        self._tokenizer = found.tokenizer
        self._checkpoint = found.checkpoint
        self._close = weakref.finalize(self, self._permit.release)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model as it was asked for."""
        return self.config.model

    @property
    def device(self) -> str:
        return self.choice.device

    @property
    def compute(self) -> str:
        """Precision: float32, bfloat16 or float16."""
        return self.choice.compute

    @property
    def is_multilingual(self) -> bool:
        return self._tokenizer.multilingual

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the model was trained on."""
        return self._tokenizer.language_codes if self.is_multilingual else ("en",)

    @property
    def n_together(self) -> int:
        """Windows that are decoded together, on all devices, where each has one beam."""
        return self._permit.model.n_together(1) * len(self._permit.model.devices)

    @property
    def network(self) -> Network:
        """The network, for surfaces that speak torch; the engine decodes with it, so it is to be read only.

        Raises EngineError where kernels compute, which have no modules.
        """
        if (network := getattr(self._permit.engines[0], "network", None)) is None:
            raise EngineError('compiled kernels compute this model; pass compute="float32" for its modules')
        return cast("Network", network)

    def close(self) -> None:
        """Stop the engine and give the memory back. What still waits is answered with an EngineError. Idempotent.

        In a pool that is shared the model stays awake for others.
        """
        self._close()

    def __enter__(self) -> Whisper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- transcribe -------------------------------------------------------------------------------------------------

    @overload
    def transcribe(self, source: list[Source] | tuple[Source, ...], **options: Any) -> list[Transcript]: ...
    @overload
    def transcribe(self, source: Source, **options: Any) -> Transcript: ...
    def transcribe(self, source: Any, **options: Any) -> Transcript | list[Transcript]:
        """The transcript of a recording; of a list of recordings, the transcripts, decoded together.

        source: a path, an http(s) URL, bytes, a binary file, or (N,) float32 samples at 16 kHz.
        options: the fields of `Options`; `stream`, `channel` choose what is read of a file, `clean` (any of highpass,
            denoise, loudness) what is done to the sound before it is heard. channels: True, or a name for each: every
            channel is transcribed by itself, and is one speaker.
        on_progress(position_s, duration_s) is called as windows end (one recording only).
        on_segment(segment) is called with each segment before it is told, and gives back what it becomes, or None to
        drop it, which `Transcript.dropped` tells; maybe in another thread.
        Raises AudioError, OptionError, EngineError.
        """
        if isinstance(source, list | tuple):
            return self._transcribe_list(source, options)
        on_progress: OnProgress | None = options.pop("on_progress", None)
        duration_s, flow = self.opened(source, Request.of(options))
        return self._driven(flow, duration_s, on_progress)

    def iter_segments(self, source: Source, **options: Any) -> Generator[Segment, None, Transcript]:
        """Yield the segments of a recording as they are known; the generator's return value is the transcript.

        With diarize, speakers are told apart before the first of them; with channels, all come when all are known.
        """
        run = self.events(self.opened(source, Request.of(options))[1])
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                transcript: Transcript = end.value
                return transcript
            if isinstance(event, Known):
                yield from event.segments

    async def atranscribe(self, source: Source, **options: Any) -> Transcript:
        """As `transcribe` of one recording, but for on_progress, without blocking the event loop.

        Cancelling frees its slots.
        """
        request, left = Request.of(options), Left()
        try:
            _, flow = await asyncio.to_thread(self.opened, source, request, left)
        except asyncio.CancelledError:
            left.is_true = True  # who is reading stops
            raise
        events = self.aevents(flow)
        try:
            async for event in events:
                if isinstance(event, Transcript):
                    return event
        finally:
            await events.aclose()
        raise AssertionError("a flow ends with its transcript")

    def align(self, source: Source, text: str | Sequence[str] | Transcript, **options: Any) -> Transcript:
        """A given text with the times of its words: forced alignment, whatever the recording's length.

        text: its lines are the segments of the result; a list of lines, or a transcript, keeps those that it has. Blank
        lines are left out. options: those of `transcribe`, but task, clips, multilingual, the sequential strategy,
        diarize, channels, replacements and on_segment, which are refused; the language is detected if left out.
        Text that nobody spoke is in `missing`, and its words have a probability of 0; speech that is in no line is in
        `dropped`. on_progress as `transcribe`.
        Raises AudioError, OptionError, EngineError.
        """
        on_progress: OnProgress | None = options.pop("on_progress", None)
        request = Request.of(options)
        for name, given in (("channels", request.channels), ("on_segment", request.on_segment)):
            if given:
                raise OptionError(f"{name}: {given!r} was given, which align cannot honour; leave it out")
        samples = self.load(source, request)
        flow = self.align_flow(samples, text, request.options)
        return self._driven(flow, len(samples) / SAMPLE_RATE, on_progress)

    def transcribe_each(self, sources: Iterable[tuple[K, Source]], **options: Any) -> Iterator[tuple[K, Event | Done]]:
        """Transcribe many recordings together; yield (key, event) as they are known and (key, Done) at each end.

        A recording that fails ends with Done(error=...); the others go on. sources is read as places come free: as many
        recordings are in memory as have windows in the batch, and two more. They are read in threads beside, but for
        pipes, whose other end may never come.
        """
        return self._each(sources, Request.of(options))

    def detect_language(self, source: Source, **options: Any) -> Heard:
        """The language of a recording: `.language` (code), `.probability`, `.probs` (by code)."""
        request = Request.of(options)
        samples = self.load(source, request)
        run = self.events(self.language_flow(samples, request.options))
        return next(event for event in run if isinstance(event, Heard))

    # --- the pieces, for the surfaces above --------------------------------------------------------------------------

    def load(
        self, source: Source, request: Request | None = None, on_progress: decode.Progress | None = None
    ) -> np.ndarray:
        """(N,) float32 samples at 16 kHz of a source, as far as the request needs them; on_progress as decode.load."""
        r = request or Request()
        samples = decode.load(source, stream=r.stream, channel=r.channel, end_s=r.end_s, on_progress=on_progress)
        return cleanup.cleaned(samples, r.clean)

    def opened(
        self, source: Source | apart.Channels, request: Request, on_progress: decode.Progress | None = None
    ) -> tuple[float, Flow]:
        """(seconds, the flow) of a source as the request wants it, with its speakers if they are to be told apart.

        source: of a request for channels, also what `apart.load` gave.
        """
        options = request.options
        if request.channels or isinstance(source, apart.Channels):
            sounds = source
            if not isinstance(sounds, apart.Channels):
                sounds = apart.load(sounds, stream=request.stream, end_s=request.end_s, on_progress=on_progress)
            timed = replace(options, word_timestamps=True)  # or what comes first is not told from what comes next
            flows = [self._unmended(cleanup.cleaned(sound, request.clean), timed) for sound in sounds.sounds]
            duration_s = len(sounds.sounds[0]) / SAMPLE_RATE
            names = ("SPEAKER_00",) if sounds.are_same else channel_names(request.channels, len(flows))
            flow = side_by_side(list(zip(names, flows, strict=True)))
            return duration_s, self._mended(flow, options, request.on_segment)
        samples = self.load(source, request, on_progress)
        if not options.diarize:
            return len(samples) / SAMPLE_RATE, self.flow(samples, options, request.on_segment)
        turns = self.diarizer.of(samples, options, on_progress)
        flow = labelled(self._unmended(samples, replace(options, word_timestamps=True)), turns, self.tokenizer)
        return len(samples) / SAMPLE_RATE, self._mended(flow, options, request.on_segment)

    @cached_property
    def diarizer(self) -> Diarizer:
        """What tells speakers apart, loaded when it is first asked for. Raises ModelError."""
        return Diarizer(self.config)

    def flow(self, samples: np.ndarray, options: Options, on_segment: Hook | None = None) -> Flow:
        """The flow that transcribes (N,) float32 samples at 16 kHz; `events` drives it. on_segment: as `transcribe`."""
        return self._mended(self._unmended(samples, options), options, on_segment)

    def _mended(self, flow: Flow, options: Options, on_segment: Hook | None) -> Flow:
        if not options.replacements and on_segment is None:
            return flow
        return mended(flow, [rule(*pair) for pair in options.replacements], on_segment)

    def _unmended(self, samples: np.ndarray, options: Options) -> Flow:
        if options.chosen_strategy is Strategy.SEQUENTIAL:
            if options.strategy is None:
                log.info("windows are decoded one after another, because of %s", ", ".join(options.sequential_only))
            return longform.transcribe(samples, options, self._checkpoint, self.mint())
        n_in_flight = self._permit.model.n_together(options.beam_size) + N_WAITING
        return parallel.transcribe(samples, options, self._checkpoint, self.mint(), n_in_flight)

    def language_flow(self, samples: np.ndarray, options: Options) -> Flow:
        """The flow that hears the language of (N,) float32 samples at 16 kHz; its transcript is empty."""
        return longform.detect_language(samples, options, self._checkpoint, self.mint())

    def align_flow(self, samples: np.ndarray, text: str | Sequence[str] | Transcript, options: Options) -> Flow:
        """The flow that aligns a text with (N,) float32 samples at 16 kHz; `events` drives it."""
        if isinstance(text, Transcript):
            text = [s.text for s in text.segments]
        lines = [line.strip() for line in (text.splitlines() if isinstance(text, str) else text)]
        n_in_flight = self._permit.model.n_together(options.beam_size) + N_WAITING
        what = [line for line in lines if line], options, self._checkpoint, self.mint(), n_in_flight
        return forced.align(samples, *what)

    def events(self, flow: Flow) -> Generator[Event, None, Transcript]:
        """Drive a flow in this thread."""
        return drive(flow, self._submit)

    def aevents(self, flow: Flow, on_window: OnWindow | None = None) -> AsyncGenerator[Event | Transcript, None]:
        """Drive a flow in the event loop; the last value is the transcript. Closing it withdraws its windows.

        on_window: told of each window as it is asked, with its answer to be.
        """
        return adrive(flow, self._submit, on_window)

    def events_each(
        self, flows: Iterable[tuple[K, Flow | Future[Flow]]], n_active: int
    ) -> Iterator[tuple[K, Event | Done]]:
        """Drive many flows together in this thread, at most n_active at once."""
        return drive_all(flows, self._submit, n_active)

    def ask(self, sound: Sound, ask: Any, key: str | None = None, lane: Lane = Lane.REQUEST) -> Future[Answer]:
        """Put one question about one window to the engine. key: a name that `mint` gave, to stay with warm sound."""
        key = key if key is not None and not isinstance(ask, Encode) else self.mint()
        return self._submit(Window(key, sound, ask, key), lane)

    def mint(self) -> str:
        """A key that no other window has."""
        return self._permit.mint()

    def tokenizer(self, language: str | None = None, task: str | None = None) -> Tokenizer:
        """The model's vocabulary, set to a language and a task."""
        return Tokenizer(self.dims.n_vocab, language, task)

    def _driven(self, flow: Flow, duration_s: float, on_progress: OnProgress | None) -> Transcript:
        """The transcript at a flow's end, driven in this thread."""
        run = self.events(flow)
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                transcript: Transcript = end.value
                return transcript
            if on_progress is not None and isinstance(event, Known):
                on_progress(event.position_s, duration_s)

    def _submit(self, window: Window, lane: Lane = Lane.REQUEST) -> Future[Answer]:
        return self._permit.submit(window, lane)

    def _each(self, sources: Iterable[tuple[K, Source]], request: Request) -> Iterator[tuple[K, Event | Done]]:
        left = Left()
        if request.options.diarize:
            self.diarizer.known(request.options)  # an error of its own is not each recording's; and files are read once

        def read(source: Source) -> Flow:
            duration_s, flow = self.opened(source, request, left)
            return self._opened(lambda: (duration_s, flow))

        def flows() -> Iterator[tuple[K, Flow | Future[Flow]]]:
            for key, source in sources:
                here = partial(self.opened, source, request)
                yield key, readers.submit(read, source) if is_at_hand(source) else self._opened(here)

        readers = ThreadPoolExecutor(N_AHEAD, "sottovoce-reader")
        try:
            yield from self.events_each(flows(), self._permit.model.n_together(request.options.beam_size) + N_AHEAD)
        finally:
            left.is_true = True  # who is reading stops at once, or the process could not end before the recording
            readers.shutdown(wait=False, cancel_futures=True)

    def _opened(self, read: Callable[[], tuple[float, Flow]]) -> Flow:
        duration_s, flow = read()
        yield Opened(duration_s)
        return (yield from flow)

    def _transcribe_list(self, sources: Sequence[Source], options: dict[str, Any]) -> list[Transcript]:
        found: dict[int, Transcript] = {}
        for i, said in self.transcribe_each(enumerate(sources), **options):
            if isinstance(said, Done):
                if said.error is not None:
                    raise said.error
                assert said.transcript is not None
                found[i] = said.transcript
        return [found[i] for i in range(len(sources))]
