"""How the service serves: one frozen Serving: field = flag = SOTTOVOCE_SERVE_* variable = key of the file = help line.

What is computed, and on what, is in `Config`; here is who may ask, how much, and where answers go.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sottovoce.config import MOST, OF_SERVING, Config, setting, settled, typed
from sottovoce.errors import ConfigError

ALIASES = (
    "whisper-1,gpt-transcribe,gpt-4o-transcribe,gpt-4o-mini-transcribe,gpt-4o-mini-transcribe-2025-12-15,"
    "gpt-4o-transcribe-diarize"
)
MB = 1_000_000
LEAST_KEY = 8  # letters of a key that a person thought of
TABLE = "serve"  # of the file of settings
CACHES = ("disk", "redis", "rediss", "unix", "memory", "none")


@dataclass(frozen=True, slots=True)
class Serving:
    """Settings of `sottovoce serve`. Raises ConfigError for a value that cannot be honoured."""

    host: str = setting("127.0.0.1", "address to listen on; beyond this machine only with keys")
    port: int = setting(8000, "port to listen on; 0: any that is free")
    aliases: str = setting(ALIASES, "names that mean the served model, by comma; NAME=MODEL means another")
    max_upload_mb: float = setting(1000.0, "largest request, megabytes")
    max_duration_s: float = setting(6 * 3600.0, "longest recording, seconds")
    manage_models: str = setting(
        "auto", "pull, unload and delete models over HTTP: auto (on loopback without keys), always, never"
    )
    decoders: int = setting(2, "processes that decode media")
    decode_s: float = setting(300.0, "longest time that decoding one recording may take, seconds")
    body_idle_s: float = setting(30.0, "longest time without a part of a request, seconds")
    fetch_urls: bool = setting(False, "fetch recordings by their URLs, of public addresses")
    fetch_hosts: str = setting("", "hosts, by comma, that URLs may name though their addresses are not public")
    fetch_s: float = setting(300.0, "longest time that fetching a URL may take, seconds")
    cache: str = setting(
        "disk", "where results are remembered: disk, disk:FOLDER, redis://HOST:PORT/N, memory, none; sealed, see README"
    )
    cache_mb: float = setting(500.0, "room for remembered results, megabytes; the least recently used go first")
    cache_days: float = setting(7.0, "days until a remembered result is forgotten")
    drain_s: float = setting(30.0, "seconds that running requests have to end after SIGTERM; a second one ends at once")
    idle_exit_s: float = setting(0.0, "seconds without a request after which the server ends; 0: never")
    lazy: bool = setting(False, "load the model when it is first asked for")
    unknown_fields: str = setting("refuse", "fields that nobody knows: refuse, or ignore with a warning header")
    # who may ask, how much, in which order
    config: str = setting("", "file of settings (TOML); variables and flags win over it")
    keys: str = setting("", "file of API keys, as `sottovoce keys` writes it; read again when it changes")
    api_key: str = setting("", "one API key for everybody; better as a variable, which others do not see", shown=False)
    open_to_all: bool = setting(False, "answer other machines, and web pages, also without keys")
    open_metrics: bool = setting(False, "answer /metrics also without a key")
    slots: int = setting(0, "recordings in work at once; 0: as many as the model decodes together, and two")
    queue: int = setting(256, "requests that may wait for a slot; more are answered 503")
    queue_wait_s: float = setting(300.0, "longest wait for a slot, seconds; then 503")
    cors_origins: str = setting("", "web pages that may ask, by comma, such as https://talk.example; *: any")
    hosts: str = setting("", "names of this server beside its address, by comma; only needed where there are no keys")
    proxies: str = setting("", "addresses of proxies whose X-Forwarded-* headers are believed, by comma")
    tls_cert: str = setting("", "certificate (PEM, with its chain): the service speaks HTTPS")
    tls_key: str = setting("", "private key of the certificate (PEM), if it is not in the same file")
    log_format: str = setting("auto", "lines of the log: json, human, or auto: human on a terminal")
    log_requests: bool = setting(True, "log a line for each request")
    log_text: bool = setting(False, "log what was said: the transcript, in its request's line")
    otlp: str = setting("", "address that traces are sent to by OTLP, such as http://localhost:4318; empty: nowhere")

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port: {self.port} was given, 0 to 65535 was expected; try 8000")
        if self.unknown_fields not in ("refuse", "ignore"):
            raise ConfigError(f"unknown_fields: {self.unknown_fields!r} was given, refuse or ignore was expected")
        if self.manage_models not in ("auto", "always", "never"):
            what = f"{self.manage_models!r} was given, auto, always or never was expected"
            raise ConfigError(f"manage_models: {what}; leave it out for auto")
        if self.log_format not in ("auto", "json", "human"):
            raise ConfigError(f"log_format: {self.log_format!r} was given, auto, json or human was expected")
        if self.otlp and not self.otlp.startswith(("http://", "https://")):
            raise ConfigError(f"otlp: {self.otlp!r} was given, a URL was expected, such as http://localhost:4318")
        for name in ("max_upload_mb", "max_duration_s", "decode_s", "body_idle_s", "fetch_s"):
            value = getattr(self, name)
            if not 0 < value <= MOST:
                raise ConfigError(f"{name}: {value} was given, more than 0 was expected; leave it out")
        if not 1 <= self.decoders <= 256:
            raise ConfigError(f"decoders: {self.decoders} was given, 1 to 256 was expected; leave it out")
        self._check_callers()
        self._check_cache()

    def _check_callers(self) -> None:
        if self.is_public and not (self.has_keys or self.open_to_all):
            raise ConfigError(
                f"host: {self.host or 'every address'} was given, which other machines reach, and no keys, so that "
                "anybody could ask; make keys (sottovoce keys add NAME --keys FILE, then serve --keys FILE), or set "
                "SOTTOVOCE_SERVE_API_KEY, or listen on 127.0.0.1, or pass --open-to-all"
            )
        if self.api_key and len(self.api_key) < LEAST_KEY:
            raise ConfigError(
                f"api_key: a key of {len(self.api_key)} letters was given, at least {LEAST_KEY} were expected; "
                "try the output of: openssl rand -hex 32"
            )
        for name, least in (("slots", 0), ("queue", 0), ("queue_wait_s", 0)):
            value = getattr(self, name)
            if not least <= value <= MOST:
                raise ConfigError(f"{name}: {value} was given, {least} to {MOST:.0f} was expected; leave it out")
        if self.tls_key and not self.tls_cert:
            raise ConfigError(f"tls_key: {self.tls_key} was given without a certificate; pass --tls-cert too")
        for origin in filter(None, (o.strip() for o in self.cors_origins.split(","))):
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
                raise ConfigError(
                    f"cors_origins: {origin!r} was given, scheme and host without a path were expected, such as "
                    "https://talk.example"
                )

    def _check_cache(self) -> None:
        scheme = self.cache.partition(":")[0]
        if scheme not in CACHES:
            known = "disk, disk:FOLDER, redis://HOST:PORT/N, memory or none"
            raise ConfigError(f"cache: {self.cache!r} was given, {known} was expected; leave it out for disk")
        for name, least in (("cache_mb", 0), ("cache_days", 0), ("drain_s", 0), ("idle_exit_s", 0)):
            value = getattr(self, name)
            if not least <= value <= MOST:
                raise ConfigError(f"{name}: {value} was given, {least} to {MOST:.0f} was expected; leave it out")

    @property
    def has_keys(self) -> bool:
        """Whether nobody is answered without a key."""
        return bool(self.keys or self.api_key)

    @property
    def is_public(self) -> bool:
        """Whether it listens where other machines reach it, as far as the address tells."""
        try:
            return not ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host != "localhost"

    @classmethod
    def from_env(cls, environ: Mapping[str, str], below: Mapping[str, Any] | None = None, **given: Any) -> Serving:
        """The settings of SOTTOVOCE_SERVE_* variables, overridden by what is given and is not None.

        below: what holds where neither says anything.
        """
        variables = {name: text for name, text in environ.items() if name.startswith(OF_SERVING)}
        return cls(**settled(fields(cls), OF_SERVING, variables, below or {}, given))

    @property
    def manages_models(self) -> bool:
        """May models be fetched, unloaded and deleted over HTTP?"""
        if self.manage_models == "auto":
            return bool(self.keys) or not self.is_public  # of callers with keys, only admins may: server/gate.py
        return self.manage_models == "always"

    def model_of(self, name: str, served: str) -> str:
        """The model that a request's name means; names that are no alias mean themselves."""
        for alias in self.aliases.split(","):
            known, _, model = alias.strip().partition("=")
            if known == name:
                return model or served
        return name


def read_settings(environ: Mapping[str, str], given: Mapping[str, Any]) -> tuple[Config, Serving]:
    """Both, of a command's flags by field, of variables, and of the file that one of them names; the first wins.

    Raises ConfigError.
    """
    of_serving = {f.name for f in fields(Serving)}
    flags = {name: value for name, value in given.items() if name in of_serving}
    others = {name: value for name, value in given.items() if name not in of_serving}
    path = flags.get("config") or environ.get(OF_SERVING + "CONFIG") or ""
    below, below_serving = _of_file(Path(path)) if path else ({}, {})
    return Config.from_env(environ, below, **others), Serving.from_env(environ, below_serving, **flags)


def _of_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file of settings says of Config, at its top, and of Serving, in its table [serve]. Raises ConfigError."""
    try:
        top = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"config: {path} cannot be read: {e}") from e
    table = top.pop(TABLE, {})
    if not isinstance(table, dict):
        raise ConfigError(f"config: {path}: {TABLE} is no table; write [{TABLE}] above the settings of the service")
    try:
        serving = typed(table, [f for f in fields(Serving) if f.name != "config"])
        return typed(top, fields(Config), f"; those of the service stand below [{TABLE}]"), serving
    except ConfigError as e:
        raise ConfigError(f"config: {path}: {e}") from e
