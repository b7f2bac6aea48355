"""What OpenAI's audio routes take and answer, for the document. What fields mean: fields.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sottovoce.server import document, wishes
from sottovoce.server.fields import KIND_BY_NAME, KNOWN, LISTS, OPENAI, Format
from sottovoce.server.wishes import Field

NUMBER, TEXT, WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}
WORDS = {"type": "array", "items": TEXT}
THEIRS = (
    wishes.MODEL,
    wishes.LANGUAGE,
    wishes.several("languages", wishes.WORD, "those that may be spoken"),
    wishes.text("prompt", "what was said before, or words to expect"),
    wishes.several("keywords", wishes.WORD, "terms that are preferred where they are possible"),
    wishes.choice("response_format", list(Format), "", default="json"),
    wishes.number("temperature", 0, 1, "0: the most probable words, and others where a window fails", default=0),
    Field("include", {"type": "array", "items": {"type": "string", "enum": ["logprobs"]}}, "what json has beside text"),
    Field(
        "timestamp_granularities",
        {"type": "array", "items": {"type": "string", "enum": ["word", "segment"]}},
        "what verbose_json has",
    ),
    Field(
        "chunking_strategy",
        {"anyOf": [{"type": "string"}, {"type": "object"}]},
        "auto, or {type: server_vad, threshold, prefix_padding_ms, silence_duration_ms}",
    ),
    Field("known_speaker_names", WORDS, "of diarized_json"),
    Field("known_speaker_references", WORDS, "a recording of each of them, as a data: URL"),
    wishes.flag("stream", "server-sent events: transcript.text.delta, transcript.text.done"),
)
USAGE = document.object_of({"type": TEXT}, {"seconds": NUMBER, "total_tokens": WHOLE})
SEGMENT = document.object_of({"start": NUMBER, "end": NUMBER, "text": TEXT})
SAID = document.object_of(
    {"text": TEXT},
    {
        "task": TEXT,
        "language": TEXT,
        "duration": NUMBER,
        "segments": {"type": "array", "items": SEGMENT},
        "words": {"type": "array", "items": document.object_of({"word": TEXT, "start": NUMBER, "end": NUMBER})},
        "logprobs": {"type": "array", "items": document.object_of({"token": TEXT, "logprob": NUMBER})},
        "usage": USAGE,
    },
)
EVENTS = "text/event-stream"
KINDS = ("text/plain", "text/vtt", "text/csv", "text/markdown")
ANSWERED = document.answers(
    {document.JSON: SAID, **dict.fromkeys(KINDS), EVENTS: None},
    "The transcript, in the format that was asked for",
    {"x-sottovoce-ignored": "fields that have changed nothing"},
)


def ours() -> list[Field]:
    """The options that stand beside OpenAI's fields, under their own names."""
    return [Field(name, _schema(name), "an option of ours") for name in sorted(KNOWN - set(OPENAI))]


def form(translates: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route."""
    own = [f for f in ours() if not (translates and f.name == "task")]
    return document.takes(document.form([*THEIRS, *own], {"file": "a recording of any container"}, ["file"]))


def _schema(name: str) -> Mapping[str, Any]:
    kind = KIND_BY_NAME.get(name, "")
    for prefix, schema in (("bool", {"type": "boolean"}), ("int", WHOLE), ("float", NUMBER)):
        if kind.startswith(prefix):
            return schema
    return WORDS if name in LISTS else TEXT
