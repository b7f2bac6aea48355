"""API keys: how they are made, kept in a file and recognised. Knows no request.

Kept is the SHA-256 of a key, not the key. A slow hash with salt is for passwords, which people choose and others guess;
these are 32 random bytes, which nobody guesses however fast he hashes, and a fast hash lets every request be checked
in microseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from filelock import FileLock

from sottovoce.errors import ConfigError, OutputError

PREFIX = "sk-sottovoce-"  # clients exist that refuse a key without sk-; scanners of leaked secrets find the rest
FROM_SETTING = "api-key"  # the name of the one key that stands in the settings, and of none in a file
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # it goes into logs and answers
N_RANDOM_BYTES = 32
HEAD = "# API keys of sottovoce serve, by their SHA-256. `sottovoce keys` writes this file; it keeps no comments.\n"
LOCK_S = 10.0  # nobody holds the lock for longer than a write


@dataclass(frozen=True, slots=True)
class Key:
    """Who holds a key, and what he may. A limit of 0, and no models, mean: as much as there is.

    hint: the key's last letters, to tell one from another. models: by any of their names, an alias too.
    admin: may load, unload, fetch and delete models.
    """

    name: str
    sha256: str
    hint: str = ""
    requests_per_minute: int = 0
    audio_s_per_day: float = 0.0
    concurrency: int = 0
    models: tuple[str, ...] = ()
    admin: bool = False
    disabled: bool = False
    expires: datetime | None = None
    created: datetime | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"name: {self.name!r} was given, at most 64 letters, digits and . _ @ - were expected; try team-a"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError(f"sha256: {self.sha256!r} was given for {self.name}, 64 hex digits were expected")
        for name in ("requests_per_minute", "audio_s_per_day", "concurrency"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise ConfigError(f"{name}: {getattr(self, name)} was given, 0 (no limit) to 1e9 was expected")

    def may_use(self, models: Iterable[str]) -> bool:
        """Whether any of a model's names is allowed."""
        return not self.models or not set(models).isdisjoint(self.models)

    def unfit(self, now: datetime) -> str:
        """Why it is no longer accepted; empty if it is."""
        if self.disabled:
            return "it is disabled"
        if self.expires is not None and now >= self.expires:
            return f"it expired on {self.expires:%Y-%m-%d %H:%M} UTC"
        return ""


def made(name: str, now: datetime, **limits: Any) -> tuple[str, Key]:
    """(a new key, which is shown once; what is kept of it)."""
    secret = PREFIX + secrets.token_urlsafe(N_RANDOM_BYTES)
    return secret, Key(name, digest(secret), secret[-4:], created=now.replace(microsecond=0), **limits)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def found(secret: str, keys: Sequence[Key]) -> Key | None:
    """The key that a secret is. Looks at all of them, so that time tells neither which one nor how nearly."""
    given, match = digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.sha256, given):
            match = key
    return match


# --- the file -------------------------------------------------------------------------------------------------------


class KeyFile:
    """The keys in a TOML file, a table for each. Writers exclude each other, and readers see a whole file always."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[Key, ...]:
        """Its keys, in their order. Raises ConfigError for a file that is not there, or is not understood."""
        try:
            text = self.path.read_text("utf-8")
            tables = tomllib.loads(text)
        except FileNotFoundError as e:
            remedy = f"make it with: sottovoce keys add NAME --keys {self.path}"
            raise ConfigError(f"keys: {self.path} was given, but there is no such file; {remedy}") from e
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            raise ConfigError(f"keys: {self.path} cannot be read: {e}") from e
        keys = []
        for name, table in tables.items():
            try:
                keys.append(_key(name, table))
            except ConfigError as e:
                raise ConfigError(f"keys: {self.path}: [{name}] {e}") from e
        if FROM_SETTING in tables:
            raise ConfigError(
                f"keys: {self.path}: [{FROM_SETTING}] is the name of the key of the settings; take another"
            )
        if len({key.sha256 for key in keys}) < len(keys):
            raise ConfigError(f"keys: {self.path} has one key under two names; remove one of them")
        return tuple(keys)

    def stamp(self) -> tuple[int, ...] | None:
        """What changes when the file does; None if it is not there."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def add(self, key: Key) -> None:
        """One key more; the file is made if it is not there. Raises ConfigError if its name is taken."""
        with self._changing() as keys:
            if key.name == FROM_SETTING:
                raise ConfigError(f"name: {FROM_SETTING} is the name of the key of the settings; take another")
            if any(key.name == other.name for other in keys):
                raise ConfigError(f"name: {key.name} has a key already; remove it first, or take another name")
            keys.append(key)

    def remove(self, name: str) -> None:
        """Raises ConfigError if nobody has that name."""
        with self._changing() as keys:
            keys.remove(self._named(name, keys))

    def change(self, name: str, **changes: Any) -> None:
        """Raises ConfigError if nobody has that name."""
        with self._changing() as keys:
            key = self._named(name, keys)
            keys[keys.index(key)] = replace(key, **changes)

    def _named(self, name: str, keys: Sequence[Key]) -> Key:
        key = next((key for key in keys if key.name == name), None)
        if key is None:
            names = ", ".join(key.name for key in keys) or "nobody"
            raise ConfigError(f"name: {name!r} was given, but {self.path} has keys of {names}")
        return key

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """Its keys, to be changed: read and written under one lock."""
        try:
            with FileLock(f"{self.path}.lock", timeout=LOCK_S, mode=0o600):
                keys = list(self.read()) if self.path.exists() else []
                yield keys
                self._write(keys)
        except OSError as e:  # a Timeout of the lock is one
            raise OutputError(f"keys: {self.path} cannot be written: {e.strerror or e}") from e

    def _write(self, keys: Sequence[Key]) -> None:
        """Another file in its place, readable by its owner alone; an existing file's owner and group stay."""
        text = HEAD + "".join(f"\n{_table(key)}" for key in keys)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)  # its mode is 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists() and hasattr(os, "chown"):
                old = self.path.stat()
                if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
                    os.chown(name, old.st_uid, old.st_gid)  # or the server, another user, could not read it
                os.chmod(name, old.st_mode & 0o640)
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _key(name: str, table: Any) -> Key:
    """A key of its table. Raises ConfigError."""
    if not isinstance(table, dict):
        raise ConfigError("has no table; a file of keys is made by: sottovoce keys add NAME")
    known = {f.name: f for f in fields(Key)}
    values: dict[str, Any] = {}
    for field, value in table.items():
        if field not in known or field == "name":
            raise ConfigError(f"{field}: there is no such field; known are {', '.join(sorted(set(known) - {'name'}))}")
        values[field] = _value(field, value, known[field].default)
    if "sha256" not in values:
        raise ConfigError("sha256 is missing; a file of keys is made by: sottovoce keys add NAME")
    return Key(name, **values)


def _value(field: str, value: Any, default: Any) -> Any:
    if field in ("expires", "created"):
        if type(value) is date:
            return datetime.combine(value, time(), UTC)
        if isinstance(value, datetime):
            return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        expected = "a date"
    elif field == "models":
        if isinstance(value, list) and all(isinstance(model, str) for model in value):
            return tuple(value)
        expected = "a list of names"
    elif isinstance(default, bool):
        if isinstance(value, bool):
            return value
        expected = "true or false"
    elif isinstance(default, int | float):
        kinds = int if isinstance(default, int) else (int, float)
        if isinstance(value, kinds) and not isinstance(value, bool):
            return value
        expected = "a whole number" if isinstance(default, int) else "a number"
    else:
        if isinstance(value, str):
            return value
        expected = "a text"
    raise ConfigError(f"{field}: {value!r} was given, {expected} was expected")


def _table(key: Key) -> str:
    """A key's table in TOML; what is at its default is left out."""
    lines = [f"[{_text(key.name)}]"]
    for f in fields(key):
        value = getattr(key, f.name)
        if f.name == "name" or value == f.default:
            continue
        match value:
            case bool():
                said = str(value).lower()
            case datetime():
                said = f"{value:%Y-%m-%dT%H:%M:%SZ}"
            case tuple():
                said = f"[{', '.join(_text(model) for model in value)}]"
            case str():
                said = _text(value)
            case _:
                said = repr(value)
        lines.append(f"{f.name} = {said}")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A text as TOML quotes it."""
    quoted = "".join(f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in value)
    return f'"{quoted}"'
