"""Who speaks when, by voices that are told apart or by channels; and a flow whose segments know it.

Turns are found before the first window is decoded, so that segments come with their speakers, and final.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sottovoce.audio import decode, diarization
from sottovoce.audio.clusters import Number
from sottovoce.audio.onnx import session
from sottovoce.audio.source import Source, name_of
from sottovoce.audio.voices import Voices
from sottovoce.config import Config
from sottovoce.errors import AudioError, OptionError
from sottovoce.flow.protocol import Event, Flow, Heard, Known
from sottovoce.flow.switching import by_language
from sottovoce.flow.through import through
from sottovoce.model import hub, networks
from sottovoce.model.pickled import read_pickled
from sottovoce.options import Options
from sottovoce.text.formats import Transcript
from sottovoce.text.speakers import Speakers, label, merged, speaker_name
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.threads import n_threads
from sottovoce.types import SAMPLE_RATE, Segment, Turn

__all__ = ["Diarizer", "channel_names", "diarize", "labelled", "side_by_side"]

log = logging.getLogger(__name__)

# cosine of a known voice and a speaker's: readers' own 0.84 and more in 99 of 100 cases, others' at most 0.73 (samples
# of 3 to 10 s, 500 and 3260 pairs, 2026-11)
SAME_VOICE = 0.80
MOST = 1 << 30
OnDownload = Callable[[int, int, str], None]
OnProgress = Callable[[float, float], None]
MakeTokenizer = Callable[[str | None], Tokenizer]


class Diarizer:
    """The networks that tell who speaks when, loaded once. Calls may come from several threads."""

    def __init__(self, config: Config | None = None, on_download: OnDownload | None = None) -> None:
        """Load the networks, from this disk or from the first source that serves them. Raises ModelError."""
        config = config or Config()
        n = config.threads or n_threads()
        at = {network: hub.fetch_network(network, config, on_download).path for network in networks.NETWORKS}
        content, _ = read_pickled(at[networks.VOICES])
        state = content["model_state"]  # its hash is known, and so is what is in it
        self._voices = Voices({name: tensor.read().float32() for name, tensor in state.items()}, n)
        self._segmentation = session(at[networks.SEGMENTATION], n)
        self._known: tuple[tuple[tuple[str, Any], ...], Mapping[str, np.ndarray]] | None = None

    def turns(
        self,
        source: Source,
        *,
        speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        known_speakers: Mapping[str, Source] | Sequence[tuple[str, Source]] = (),
        on_progress: OnProgress | None = None,
    ) -> tuple[Turn, ...]:
        """Who speaks when in a recording, by time; turns overlap where several speak.

        speakers: how many there are; or min_speakers and max_speakers; None: as many as are told apart.
        known_speakers: name and a recording of him alone, a few seconds at least; whose voice is found is called so.
        on_progress(done_s, all_s) is called as sound is heard; what it raises ends the work.
        Raises AudioError, OptionError.
        """
        known = tuple(known_speakers.items()) if isinstance(known_speakers, Mapping) else tuple(known_speakers)
        options = Options(
            diarize=True,
            speakers=speakers,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            known_speakers=known,
        )
        return self.of(decode.load(source), options, on_progress)

    def of(self, samples: np.ndarray, options: Options, on_progress: OnProgress | None = None) -> tuple[Turn, ...]:
        """`turns` of (N,) float32 samples at 16 kHz, as options ask for them."""
        known = self.known(options)
        least = options.speakers or options.min_speakers or 1
        number = Number(least, options.speakers or options.max_speakers or MOST)
        found = diarization.diarize(samples, self._segmentation, self._voices, number, on_progress)
        names = _names(found.voices, known)
        log.info("%d speakers in %.1f s: %s", len(names), samples.size / SAMPLE_RATE, ", ".join(names))
        return tuple(
            Turn(turn.start / SAMPLE_RATE, turn.end / SAMPLE_RATE, names[turn.speaker]) for turn in found.turns
        )

    def known(self, options: Options) -> Mapping[str, np.ndarray]:
        """The voices of known speakers, heard once for all recordings with the same options. Raises AudioError."""
        if self._known is None or self._known[0] is not options.known_speakers:
            voices = {name: self._voice(name, source) for name, source in options.known_speakers}
            self._known = options.known_speakers, voices
            return voices
        return self._known[1]

    def _voice(self, name: str, source: Source) -> np.ndarray:
        found = diarization.diarize(decode.load(source), self._segmentation, self._voices, Number(1, 1))
        if not found.turns:
            what = f"known speaker {name}: nobody speaks in {name_of(source)}"
            raise AudioError(f"{what}, some seconds of a voice were expected; give another recording")
        voice: np.ndarray = found.voices[0]
        return voice


def diarize(source: Source, *, config: Config | None = None, **wishes: Any) -> tuple[Turn, ...]:
    """Who speaks when in a recording. wishes: keywords of `Diarizer.turns`; for many recordings, keep a Diarizer."""
    return Diarizer(config).turns(source, **wishes)


def _names(voices: np.ndarray, known: Mapping[str, np.ndarray]) -> list[str]:
    """What each speaker is called: by the known voice that is most like his, each of them once."""
    names = [speaker_name(i) for i in range(len(voices))]
    pairs = sorted(((float(v @ k), i, name) for i, v in enumerate(voices) for name, k in known.items()), reverse=True)
    given: set[int] = set()
    for likeness, i, name in pairs:
        log.info("speaker %d is like %s: %.2f", i, name, likeness)
        if likeness >= SAME_VOICE and i not in given and name not in names:
            names[i] = name
            given.add(i)
    return names


def labelled(flow: Flow, turns: Sequence[Turn], tokenizer: MakeTokenizer) -> Flow:
    """A flow's segments with their speakers, parted where these change. Its segments have words with times.

    tokenizer(language): of the model.
    """
    asked = Speakers(turns)
    language: str | None = None
    found: list[Segment] = []

    def change(said: Event) -> Event:
        nonlocal language
        if isinstance(said, Heard):
            language = said.language
        elif isinstance(said, Known):
            segments = label(said.segments, asked, tokenizer(language), len(found))
            found.extend(segments)
            return Known(tuple(segments), said.position_s)
        return said

    transcript = yield from through(flow, change)
    return replace(transcript, segments=tuple(found))


def side_by_side(flows: Sequence[tuple[str, Flow]]) -> Flow:
    """Flows of channels as one of the recording, whose segments come when all channels have been heard."""
    done: list[Transcript] = []
    said_language = False

    def change(said: Event) -> Event | None:
        nonlocal said_language
        if isinstance(said, Known):
            before_s = sum(transcript.duration for transcript in done)
            return Known((), (before_s + said.position_s) / len(flows))
        if isinstance(said, Heard) and said_language:
            return None
        said_language = said_language or isinstance(said, Heard)
        return said

    for _, flow in flows:
        done.append((yield from through(flow, change)))
    differ = len({transcript.language for transcript in done if transcript.segments}) > 1
    named = [
        (name, [replace(s, language=s.language or one.language) for s in one.segments] if differ else one.segments)
        for (name, _), one in zip(flows, done, strict=True)
    ]
    segments = tuple(merged(named))
    most = max(done, key=lambda transcript: len(transcript.text))
    yield Known(segments, most.duration)
    shares = by_language(segments)
    coverages = [transcript.coverage for transcript in done if transcript.coverage is not None]
    dropped = [one for transcript in done for one in transcript.dropped]
    return replace(
        most,
        text="".join(segment.text for segment in segments),
        segments=segments,
        language=next(iter(shares), most.language),
        languages=shares,
        coverage=min(coverages) if coverages else None,
        dropped=tuple(sorted(dropped, key=lambda one: one.start)),
    )


def channel_names(given: bool | Sequence[str], n: int) -> tuple[str, ...]:
    """Names of n channels: those that are given, left and right of two, else by number. Raises OptionError."""
    if isinstance(given, Sequence):
        if len(given) != n:
            what = f"{len(given)} names ({', '.join(given)}) were given, {n} were expected, one for each channel"
            raise OptionError(f"channels: {what}; pass True for left and right")
        return tuple(given)
    return ("left", "right") if n == 2 else tuple(f"channel {i}" for i in range(n))
