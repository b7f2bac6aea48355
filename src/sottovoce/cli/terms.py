"""How terms, replacements and a user's own function are read from flags. Runs nothing of it."""

from __future__ import annotations

import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import click

from sottovoce.errors import OptionError

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic in newer releases of click only


class Terms(_Type):
    """Terms by comma, each maybe with its weight."""

    name = "terms"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from sottovoce.request_terms import keywords  # help waits for nothing heavy

        return value if isinstance(value, tuple) else keywords("--keywords", value)


class Replacement(_Type):
    """from=to."""

    name = "from=to"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from sottovoce.request_terms import pair

        try:
            return value if isinstance(value, tuple) else pair("--replace", value)
        except OptionError as e:
            self.fail(str(e).removeprefix("--replace: "), param, ctx)


class File(click.Path):
    """A text file that is there; as a Path, which is how a file is told from terms."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)


class Function(_Type):
    """module:function, sought in the current folder too."""

    name = "module:function"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if ":" not in value:
            self.fail(f"{value!r} was given, module:function was expected, such as mend:segment", param, ctx)
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            found = resolve_name(value)
        except Exception as e:  # whatever the user's module does when it is opened
            self.fail(f"{value!r} cannot be opened: {type(e).__name__}: {e}", param, ctx)
        if not callable(found):
            self.fail(f"{value!r} is {found!r}, a function of a Segment was expected", param, ctx)
        return found
