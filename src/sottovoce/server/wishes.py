"""Texts of a form or of a query -> Request: the options that a route offers, as it reads them and as it documents them.

What reads files of the server (replacements, known_speakers) and what is no text (on_segment) is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sottovoce.errors import OptionError
from sottovoce.request import Request

Schema = Mapping[str, Any]

YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off")
WHOLE = re.compile(r"-?\d{1,9}")
REAL = re.compile(r"-?(\d{1,9}(\.\d{0,18})?|\.\d{1,18})([eE]-?\d{1,2})?")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form or a query. schema: of JSON; its type says how a text is read. about: one line of help."""

    name: str
    schema: Schema
    about: str = ""
    required: bool = False

    def read(self, given: Sequence[str]) -> Any:
        """The value of the texts that were given under its name. Raises OptionError, with the name first."""
        if self.schema["type"] == "array":
            return [_one(self.name, self.schema["items"], text) for text in given]
        if len(given) > 1:
            raise OptionError(f"{self.name}: it was given {len(given)} times, one was expected; leave the others out")
        return _one(self.name, self.schema, given[0])


def text(name: str, about: str, **more: Any) -> Field:
    return Field(name, {"type": "string", "maxLength": 10_000, **more}, about)


def choice(name: str, values: Iterable[str], about: str, **more: Any) -> Field:
    return Field(name, {"type": "string", "enum": [*values], **more}, about)


def flag(name: str, about: str, default: bool = False) -> Field:
    return Field(name, {"type": "boolean", "default": default}, about)


def number(name: str, least: float, most: float, about: str, **more: Any) -> Field:
    return Field(name, {"type": "number", "minimum": least, "maximum": most, **more}, about)


def whole(name: str, least: int, most: int, about: str, **more: Any) -> Field:
    return Field(name, {"type": "integer", "minimum": least, "maximum": most, **more}, about)


def several(name: str, items: Schema, about: str) -> Field:
    return Field(name, {"type": "array", "items": items}, about)


MOST_IN_ADDRESS = 500  # characters of a text
MOST_REPEATED, MOST_OF_REPEATED = 8, 100  # texts of one name, characters of each
WORD = {"type": "string", "maxLength": 1000}
MODEL = text("model", "name of a model, or an alias; the served one if left out", maxLength=200)
LANGUAGE = text("language", "code or name of the language; detected if left out", maxLength=40)
OPTIONS = (
    LANGUAGE,
    several("languages", WORD, "those that may be spoken; with more than one, a recording that switches is followed"),
    choice("task", ("transcribe", "translate"), "the words as spoken, or their English translation"),
    several("temperature", {"type": "number", "minimum": 0, "maximum": 2}, "one, or the ladder that doubts climb"),
    whole("beam_size", 1, 32, "1 takes the most probable word each time, 5 looks further"),
    whole("best_of", 1, 32, "candidates where the temperature is above 0"),
    text("initial_prompt", "what was said before, or words to expect"),
    several("keywords", WORD, "terms that are preferred where they are possible; term:2 has a weight"),
    text("hotwords", "words to expect, given to every window as context"),
    flag("word_timestamps", "the times of words"),
    flag("without_timestamps", "no times at all, which is a little faster"),
    flag("multilingual", "the language may change"),
    choice("strategy", ("parallel", "sequential"), "windows together, or one after another"),
    flag("condition_on_previous_text", "each window knows the text before it; sequential"),
    flag("diarize", "tell who speaks"),
    whole("speakers", 1, 100, "how many speak; only with diarize"),
    whole("min_speakers", 1, 100, "at least so many; only with diarize"),
    whole("max_speakers", 1, 100, "at most so many; only with diarize"),
    several("clean", {"type": "string", "enum": ["highpass", "denoise", "loudness"]}, "what is done to the sound"),
    whole("seed", 0, 2**31 - 1, "of sampling"),
)


def shortened(schema: Schema) -> dict[str, Any]:
    """A schema of what fits into an address: servers and proxies refuse one of more than some 64 kB."""
    short = dict(schema)
    if schema["type"] == "array":
        short |= {"items": shortened(schema["items"]), "maxItems": MOST_REPEATED}
        if "maxLength" in short["items"]:
            short["items"]["maxLength"] = MOST_OF_REPEATED
    elif schema["type"] == "string" and "enum" not in schema:
        short["maxLength"] = min(MOST_IN_ADDRESS, schema.get("maxLength", MOST_IN_ADDRESS))
    return short


def values(
    fields: Iterable[Field],
    given: Mapping[str, Sequence[str]],
    unknown: str = "refuse",
    queried: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """What texts mean, by field. Empty ones count as left out; names may end in []. unknown: refuse, or ignore.

    queried: those of them that stood in the address, where they must be short. Raises OptionError.
    """
    fields = list(fields)
    for field in fields:
        if said := [t for t in (queried or {}).get(field.name, ()) if t]:
            short = shortened(field.schema)
            if len(said) > short.get("maxItems", len(said)):
                what = f"{len(said)} were given in the address, {MOST_REPEATED} at most were expected"
                raise OptionError(f"{field.name}: {what}; send them as fields of a form")
            Field(field.name, short).read(said)
    known = {field.name: field for field in fields}
    found: dict[str, list[str]] = {}
    for name, texts in given.items():
        plain = name.removesuffix("[]")
        if plain not in known:
            if unknown == "ignore":
                continue
            raise OptionError(f"{name}: there is no such field; known are {', '.join(sorted(known))}")
        found.setdefault(plain, []).extend(t for t in texts if t)
    for field in known.values():
        if field.required and not found.get(field.name):
            raise OptionError(f"{field.name}: nothing was given, it is needed; {field.about}")
    return {name: known[name].read(texts) for name, texts in found.items() if texts}


def request_of(options: Mapping[str, Any]) -> Request:
    """A Request of values. Raises OptionError."""
    return Request.of(dict(options))


def _one(name: str, schema: Schema, given: str) -> Any:
    kind = schema["type"]
    if kind == "boolean":
        if given.lower() not in YES + NO:
            raise OptionError(f"{name}: {given[:80]!r} was given, true or false was expected; leave it out")
        return given.lower() in YES
    if kind in ("integer", "number"):
        what = "a whole number" if kind == "integer" else "a number"
        if not (WHOLE if kind == "integer" else REAL).fullmatch(given):
            raise OptionError(f"{name}: {given[:80]!r} was given, {what} was expected; leave it out")
        value = int(given) if kind == "integer" else float(given)
        least, most = schema.get("minimum", value), schema.get("maximum", value)
        if not least <= value <= most:
            raise OptionError(f"{name}: {given[:80]} was given, {what} from {least} to {most} was expected")
        return value
    if "enum" in schema and given not in schema["enum"]:
        known = ", ".join(schema["enum"])
        raise OptionError(f"{name}: {given[:80]!r} was given, one of {known} was expected; leave it out")
    if len(given) > schema.get("maxLength", len(given)):
        most = schema["maxLength"]
        raise OptionError(f"{name}: {len(given)} characters were given, {most} at most were expected; shorten it")
    return given
