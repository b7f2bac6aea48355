"""`sottovoce keys`: who may ask the service, and how much. Asks server.keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sottovoce.cli.tables import print_json, print_table
from sottovoce.config import OF_SERVING

if TYPE_CHECKING:
    from sottovoce.server.keys import Key

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic in newer releases of click only


class Expiry(_Type):
    """A day, or a number of days from now."""

    name = "date|days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if value.removesuffix("d").isdigit():
                return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(value.removesuffix("d")))
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} was given, a day or days from now were expected, such as 2030-01-31 or 90d", param, ctx
            )


class Models(_Type):
    """Several models, by comma."""

    name = "models"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())


name = click.argument("name", metavar="NAME")
in_file = click.option(
    "--keys",
    "file",
    required=True,
    envvar=OF_SERVING + "KEYS",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"the file that `sottovoce serve --keys` reads; also {OF_SERVING}KEYS",
)


@click.group()
def keys() -> None:
    """Give out, list and withdraw API keys of the service.

    \b
      sottovoce keys add team-a --keys keys.toml --requests-per-minute 60 --audio-s-per-day 36000
      sottovoce serve --host 0.0.0.0 --keys keys.toml

    The file holds no key, only their SHA-256. A running service sees each change at the next request.
    """


@keys.command()
@name
@in_file
@click.option("--requests-per-minute", type=click.IntRange(0), default=0, help="0: no limit")
@click.option("--audio-s-per-day", type=click.FloatRange(0), default=0.0, help="seconds of sound; 0: no limit")
@click.option("--concurrency", type=click.IntRange(0), default=0, help="requests in work at once; 0: no limit")
@click.option("--models", type=Models(), default=(), help="models that it may use, by comma; default: all")
@click.option("--expires", type=Expiry(), default=None, help="when it ends: a day (UTC), or days from now, such as 90d")
@click.option("--admin", is_flag=True, help="may also load, unload, fetch and delete models")
def add(name: str, file: Path, **limits: Any) -> None:
    """Make a key for NAME, and show it: now, and never again."""
    from sottovoce.server.keys import KeyFile, made

    secret, key = made(name, datetime.now(UTC), **limits)
    KeyFile(file).add(key)
    click.echo(f"sottovoce: the key of {name}, which is not kept anywhere:", err=True)
    click.echo(secret)


@keys.command("list")
@in_file
@click.option("--json", "as_json", is_flag=True, help="for programs")
def list_(file: Path, as_json: bool) -> None:
    """List who has a key, and what he may."""
    from sottovoce.server.keys import KeyFile

    found = KeyFile(file).read()
    if as_json:
        print_json([_json(key) for key in found])
        return
    if not found:
        click.echo(f"{file} has no key; make one with: sottovoce keys add NAME --keys {file}", err=True)
        return
    heads = ("name", "key", "requests/min", "sound/day", "at once", "models", "admin", "state")
    print_table(heads, [_row(key, datetime.now(UTC)) for key in found])


@keys.command()
@name
@in_file
def remove(name: str, file: Path) -> None:
    """Withdraw the key of NAME for good."""
    _change(name, file, "removed")


@keys.command()
@name
@in_file
def disable(name: str, file: Path) -> None:
    """Refuse the key of NAME until it is enabled again."""
    _change(name, file, "disabled", disabled=True)


@keys.command()
@name
@in_file
def enable(name: str, file: Path) -> None:
    """Accept the key of NAME again."""
    _change(name, file, "enabled", disabled=False)


def _change(name: str, file: Path, done: str, **changes: Any) -> None:
    from sottovoce.server.keys import KeyFile

    if changes:
        KeyFile(file).change(name, **changes)
    else:
        KeyFile(file).remove(name)
    click.echo(f"{name}: {done}")


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    until = f"until {key.expires:%Y-%m-%d}" if key.expires else "accepted"
    return (
        key.name,
        f"...{key.hint}" if key.hint else "",
        str(key.requests_per_minute or ""),
        f"{key.audio_s_per_day:g} s" if key.audio_s_per_day else "",
        str(key.concurrency or ""),
        ", ".join(key.models) or "all",
        "yes" if key.admin else "",
        key.unfit(now).removeprefix("it is ").removeprefix("it ") or until,
    )


def _json(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "hint": key.hint,
        "requests_per_minute": key.requests_per_minute,
        "audio_s_per_day": key.audio_s_per_day,
        "concurrency": key.concurrency,
        "models": list(key.models),
        "admin": key.admin,
        "disabled": key.disabled,
        "expires": key.expires.isoformat() if key.expires else None,
        "created": key.created.isoformat() if key.created else None,
    }
