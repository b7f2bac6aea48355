"""The form of a transcription, for the OpenAPI document: each field that fields.py reads, of its kind. Data only."""

from __future__ import annotations

from typing import Any

from sottovoce.server import fields
from sottovoce.server.fields import Format

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}
FLAG = {"type": "boolean"}
SOUND = {"type": "string", "format": "binary"}
DETECTOR = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["server_vad"]},
        "threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "prefix_padding_ms": {"type": "integer", "minimum": 0},
        "silence_duration_ms": {"type": "integer", "minimum": 0},
    },
    "required": ["type"],
}
ABOUT: dict[str, tuple[dict[str, Any], str]] = {
    "model": (TEXT, "an alias such as whisper-1, or a model on the service's disk; left out: the served one"),
    "language": (TEXT, "code or name of the language that is spoken; left out: it is detected"),
    "languages": (TEXTS, "languages that may be spoken; with more than one a recording that switches is followed"),
    "prompt": (TEXT, "text before the recording, in its language: names, style"),
    "keywords": (TEXTS, "terms that are preferred where the model holds them for possible; term:2 has a weight"),
    "response_format": ({"type": "string", "enum": [*Format], "default": "json"}, "how the transcript is answered"),
    "temperature": (NUMBER, "0 climbs while the text passes no gate; a number above 0, at most 2, is kept to"),
    "include": ({"type": "array", "items": {"type": "string", "enum": ["logprobs"]}}, "log-probabilities; with json"),
    "stream": ({**FLAG, "default": False}, "answer with server-sent events; with json, text and diarized_json"),
    "timestamp_granularities": (
        {"type": "array", "items": {"type": "string", "enum": ["word", "segment"]}},
        "what verbose_json has; left out: segments",
    ),
    "chunking_strategy": (
        {"anyOf": [{"type": "string", "enum": ["auto"]}, DETECTOR]},
        "taken from clients that send it: recordings are always cut in pauses",
    ),
    "known_speaker_names": (TEXTS, "names of speakers; with diarized_json"),
    "known_speaker_references": (TEXTS, "a recording of each, some seconds alone, as a data URL"),
    "audio_stream": (WHOLE, "which audio stream of the file"),
    "channel": (WHOLE, "which channel; left out: all of them together"),
    "channels": (FLAG, "each channel by itself, one speaker each"),
    "end_s": (NUMBER, "nothing after it is read, seconds"),
    "clean": (TEXTS, "what is done to the sound: highpass, denoise, loudness"),
    "vad": (FLAG, "true: as strategy=parallel, which looks for speech; false: as strategy=sequential"),
}


def form(translates: bool = False) -> dict[str, Any]:
    """The schema of the form; the recording is `file`, or where it may be fetched `url`."""
    properties: dict[str, Any] = {
        "file": {**SOUND, "description": "the recording, in any format that FFmpeg reads"},
        "url": {**TEXT, "description": "instead of file: where the recording is fetched, if the service does that"},
    }
    for name in sorted(fields.KNOWN, key=lambda name: (name not in ABOUT, name)):
        schema, about = ABOUT[name] if name in ABOUT else (_of_kind(name), "an option of sottovoce's")
        properties[name] = {**schema, "description": about}
    if translates:
        properties["task"] = {"type": "string", "enum": ["translate"], "description": "what this route does"}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def body(translates: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route that takes it."""
    content = {"multipart/form-data": {"schema": form(translates)}}
    return {"requestBody": {"required": True, "content": content}}


def texts(about: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: what it answers beside JSON."""
    kinds = ("text/plain", "text/vtt", "text/csv", "text/markdown", "text/event-stream")
    ignored = {"description": "names the fields that have changed nothing", "schema": TEXT}
    content: dict[str, Any] = {kind: {"schema": TEXT} for kind in kinds}
    content["text/event-stream"] = {"schema": {}}  # of the events' data
    return {200: {"description": about, "content": content, "headers": {fields.IGNORED: ignored}}}


def _of_kind(name: str) -> dict[str, Any]:
    kind = fields.KIND_BY_NAME[name]
    if name in fields.LISTS:
        return TEXTS
    return FLAG if kind.startswith("bool") else WHOLE if kind.startswith("int") else NUMBER if "float" in kind else TEXT
