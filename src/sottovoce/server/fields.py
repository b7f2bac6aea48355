"""What a transcription's form says -> what is asked of the recording, and how it is answered. Knows no file, no route.

OpenAI's fields mean what its contract says; beside them stands every option of ours, under its own name.
Source: openai-python types/audio/transcription_create_params.py, translation_create_params.py (3.3.1).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.server import forms
from sottovoce.server.failures import Kind, RequestError
from sottovoce.text.layout import PLAIN, Layout
from sottovoce.types import TEMPERATURES, Task

# of this route; the rest of its names are options
OPENAI = (
    *("model", "language", "languages", "prompt", "keywords", "response_format", "temperature", "include", "stream"),
    *("timestamp_granularities", "chunking_strategy", "known_speaker_names", "known_speaker_references"),
)
LISTS = ("languages", "keywords", "replacements", "clips", "suppress_tokens", "clean")
OF_FILES = ("known_speakers",)  # OpenAI's known_speaker_* bring them
READING = ("audio_stream", "channel", "channels", "end_s", "clean", "vad")
LAYOUT = tuple(f.name for f in fields(Layout) if f.name != "speakers")  # which is how many there are
OF_WORDS = ("max_line_width", "max_line_count", "max_words_per_line", "highlight_words", "word_cues")
KIND_BY_NAME = {f.name: str(f.type) for f in (*fields(Layout), *fields(Options))}
KNOWN = frozenset((*OPENAI, *READING, *LAYOUT, *(f.name for f in fields(Options)))) - set(OF_FILES)
CHUNKING = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms")
MOST_SPEAKERS = 16  # known by name; OpenAI takes four
IGNORED = "x-sottovoce-ignored"  # the header that names the fields that have changed nothing
DATA_URL = re.compile(r"data:[\w.+/;=\" -]*,", re.ASCII)
IDS = re.compile(r"\[[\d\s,]+\]")  # tokens, and not a text such as [music]
BAD = Kind(400)


class Format(StrEnum):
    """How a transcript is answered: OpenAI's ways, and after them ours."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"
    DIARIZED_JSON = "diarized_json"
    TSV = "tsv"
    ASS = "ass"
    LRC = "lrc"
    CSV = "csv"
    MD = "md"


STREAMED = (Format.JSON, Format.TEXT, Format.DIARIZED_JSON)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form asks for. name: the model as it was asked for, "" for the served one.

    words, segments: which of them verbose_json has. ignored: fields that were given and change nothing.
    """

    name: str
    request: Request
    format: Format = Format.JSON
    stream: bool = False
    words: bool = False
    segments: bool = True
    logprobs: bool = False
    layout: Layout = PLAIN
    ignored: tuple[str, ...] = ()

    @property
    def in_tokens(self) -> bool:
        """Is the use counted in tokens, as for OpenAI's younger models, or in seconds, as for whisper-1?"""
        return self.name.startswith("gpt-")


def wanted(given: Mapping[str, Any], *, translates: bool = False, ignores_unknown: bool = False) -> Wanted:
    """What the fields of a form (`forms.gathered`) ask for. translates: the route does.

    Raises OptionError, RequestError; both name the field.
    """
    values = {name: value for name, value in given.items() if value is not None}
    ignored = _unknown(values, ignores_unknown)
    name = forms.as_text("model", values.pop("model", ""))
    format = _format(values.pop("response_format", Format.JSON))
    stream = forms.as_bool("stream", values.pop("stream", False))
    if stream and format not in STREAMED:
        expected = f"one of {', '.join(STREAMED)} was expected; leave stream out"
        raise _bad("response_format", f"{format} was given with stream, {expected}")
    words, segments = _granularities(values, format)
    logprobs = _logprobs(values, format)
    ignored += _chunk(values)
    layout = Layout(**{n: typed(n, values.pop(n)) for n in LAYOUT if n in values})
    options = _options(values, translates) | _reading(values)
    assert not values, f"fields without a reader: {', '.join(values)}"
    if words or any(getattr(layout, n) for n in OF_WORDS):
        options["word_timestamps"] = True
    if (format is Format.DIARIZED_JSON or options.get("known_speakers")) and not options.get("channels"):
        options["diarize"] = True
    return Wanted(name, _request(options), format, stream, words, segments, logprobs, layout, tuple(ignored))


def typed(name: str, given: Any) -> Any:
    """The value of an option, of its kind, from a text. Raises OptionError."""
    kind = KIND_BY_NAME[name]
    if name in LISTS:
        return _list(name, given)
    if name == "temperature":
        return _temperature(given)
    if "None" in kind and forms.is_nothing(given):
        return None
    if kind.startswith("bool"):
        return forms.as_bool(name, given)
    if kind.startswith("int"):
        return forms.as_int(name, given)
    if kind.startswith("float"):
        return forms.as_float(name, given)
    if "tuple[int" in kind and (isinstance(given, list) or IDS.fullmatch(str(given))):
        return forms.as_list(name, given)
    return forms.as_text(name, given)


def _unknown(values: dict[str, Any], ignores: bool) -> list[str]:
    """Take out the fields that nobody knows. Raises RequestError for the first, unless they are to be ignored."""
    unknown = [name for name in values if name not in KNOWN]
    for name in unknown:
        del values[name]
    if unknown and not ignores:
        near = get_close_matches(unknown[0], KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(KNOWN))}"
        if unknown[0] in OF_FILES:
            hint = "pass known_speaker_names[] and known_speaker_references[]"
        raise _bad(unknown[0], f"there is no such field; {hint}")
    return unknown


def _format(given: Any) -> Format:
    try:
        return Format(given)
    except ValueError as e:
        raise _bad("response_format", f"{given!r} was given, one of {', '.join(Format)} was expected") from e


def _granularities(values: dict[str, Any], format: Format) -> tuple[bool, bool]:
    """(words, segments) of verbose_json; what is not asked for is left out, and nothing asked for is segments."""
    given = forms.as_list("timestamp_granularities", values.pop("timestamp_granularities", []))
    for one in given:
        if one not in ("word", "segment"):
            raise _bad("timestamp_granularities", f"{one!r} was given, word or segment was expected")
    if "word" in given and format is not Format.VERBOSE_JSON:
        remedy = "pass response_format=verbose_json; for srt and vtt there is word_timestamps"
        raise _bad("timestamp_granularities", f"word was given with {format}, verbose_json was expected; {remedy}")
    return "word" in given, "segment" in given or not given


def _logprobs(values: dict[str, Any], format: Format) -> bool:
    given = forms.as_list("include", values.pop("include", []))
    for one in given:
        if one != "logprobs":
            raise _bad("include", f"{one!r} was given, logprobs was expected")
    if given and format is not Format.JSON:
        raise _bad("include", f"logprobs was given with {format}, response_format=json was expected; leave one out")
    return bool(given)


def _chunk(values: dict[str, Any]) -> list[str]:
    """How the recording is cut: always where the detector of speech hears pauses. Returns what changes nothing.

    OpenAI's "auto" evens out loudness first; here it does not: that invents words where nobody speaks (docs/log.md).
    """
    given = forms.as_json("chunking_strategy", values.pop("chunking_strategy", None))
    if given is None or given == "auto":
        return []
    if not isinstance(given, dict) or given.get("type") != "server_vad":
        raise _bad("chunking_strategy", f"{given!r:.80} was given, auto or an object of type server_vad was expected")
    for name, value in given.items():
        where = f"chunking_strategy[{name}]"
        if name not in CHUNKING:
            raise _bad(where, f"there is no such field; known are {', '.join(CHUNKING)}")
        if name == "type":
            continue
        most = 1 if name == "threshold" else 60_000
        number = forms.as_float(where, value)
        if not 0 <= number <= most:
            raise _bad(where, f"{value!r} was given, 0 to {most} was expected; leave it out")
    return [f"chunking_strategy[{name}]" for name in CHUNKING[1:] if name in given]


def _options(values: dict[str, Any], translates: bool) -> dict[str, Any]:
    """Keywords of `Request.of`, but for those that say what is read; they are taken out of the values."""
    options = {n: typed(n, values.pop(n)) for n in KIND_BY_NAME if n in values and n not in LAYOUT}
    if "prompt" in values:
        if options.get("initial_prompt") is not None:
            raise _bad("prompt", "it was given with initial_prompt, which is the same; leave one of them out")
        options["initial_prompt"] = forms.as_text("prompt", values.pop("prompt"))
    if translates:
        if options.get("task", Task.TRANSLATE) != Task.TRANSLATE:
            raise _bad("task", f"{options['task']!r} was given to translate; use /v1/audio/transcriptions")
        options["task"] = Task.TRANSLATE
    if known := _known_speakers(values):
        options["known_speakers"] = known
    if "vad" in values:
        strategy = "parallel" if forms.as_bool("vad", values.pop("vad")) else "sequential"
        if options.setdefault("strategy", strategy) != strategy:
            raise _bad("vad", f"strategy {options['strategy']} was given too, which says the opposite; leave one out")
    return options


def _reading(values: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `Request.of` that say what is read of the recording; they are taken out of the values."""
    found: dict[str, Any] = {}
    if "audio_stream" in values:
        found["stream"] = forms.as_int("audio_stream", values.pop("audio_stream"))
        if found["stream"] < 0:
            raise _bad("audio_stream", f"{found['stream']} was given, 0 or more was expected; leave it out")
    if "channel" in values:
        found["channel"] = forms.as_int("channel", values.pop("channel"))
    if "end_s" in values:
        found["end_s"] = forms.as_float("end_s", values.pop("end_s"))
        if found["end_s"] <= 0:
            raise _bad("end_s", f"{found['end_s']} was given, seconds above 0 were expected; leave it out")
    if "clean" in values:
        steps = [part for one in forms.as_list("clean", values.pop("clean")) for part in str(one).split(",")]
        found["clean"] = [part.strip() for part in steps if part.strip()]
    if "channels" in values:
        given = forms.as_json("channels", values.pop("channels"))
        found["channels"] = given if isinstance(given, list) else forms.as_bool("channels", given)
    return found


def _request(options: dict[str, Any]) -> Request:
    try:
        return Request.of(options)
    except OptionError as e:
        if str(e).startswith("initial_prompt:"):
            raise OptionError(str(e).replace("initial_prompt:", "prompt:", 1)) from e
        raise


def _list(name: str, given: Any) -> list[Any]:
    """Never a text: of replacements that would be the path of a file."""
    given = forms.as_json(name, given)
    if name == "clips" and isinstance(given, list):
        given = ",".join(map(str, given)) if all(isinstance(one, str | int | float) for one in given) else given
    if isinstance(given, str) and name != "replacements":
        parts = [part.strip() for part in given.split(",") if part.strip()]
        return [forms.as_float(name, part) for part in parts] if name == "clips" else parts
    return forms.as_list(name, given)


def _temperature(given: Any) -> Any:
    """0, as OpenAI means it, climbs while the text does not pass the gates; a list is the ladder itself."""
    given = forms.as_json("temperature", given)
    if isinstance(given, list):
        return [forms.as_float("temperature", one) for one in given]
    if isinstance(given, str) and "," in given:
        return [forms.as_float("temperature", one) for one in given.split(",")]
    one = forms.as_float("temperature", given)
    return one or list(TEMPERATURES)


def _known_speakers(values: dict[str, Any]) -> list[tuple[str, bytes]]:
    names = forms.as_list("known_speaker_names", values.pop("known_speaker_names", []))
    urls = forms.as_list("known_speaker_references", values.pop("known_speaker_references", []))
    if len(names) != len(urls):
        remedy = "give a name and a recording of each"
        raise _bad("known_speaker_names", f"{len(names)} names and {len(urls)} references were given; {remedy}")
    if len(names) > MOST_SPEAKERS:
        raise _bad("known_speaker_names", f"{len(names)} were given, at most {MOST_SPEAKERS} were expected")
    return [(str(name), _sound(i, url)) for i, (name, url) in enumerate(zip(names, urls, strict=True))]


def _sound(i: int, url: Any) -> bytes:
    where = f"known_speaker_references[{i}]"
    head = DATA_URL.match(url) if isinstance(url, str) else None
    if head is None or not head[0].rstrip(",").endswith(";base64"):
        raise _bad(where, "a data URL was expected, such as data:audio/wav;base64,UklGR...; nothing else is fetched")
    try:
        sound = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as e:
        raise _bad(where, f"its base64 cannot be read ({e}); encode the recording again") from e
    if not sound:
        raise _bad(where, "it is empty; some seconds of one voice were expected")
    return sound


def _bad(param: str, what: str) -> RequestError:
    return RequestError(f"{param}: {what}", BAD, param)
