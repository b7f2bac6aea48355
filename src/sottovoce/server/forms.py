"""Fields as clients spell them -> values by name: brackets, repeats, JSON in a text. Knows no option and no request.

    keywords[]=a  keywords[]=b    keywords=a  keywords=b    keywords=["a", "b"]  -> {"keywords": ["a", "b"]}
    chunking_strategy[type]=server_vad                  chunking_strategy={..} -> {"chunking_strategy": {"type": ..}}

Source: openai-python _qs.py (3.3.1): lists and objects are spelled in brackets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sottovoce.errors import OptionError

SPELLED = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")
YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off")
NOTHING = ("none", "null")


def gathered(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Values by plain name: a list of what is repeated or bracketed, an object of what has names in brackets.

    Empty texts are left out, as forms of a page send them for what nobody has filled in.
    Raises OptionError for a name that is spelled in no such way, or in two at once.
    """
    found: dict[str, Any] = {}
    for spelled, value in items:
        match = SPELLED.fullmatch(spelled)
        if match is None:
            raise OptionError(f"{_shown(spelled)}: no name of a field was given; one was expected, such as language")
        name, inside = match.groups()
        if value == "":
            continue
        if inside is None:
            found[name] = value if name not in found else [*_listed(name, found[name]), value]
        elif inside == "" or inside.isdecimal():
            found[name] = [*_listed(name, found.get(name, [])), value]
        else:
            known = found.setdefault(name, {})
            if not isinstance(known, dict):
                raise _mixed(name)
            known[inside] = value
    return found


def as_list(name: str, given: Any) -> list[Any]:
    """A list of what was given: itself, the list that a text holds as JSON, else the one value."""
    given = as_json(name, given)
    return list(given) if isinstance(given, list | tuple) else [given]


def as_json(name: str, given: Any) -> Any:
    """The list or object that a text holds; anything else as it is. Raises OptionError for half of one."""
    if not isinstance(given, str) or not given.lstrip().startswith(("[", "{")):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as e:
        raise OptionError(f"{name}: {_shown(given)!r} was given, JSON was expected ({e}); mend it") from e


def as_bool(name: str, given: Any) -> bool:
    """Raises OptionError."""
    if isinstance(given, bool):
        return given
    text = str(given).strip().lower()
    if text not in YES + NO:
        raise OptionError(f"{name}: {_shown(given)!r} was given, true or false was expected; leave it out")
    return text in YES


def as_int(name: str, given: Any) -> int:
    """Raises OptionError."""
    if isinstance(given, str) and re.fullmatch(r"[+-]?\d{1,12}", given.strip()):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise OptionError(f"{name}: {_shown(given)!r} was given, a whole number was expected; leave it out")


def as_float(name: str, given: Any) -> float:
    """Raises OptionError for what is no finite number."""
    try:
        if isinstance(given, str | int | float) and not isinstance(given, bool) and abs(value := float(given)) < 1e12:
            return value
    except (ValueError, OverflowError):
        pass
    raise OptionError(f"{name}: {_shown(given)!r} was given, a number was expected; leave it out")


def as_text(name: str, given: Any) -> str:
    """Raises OptionError."""
    if not isinstance(given, str):
        raise OptionError(f"{name}: {_shown(given)!r} was given, one text was expected; leave it out")
    return given


def is_nothing(given: Any) -> bool:
    """Does a value say that there is none?"""
    return given is None or (isinstance(given, str) and given.strip().lower() in NOTHING)


def _listed(name: str, known: Any) -> list[Any]:
    if isinstance(known, dict):
        raise _mixed(name)
    return list(known) if isinstance(known, list) else [known]


def _mixed(name: str) -> OptionError:
    return OptionError(f"{name}: an object and a list were given, one of them was expected; spell it in one way")


def _shown(given: Any) -> str:
    text = str(given)
    return text if len(text) <= 80 else text[:80] + "..."
