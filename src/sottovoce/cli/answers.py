"""What servers are asked for and what they say, in our words: fields of a form, events, errors. Opens no connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sottovoce import errors
from sottovoce.errors import AudioError, EngineError, ModelError, OptionError, ServerError, SottovoceError
from sottovoce.flow.protocol import Event, Heard, Known, Opened
from sottovoce.text.formats import Transcript
from sottovoce.text.packed import made

KINDS: dict[str, Any] = {"opened": Opened, "heard": Heard, "known": Known, "transcript": Transcript}
BY_CODE: dict[str, type[SottovoceError]] = {
    "invalid_audio": AudioError,
    "model_not_found": ModelError,
    "engine_failed": EngineError,
    "busy": EngineError,
}


def parsed(text: bytes) -> dict[str, Any]:
    """The object that an answer holds; an empty one where it holds none."""
    try:
        given = json.loads(text)
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def said(line: bytes, where: str) -> Event | Transcript:
    """What a line of our own route says. Raises the error that it tells, ServerError for a line that says nothing."""
    given = parsed(line)
    if "error" in given:
        raise failure(500, given, where)
    for name, value in given.items():
        if name in KINDS:
            try:
                event: Event | Transcript = made(KINDS[name], value)
            except (KeyError, TypeError, ValueError, AttributeError) as e:
                raise ServerError(f"{where}: its answer is of another version ({e}); use the same on both sides") from e
            return event
    raise ServerError(f"{where}: its answer cannot be read; use the same version on both sides")


def failure(status: int, given: Mapping[str, Any], where: str) -> SottovoceError:
    """The error that an answer tells, as if it had happened here. given: {"error": {"message", "code", "param"}}."""
    error = given.get("error")
    error = error if isinstance(error, dict) else {}
    message = str(error.get("message") or f"status {status} was answered without a reason")
    named = getattr(errors, str(given.get("kind", "")), None)
    kind = BY_CODE.get(str(error.get("code")))
    if isinstance(named, type) and issubclass(named, SottovoceError):
        kind = named
    if kind is None and status in (400, 422) and error:
        kind = OptionError
    if kind is not None:
        return kind(message)
    remedy = {401: "; pass --api-key, or set SOTTOVOCE_API_KEY", 404: "; is it a server for transcriptions?"}
    return ServerError(f"{where}: {message}{remedy.get(status, '')}")


def openai_fields(options: Mapping[str, Any], model: str) -> tuple[str, list[tuple[str, str]]]:
    """Path and fields of OpenAI's route. Source: openai-python resources/audio (3.3.1)."""
    fields = [("model", model), ("response_format", "verbose_json")]
    if options.get("language"):
        fields.append(("language", str(options["language"])))
    if isinstance(options.get("initial_prompt"), str):
        fields.append(("prompt", options["initial_prompt"]))
    if first := (options.get("temperature") or (0,))[0]:
        fields.append(("temperature", str(first)))
    if str(options.get("task", "transcribe")) == "translate":
        return "/v1/audio/translations", fields
    if options.get("word_timestamps"):
        fields += [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
    return "/v1/audio/transcriptions", fields


def all_at_once(transcript: Transcript) -> list[Event | Transcript]:
    """What a run would have said, of a transcript that comes whole."""
    return [
        Opened(transcript.duration),
        Heard(transcript.language, transcript.language_probability, transcript.language_probs),
        Known(transcript.segments, transcript.duration),
        transcript,
    ]
