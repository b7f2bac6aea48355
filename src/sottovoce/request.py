"""Keywords in any usual spelling -> what is read of a source, and the Options. Knows no recording, no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.options import Options, clean_steps
from sottovoce.request_terms import keywords, replacements
from sottovoce.text.languages import language_tag
from sottovoce.types import Clean, Manner, Segment, Strategy, Task


@dataclass(frozen=True, slots=True)
class Request:
    """What is read of a source, and how it is transcribed. end_s: nothing after it is read.

    clean: what is done to the sound before it is heard; nothing, unless it is asked for.
    on_segment: is given each segment before anybody else, and gives back what it becomes; None drops it.
    channels: each by itself, one speaker each; the names of the speakers, or True.
    """

    options: Options = field(default_factory=Options)
    stream: int = 0
    channel: int | None = None
    end_s: float | None = None
    clean: tuple[Clean, ...] = ()
    on_segment: Callable[[Segment], Segment | None] | None = None
    channels: bool | tuple[str, ...] = False

    @classmethod
    def of(cls, given: dict[str, Any]) -> Request:
        """From keywords, in any usual spelling. Raises OptionError for one that is unknown, or has a wrong value."""
        values = dict(given)
        others = ("stream", "channel", "end_s", "channels", "on_segment")
        reading = {name: values.pop(name) for name in others if name in values}
        hook = reading.get("on_segment")
        if hook is not None and not callable(hook):
            raise OptionError(f"on_segment: {hook!r} was given, a function of a Segment was expected; leave it out")
        clean = clean_steps("clean", values.pop("clean", None))
        known = {f.name for f in (*fields(Options), *fields(cls)) if f.name != "options"}
        for name in values:
            if name not in known:
                meant = known | {*others, "clean"}
                near = get_close_matches(name, meant, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(meant))}"
                raise OptionError(f"{name}: there is no such option{hint}")
        for name, as_value in _READERS.items():
            if name in values:
                values[name] = as_value(name, values[name])
        if "channels" in reading:
            reading["channels"] = _channels("channels", reading["channels"])
        request = cls(Options(**values), clean=clean, **reading)
        if request.channels and (request.channel is not None or request.options.diarize):
            other = "diarize" if request.options.diarize else "channel"
            raise OptionError(f"channels: it was given with {other}, one of them was expected; leave one out")
        return request


def _ladder(name: str, given: Any) -> tuple[float, ...]:
    try:
        several = isinstance(given, Iterable) and not isinstance(given, str)
        return tuple(float(t) for t in given) if several else (float(given),)
    except (TypeError, ValueError) as e:
        raise OptionError(f"{name}: {given!r} was given, a number or a list of numbers was expected; pass 0") from e


def _task(name: str, given: Any) -> Task:
    try:
        return Task(given)
    except ValueError as e:
        raise OptionError(f"task: {given!r} was given, transcribe or translate was expected") from e


def _manner(name: str, given: Any) -> Manner:
    try:
        return Manner(given)
    except ValueError as e:
        raise OptionError(f"manner: {given!r} was given, openai or faster was expected; leave it out") from e


def _strategy(name: str, given: Any) -> Strategy | None:
    try:
        return None if given is None else Strategy(given)
    except ValueError as e:
        raise OptionError(f"strategy: {given!r} was given, parallel or sequential was expected; leave it out") from e


def _language(name: str, given: Any) -> str | None:
    return language_tag(given)


def _languages(name: str, given: Any) -> tuple[str, ...]:
    """A list, or a text with commas; each once, in the order given."""
    if given is None:
        return ()
    if isinstance(given, str):
        given = [part for part in given.split(",") if part.strip()]
    try:
        tags = [language_tag(part) for part in given]
    except (TypeError, AttributeError) as e:
        raise OptionError(
            f"{name}: {given!r} was given, a list of languages was expected; pass for example ['de', 'en']"
        ) from e
    if None in tags:
        raise OptionError(f"{name}: {given!r} was given, languages were expected; leave it out to have any detected")
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def _text(name: str, given: Any) -> Any:
    if given is None or isinstance(given, str):
        return given
    try:
        return tuple(int(t) for t in given)
    except (TypeError, ValueError) as e:
        raise OptionError(f"{name}: {given!r} was given, text or token ids were expected; leave it out") from e


def _ids(name: str, given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        given = [t for t in given.split(",") if t.strip()]
    try:
        return tuple(int(t) for t in given)
    except (TypeError, ValueError) as e:
        raise OptionError(f"{name}: {given!r} was given, token ids were expected; pass for example [-1]") from e


def _channels(name: str, given: Any) -> bool | tuple[str, ...]:
    if isinstance(given, bool) or given is None:
        return bool(given)
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if len(names) < 2 or len(set(names)) < len(names) or not all(isinstance(n, str) and n.strip() for n in names):
        expected = "True, or a name for each channel, none of them twice, was expected"
        raise OptionError(f"channels: {given!r} was given, {expected}; pass for example ['Anna', 'Bert']")
    return names


def _known(name: str, given: Any) -> tuple[tuple[str, Any], ...]:
    try:
        pairs = given.items() if isinstance(given, Mapping) else given or ()
        return tuple((speaker, source) for speaker, source in pairs)
    except (TypeError, ValueError) as e:
        expected = "recordings by name were expected"
        raise OptionError(f"{name}: {given!r} was given, {expected}; pass for example {{'Anna': 'anna.wav'}}") from e


def _clips(name: str, given: Any) -> tuple[tuple[float, float | None], ...]:
    """Pairs as they are; a flat list or text of seconds (start, end, start, ...) as openai-whisper writes them."""
    try:
        if isinstance(given, str):
            given = [float(t) for t in given.split(",") if t.strip()]
        if all(isinstance(c, Sequence) for c in given):
            return tuple((float(a), None if b is None else float(b)) for a, b in given)
        flat: list[float | None] = [float(t) for t in given]
    except (TypeError, ValueError) as e:
        raise OptionError(f"{name}: {given!r} was given, seconds were expected; pass for example '0,10.5,60'") from e
    if len(flat) % 2:
        flat.append(None)
    return tuple((a or 0.0, b) for a, b in zip(flat[::2], flat[1::2], strict=True))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "temperature": _ladder,
    "task": _task,
    "language": _language,
    "languages": _languages,
    "manner": _manner,
    "strategy": _strategy,
    "initial_prompt": _text,
    "prefix": _text,
    "suppress_tokens": _ids,
    "keywords": keywords,
    "replacements": replacements,
    "clips": _clips,
    "known_speakers": _known,
}
