"""How a recording is to be transcribed: every wish, checked once. Knows no recording, no model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import inf, isnan
from numbers import Integral, Real
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.types import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, TEMPERATURES, Clean, Manner, Strategy, Task


@dataclass(frozen=True, slots=True)
class Options:
    """How a recording is to be transcribed. Every field is a keyword of `Whisper.transcribe`.

    language: code or name; None or "auto" detects it. For Chinese a tag such as zh-Hant or zh-CN says in whose
    characters it is written. temperature: one number, or the ladder to climb.
    Thresholds may be None (gate off). prompt text is given as text or token ids.
    clips: (start_s, end_s) pairs; an end of None is the end of the recording; empty: all of it.
    hotwords: words to expect, given to every window as context. chunk_length: the longest window, seconds, at most 30.
    keywords: terms that the decoder prefers where the model holds them for possible, each with its weight (1 is usual,
    10 the most); they are no prompt, and there may be thousands. Without 0 in temperature nobody listens for them: a
    term is heard at 0. replacements: (from, to) pairs that the text is mended by, in this order:
    whole words, whatever their case; between slashes a regular expression, whose groups are \\1.
    languages: those that may be spoken. Detection chooses among them; with more than one, a recording that switches is
    followed, and each segment says its language. multilingual: the same among all languages; the sequential strategy
    hears one language a window, as faster-whisper does. language_detection_segments: windows that may be listened to
    until one language is more probable than language_detection_threshold (0.5), and then most windows decide. None:
    one; in the parallel strategy a few, from all over the recording, where the first leaves a doubt, weighed by their
    seconds of speech. seed: of sampling at temperatures above 0.
    manner: openai-whisper's habits, or faster-whisper's. whole_windows: the next window begins where one ends, and not
    after its last word, where word_timestamps would have it begin.
    strategy: None takes the parallel one, unless an option is set that only the sequential one can honour:
    condition_on_previous_text=True, for windows that are decoded together do not know each other's text, and
    hallucination_silence_threshold, which skips what is no speech as the parallel one always does, but by its own rule.
    Asking for both by name is refused. What means the same to both is honoured by both: a prefix stands before every
    window, clips are kept to, chunk_length is the longest window. condition_on_previous_text: None, as the strategy
    does. initial_prompt: before the first window, or before every one with carry_initial_prompt and in the parallel
    strategy. prompt_reset_on_temperature and whole_windows are about the window before: sequential.
    diarize: tell who speaks; words and segments have a speaker, and word_timestamps are on. speakers: how many there
    are, or min_speakers and max_speakers; None: as many as are told apart. known_speakers: (name, recording of him
    alone).
    Source of names: openai/whisper transcribe.py, decoding.py:DecodingOptions (20250625); defaults: of its command, but
    for beam_size, where one beam stands for its five.
    """

    language: str | None = None
    task: Task = Task.TRANSCRIBE
    temperature: tuple[float, ...] = TEMPERATURES
    beam_size: int = 1
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    max_tokens: int | None = None
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool | None = None
    prompt_reset_on_temperature: float = 0.5
    initial_prompt: str | tuple[int, ...] | None = None
    carry_initial_prompt: bool = False
    prefix: str | tuple[int, ...] | None = None
    suppress_tokens: tuple[int, ...] = (-1,)
    suppress_blank: bool = True
    without_timestamps: bool = False
    max_initial_timestamp: float | None = 1.0
    word_timestamps: bool = False
    prepend_punctuations: str = PREPEND_PUNCTUATIONS
    append_punctuations: str = APPEND_PUNCTUATIONS
    hallucination_silence_threshold: float | None = None
    clips: tuple[tuple[float, float | None], ...] = ()
    hotwords: str | None = None
    keywords: tuple[tuple[str, float], ...] = ()
    replacements: tuple[tuple[str, str], ...] = ()
    chunk_length: float = 30.0
    multilingual: bool = False
    languages: tuple[str, ...] = ()
    language_detection_segments: int | None = None
    language_detection_threshold: float = 0.5
    seed: int = 0
    manner: Manner = Manner.OPENAI
    whole_windows: bool = False
    strategy: Strategy | None = None
    diarize: bool = False
    speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    known_speakers: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _check_kinds(self)
        _check(bool(self.temperature), "temperature", self.temperature, "one number or more", "pass 0, or leave it out")
        for t in self.temperature:
            _check(0 <= t <= 2, "temperature", t, "numbers from 0 to 2", "pass 0 for the most probable words")
        for name in ("beam_size", "best_of"):
            n = getattr(self, name)
            _check(1 <= n <= 32, name, n, "a whole number from 1 to 32", "pass 1 for greedy decoding, 5 for care")
        good = round(self.beam_size * self.patience) >= 1 and (self.patience <= 1 or self.beam_size > 1)
        what = "a number that leaves one beam at least, above 1 only with beam_size above 1"
        _check(good, "patience", self.patience, what, "pass 1.0")
        if self.length_penalty is not None:
            good = 0 <= self.length_penalty <= 1 or self.manner is Manner.FASTER
            _check(good, "length_penalty", self.length_penalty, "a number from 0 to 1", "leave it out")
        good = 0.01 <= self.repetition_penalty <= 100
        _check(good, "repetition_penalty", self.repetition_penalty, "a number from 0.01 to 100", "pass 1")
        for name in ("max_initial_timestamp", "hallucination_silence_threshold"):
            seconds = getattr(self, name)
            _check(seconds is None or seconds >= 0, name, seconds, "seconds, 0 or more", "leave it out")
        _check(self.no_repeat_ngram_size >= 0, "no_repeat_ngram_size", self.no_repeat_ngram_size, "0 or more", "pass 0")
        if self.max_tokens is not None:
            _check(self.max_tokens > 0, "max_tokens", self.max_tokens, "a whole number above 0", "leave it out")
        good = 1 <= self.chunk_length <= 30
        _check(good, "chunk_length", self.chunk_length, "seconds from 1 to 30", "leave it out")
        n = self.language_detection_segments
        _check(n is None or n >= 1, "language_detection_segments", n, "1 or more", "leave it out")
        good = isinstance(self.languages, tuple) and all(isinstance(code, str) for code in self.languages)
        _check(good, "languages", self.languages, "a list of languages", "pass for example ['de', 'en']")
        good = not (self.languages and self.language)
        _check(good, "language", self.language, "nothing beside languages", "leave one of them out")
        for term, weight in self.keywords:
            good = any(c.isalnum() for c in term)
            _check(good, "keywords", term, "terms with letters or digits", "pass for example ['Sottovoce', 'Ada:2']")
            what = "weights above 0, at most 10"
            _check(0 < weight <= 10, "keywords", (term, weight), what, "leave the weight out, it is 1")
        for start, end in self.clips:
            good = 0 <= start < inf and (end is None or 0 <= end < inf)
            _check(good, "clips", (start, end), "pairs of seconds", "pass for example [(0, 10.5), (60, None)]")
        _check_speakers(self)
        for name in self.sequential_only:
            good, what = self.strategy is not Strategy.PARALLEL, "nothing in the parallel strategy"
            _check(good, name, getattr(self, name), what, "leave it out, or pass strategy='sequential'")

    @property
    def follows(self) -> bool:
        """May a segment be of another language than the one before it?"""
        return self.multilingual or len(set(self.languages)) > 1

    @property
    def sequential_only(self) -> tuple[str, ...]:
        """Names of the options that are set, and that the parallel strategy cannot honour."""
        skips = self.hallucination_silence_threshold is not None
        asked = {
            "condition_on_previous_text": self.condition_on_previous_text,
            "hallucination_silence_threshold": skips,
        }
        return tuple(name for name, given in asked.items() if given)

    @property
    def chosen_strategy(self) -> Strategy:
        """The strategy that is given, else the one that can honour the others."""
        return self.strategy or (Strategy.SEQUENTIAL if self.sequential_only else Strategy.PARALLEL)


def clean_steps(name: str, given: Any) -> tuple[Clean, ...]:
    """Names, in a list or by comma, each once, in the order in which they are done."""
    if isinstance(given, str):
        given = [part.strip().lower() for part in given.split(",") if part.strip()]
    known = ", ".join(Clean)
    try:
        chosen = {Clean(part) for part in given or ()}
    except (TypeError, ValueError) as e:
        near = get_close_matches(str(e).split("'")[1], list(Clean), n=1) if "'" in str(e) else []
        hint = f"did you mean {near[0]}?" if near else "pass for example ['highpass', 'denoise']"
        raise OptionError(f"{name}: {given!r} was given, a list of {known} was expected; {hint}") from e
    return tuple(step for step in Clean if step in chosen)


MOST_SPEAKERS = 100
WHOLE = frozenset(("beam_size", "best_of", "no_repeat_ngram_size", "max_tokens", "language_detection_segments", "seed"))
REAL = frozenset(
    (
        *("patience", "length_penalty", "repetition_penalty", "compression_ratio_threshold", "logprob_threshold"),
        *("no_speech_threshold", "prompt_reset_on_temperature", "max_initial_timestamp", "chunk_length"),
        *("hallucination_silence_threshold", "language_detection_threshold"),
    )
)
MAY_BE_NONE = frozenset(
    (
        *("max_tokens", "length_penalty", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"),
        *("max_initial_timestamp", "hallucination_silence_threshold", "language_detection_segments"),
    )
)


def _check_kinds(options: Options) -> None:
    """A number of the wrong kind would not fail here but in the engine, and there for everybody."""
    for name in WHOLE | REAL:
        value = getattr(options, name)
        if value is None and name in MAY_BE_NONE:
            continue
        if name in WHOLE:
            good, what = isinstance(value, Integral) and not isinstance(value, bool), "a whole number"
        else:
            good, what = isinstance(value, Real) and not isnan(value), "a number"
        _check(good, name, value, what, "leave it out")
    for name in ("initial_prompt", "prefix"):
        text = getattr(options, name)
        _check(text is None or isinstance(text, str | tuple), name, text, "text or token ids", "leave it out")
    for name, remedy in (("language", "pass a code such as 'en'"), ("hotwords", "join them by spaces")):
        given = getattr(options, name)
        _check(given is None or isinstance(given, str), name, given, "one text", remedy)
    for field in fields(options):
        if field.type == "bool":  # "no" would count as True
            given = getattr(options, field.name)
            _check(given in (True, False), field.name, given, "True or False", "leave it out")


def _check_speakers(options: Options) -> None:
    for name in ("speakers", "min_speakers", "max_speakers"):
        n = getattr(options, name)
        good = n is None or (isinstance(n, int) and n is not True and 1 <= n <= MOST_SPEAKERS)
        _check(good, name, n, f"a whole number from 1 to {MOST_SPEAKERS}", "leave it out")
    for name in ("speakers", "min_speakers", "max_speakers", "known_speakers"):
        value = getattr(options, name)
        _check(
            options.diarize or not value, name, value, "nothing without diarize", "pass diarize=True (--diarize) too"
        )
    bounded = options.min_speakers is not None or options.max_speakers is not None
    what = "either a number or bounds"
    _check(options.speakers is None or not bounded, "speakers", options.speakers, what, "leave the bounds out")
    least, most = options.min_speakers or 1, options.max_speakers or MOST_SPEAKERS
    _check(least <= most, "min_speakers", least, f"at most max_speakers ({most})", "leave one of them out")
    names = [name for name, _ in options.known_speakers]
    good = len(set(names)) == len(names)
    _check(good, "known_speakers", names, "every name once", "join the recordings of a speaker")
    good = all(isinstance(name, str) and name.strip() for name in names)
    _check(good, "known_speakers", names, "names", "pass for example {'Anna': 'anna.wav'}")


def _check(good: bool, name: str, given: object, expected: str, remedy: str) -> None:
    if not good:
        raise OptionError(f"{name}: {given!r} was given, {expected} was expected; {remedy}")
