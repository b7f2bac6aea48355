"""Under which name a result is kept, and how it is sealed: only who brings the same recording again can open it.

    secret   = SHA-256(sound, model, options, code)
    name     = SHA-256("name" + secret)       what the store knows
    seal     = head, nonce, tag, ciphertext   keystream: SHAKE-256(secret, nonce); tag: HMAC-SHA256 of the rest

A store is a folder of somebody's disk, or a Redis that others use: whoever reads it finds no text, and whoever writes
to it can make a result unreadable, but not another. Neither names nor seals tell which recording it was.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
import zlib
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sottovoce.text.formats import Transcript
from sottovoce.text.packed import pack, unpack

HEAD = struct.Struct(">4sd16s32s")  # magic, time of making (s since 1970), nonce, tag
MAGIC = b"svR1"
NO_PARTS = ("cli", "server", "compat")  # code that no transcript depends on


@dataclass(frozen=True, slots=True)
class Key:
    """What a result is the answer to. secret: 32 bytes; never written anywhere."""

    secret: bytes

    @classmethod
    def of(cls, sound: bytes, *told: Any) -> Key:
        """sound: the recording's digest. told: plain values and dataclasses of them. Raises TypeError for any other."""
        text = json.dumps([_plain(value) for value in told], sort_keys=True)
        return cls(hashlib.sha256(sound + text.encode()).digest())

    @property
    def name(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(b"name" + self.secret).hexdigest()

    def seal(self, transcript: Transcript, now_s: float) -> bytes:
        plain = zlib.compress(pack(transcript).encode("ascii"))
        nonce = secrets.token_bytes(16)
        hidden = self._crossed(nonce, plain)
        return HEAD.pack(MAGIC, now_s, nonce, self._tag(now_s, nonce, hidden)) + hidden

    def open(self, sealed: bytes) -> tuple[Transcript, float]:
        """The transcript, and when it was made. Raises ValueError for anything but what was sealed under this key."""
        try:
            magic, made_s, nonce, tag = HEAD.unpack_from(sealed)
        except struct.error as e:
            raise ValueError("it is shorter than its head") from e
        hidden = sealed[HEAD.size :]
        if magic != MAGIC or not hmac.compare_digest(tag, self._tag(made_s, nonce, hidden)):
            raise ValueError("it is damaged, or of another version")
        try:
            return unpack(Transcript, zlib.decompress(self._crossed(nonce, hidden))), made_s
        except zlib.error as e:
            raise ValueError(str(e)) from e

    def _tag(self, made_s: float, nonce: bytes, hidden: bytes) -> bytes:
        return hmac.digest(
            hashlib.sha256(b"tag" + self.secret).digest(), struct.pack(">d", made_s) + nonce + hidden, "sha256"
        )

    def _crossed(self, nonce: bytes, data: bytes) -> bytes:
        stream = hashlib.shake_256(b"stream" + self.secret + nonce).digest(len(data))
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def digest(path: Path) -> bytes:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def of_code() -> str:
    """SHA-256 of our own source as far as a transcript depends on it: a changed rule makes other results."""
    here = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(p for p in here.rglob("*") if p.suffix in (".py", ".cpp", ".h")):
        if path.relative_to(here).parts[0] not in NO_PARTS:
            whole.update(path.read_bytes())
    return whole.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON can hold of a value, so that different values stay different."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no name that lasts")
