"""Values that cross doors <-> plain JSON, without loss: not a digit, not a field. Knows no particular one of them.

`Transcript.to_dict` is openai-whisper's dictionary and leaves things out; this leaves out nothing, also of fields that
come later.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from functools import cache
from json import dumps, loads
from typing import Any, TypeVar

T = TypeVar("T")


def pack(value: Any) -> str:
    """One line of ASCII that `unpack` makes the same value of. Numbers that are none stay so (NaN, Infinity)."""
    assert is_dataclass(value) and not isinstance(value, type), "a dataclass is packed"
    return dumps(asdict(value), separators=(",", ":"))


def unpack(kind: type[T], text: str | bytes) -> T:
    """The value of a dataclass. Raises ValueError for anything but what `pack` makes of this very kind."""
    try:
        return typing.cast("T", made(kind, loads(text)))
    except (KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"no {kind.__name__} was packed there ({type(e).__name__}: {e})") from e


def made(kind: Any, given: Any) -> Any:
    """A value of a kind, of what JSON kept of it. Raises KeyError, TypeError, ValueError."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if given is None and type(None) in of:
            return None
        return made(next(k for k in of if k is not type(None)), given)
    if origin is tuple:
        if not isinstance(given, list):
            raise TypeError(f"{given!r:.40} was given, a list was expected")
        kinds = [of[0]] * len(given) if of[1:] == (...,) else of
        return tuple(made(k, value) for k, value in zip(kinds, given, strict=True))
    if origin in (dict, Mapping):
        return {made(of[0], name): made(of[1], value) for name, value in given.items()}
    if is_dataclass(kind):
        return _dataclass(kind, given)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(given)
    if kind is float and type(given) is int:
        return float(given)
    if type(given) is not kind:
        raise TypeError(f"{given!r:.40} was given, {kind} was expected")
    return given


def _dataclass(kind: Any, given: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    if unknown := set(given) - set(hints):
        raise TypeError(f"{kind.__name__} has no {sorted(unknown)}")
    return kind(**{name: made(hints[name], value) for name, value in given.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}
