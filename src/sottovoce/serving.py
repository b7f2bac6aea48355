"""How the service serves: one frozen Serving: field = flag = SOTTOVOCE_SERVE_* variable = key of the file = help line.

What is computed, and on what, is in `Config`; here is who may ask, how much, and where answers go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sottovoce.config import OF_SERVING, parse, setting
from sottovoce.errors import ConfigError

ALIASES = (
    "whisper-1,gpt-transcribe,gpt-4o-transcribe,gpt-4o-mini-transcribe,gpt-4o-mini-transcribe-2025-12-15,"
    "gpt-4o-transcribe-diarize"
)
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Serving:
    """Settings of `sottovoce serve`. Raises ConfigError for a value that cannot be honoured."""

    host: str = setting("127.0.0.1", "address to listen on; beyond this machine only with keys")
    port: int = setting(8000, "port to listen on; 0: any that is free")
    aliases: str = setting(ALIASES, "names that mean the served model, by comma; NAME=MODEL means another")
    max_upload_mb: float = setting(1000.0, "largest request, megabytes")
    max_duration_s: float = setting(6 * 3600.0, "longest recording, seconds")
    unknown_fields: str = setting("refuse", "fields that nobody knows: refuse, or ignore with a warning header")
    log_format: str = setting("auto", "lines of the log: json, human, or auto: human on a terminal")
    log_requests: bool = setting(True, "log a line for each request")
    log_text: bool = setting(False, "log what was said: the transcript, in its request's line")
    otlp: str = setting("", "address that traces are sent to by OTLP, such as http://localhost:4318; empty: nowhere")

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port: {self.port} was given, 0 to 65535 was expected; try 8000")
        if self.unknown_fields not in ("refuse", "ignore"):
            raise ConfigError(f"unknown_fields: {self.unknown_fields!r} was given, refuse or ignore was expected")
        if self.log_format not in ("auto", "json", "human"):
            raise ConfigError(f"log_format: {self.log_format!r} was given, auto, json or human was expected")
        if self.otlp and not self.otlp.startswith(("http://", "https://")):
            raise ConfigError(f"otlp: {self.otlp!r} was given, a URL was expected, such as http://localhost:4318")
        for name in ("max_upload_mb", "max_duration_s"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"{name}: {value} was given, more than 0 was expected; leave it out")

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **given: Any) -> Serving:
        """The settings of SOTTOVOCE_SERVE_* variables, overridden by what is given and is not None."""
        known = {f.name: f for f in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environ.items():
            if not variable.startswith(OF_SERVING):
                continue
            name = variable.removeprefix(OF_SERVING).lower()
            if name not in known:
                names = ", ".join(OF_SERVING + n.upper() for n in sorted(known))
                raise ConfigError(f"{variable} was set, but there is no such setting; known are {names}")
            values[name] = parse(variable, text, known[name].default)
        values.update({name: value for name, value in given.items() if value is not None})
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{unknown[0]}: there is no such setting; known are {', '.join(sorted(known))}")
        return cls(**values)

    def model_of(self, name: str, served: str) -> str:
        """The model that a request's name means; names that are no alias mean themselves."""
        for alias in self.aliases.split(","):
            known, _, model = alias.strip().partition("=")
            if known == name:
                return model or served
        return name
