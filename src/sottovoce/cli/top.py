"""`sottovoce top`: what a server is doing, live in the terminal, from its /v1/stats. Knows nothing but that page."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from sottovoce.cli.exits import Exit
from sottovoce.errors import OptionError

if TYPE_CHECKING:
    from rich.console import Group

URL = "http://127.0.0.1:8000"
TIMEOUT_S = 5.0
Stats = Mapping[str, Any]


class Unanswered(Exception):
    """The server gave no statistics; the message says why, and what to do."""


@click.command()
@click.argument("url", default=URL)
@click.option("--api-key", envvar="SOTTOVOCE_API_KEY", help="key, where the server wants one; or SOTTOVOCE_API_KEY")
@click.option("--interval", "interval_s", type=click.FloatRange(min=0.1), default=1.0, help="seconds between two looks")
@click.option("--once", is_flag=True, help="look once, and end; so it is without a terminal")
@click.option("--json", "as_json", is_flag=True, help="look once, for programs")
def top(url: str, api_key: str | None, interval_s: float, once: bool, as_json: bool) -> int:
    """Show what a server is doing: models, rows, queue, speed, latencies.

    \b
      sottovoce top
      sottovoce top https://speech.example.org --once

    URL: of the server. [default: http://127.0.0.1:8000]
    """
    if not url.startswith(("http://", "https://")):
        raise OptionError(f"url: {url!r} was given, a URL was expected, such as {URL}")
    page = f"{url.rstrip('/')}/v1/stats"
    try:
        stats = fetch(page, api_key)
        if as_json:
            click.echo(json.dumps(stats, indent=2))
        elif once or not sys.stdout.isatty():
            for line in lines(stats):
                click.echo(line)
        else:
            watch(lambda: fetch(page, api_key), stats, interval_s)
    except Unanswered as e:
        click.echo(f"sottovoce: {e}", err=True)
        return Exit.ENGINE
    return Exit.DONE


def fetch(page: str, api_key: str | None = None) -> Stats:
    """The statistics at an address. Raises Unanswered."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(page, headers=headers), timeout=TIMEOUT_S) as answer:
            stats = json.load(answer)
        stats["last_minute"], stats["totals"], stats["process"]
    except urllib.error.HTTPError as e:
        remedy = {
            401: "pass --api-key, or set SOTTOVOCE_API_KEY",
            403: "pass another --api-key",
            404: "is it sottovoce that serves there?",
        }.get(e.code, "try again")
        e.close()
        raise Unanswered(f"{page} answered {e.code}; {remedy}") from e
    except OSError as e:
        reason = getattr(e, "reason", e)
        raise Unanswered(f"{page} did not answer ({reason}); is it there? start it with: sottovoce serve") from e
    except (ValueError, LookupError, TypeError) as e:
        raise Unanswered(f"{page} gave no statistics; is it sottovoce that serves there?") from e
    return dict(stats)


def watch(look: Callable[[], Stats], stats: Stats, interval_s: float) -> None:
    """Show it until Ctrl-C. A server that is away for a while is waited for."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(view(stats), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            try:
                stats = look()
                live.update(view(stats), refresh=True)
            except Unanswered as e:
                live.update(Group(Text(f"{e}\n", style="red"), view(stats)), refresh=True)


def lines(stats: Stats) -> list[str]:
    """All of it in lines: name, tab, what is to be said of it."""
    told = [f"{name}\t{said}" for name, said in facts(stats)]
    told += ["\t".join(("model", *row)) for row in model_rows(stats)]
    return told + [f"gpu {gpu['index']}\t{_gpu(gpu)}" for gpu in stats["gpus"]]


def facts(stats: Stats) -> list[tuple[str, str]]:
    """(name, what is said of it) for all but models and GPUs."""
    minute, totals, process = stats["last_minute"], stats["totals"], stats["process"]
    state = "ready" if stats["ready"] else "not ready"
    hits, shared, misses = (totals[f"cache_{what}"] for what in ("hits", "shared", "misses"))
    share = f" ({(hits + shared) / (hits + shared + misses):.0%})" if hits + shared + misses else ""
    sound = _duration(totals["audio_s"])
    return [
        ("server", f"sottovoce {stats['version']}, {state}, up {_duration(stats['uptime_s'])}"),
        ("computes", f"{stats['model']} on {stats['device']} in {stats['compute']}"),
        ("now", f"{stats['running']} running, {stats['waiting']} waiting, {stats['in_flight']} requests"),
        ("speed", f"{minute['audio_s_per_s']:.1f} s of sound a second, {_number(minute['rtf'])} s of work for one"),
        ("minute", f"{minute['requests']} requests, {minute['recordings']} recordings, {minute['failures']} failures"),
        ("answer", _spread(minute["answer_s"])),
        ("first text", _spread(minute["first_segment_s"])),
        ("queue", _spread(minute["queue_s"])),
        ("loop lag", _spread(minute["loop_lag_s"])),
        ("cache", f"{hits} hits, {shared} shared, {misses} misses{share}"),
        ("windows", f"{totals['windows']}, {totals['windows_retried']} retried, {totals['windows_dropped']} dropped"),
        ("all time", f"{totals['recordings']} recordings, {sound} of sound, {totals['rejected']} rejected"),
        ("process", f"{process['memory_bytes'] / 1e6:.0f} MB, {_duration(process['cpu_s'])} of CPU"),
    ]


def model_rows(stats: Stats) -> list[tuple[str, ...]]:
    """A line a model: name, state, held by, rows, slots, windows that wait, memory."""
    return [
        (
            str(m["name"]),
            str(m["state"]),
            f"{m['held']}",
            f"{m['rows_used']}/{m['rows']}",
            f"{m['slots_used']}/{m['slots']}",
            f"{m['windows_waiting']}",
            f"{m['bytes'] / 1e6:.0f} MB",
        )
        for m in stats["models"]
    ]


def view(stats: Stats) -> Group:
    """As a person at a terminal sees it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    said = Table.grid(padding=(0, 2))
    for name, fact in facts(stats):
        bad = name == "server" and not stats["ready"]
        said.add_row(Text(name, style="dim"), Text(fact, style="red" if bad else ""))
    models = Table("model", "state", "held", "rows", "slots", "waiting", "memory", box=SIMPLE_HEAD, pad_edge=False)
    for row in model_rows(stats):
        models.add_row(*(Text(cell) for cell in row))
    gpus = [Text(f"gpu {gpu['index']}  {_gpu(gpu)}") for gpu in stats["gpus"]]
    return Group(said, models, *gpus)


def _gpu(gpu: Mapping[str, Any]) -> str:
    busy = "busy ?" if gpu["busy"] is None else f"busy {gpu['busy']:.0%}"
    memory = "" if gpu["bytes"] is None else f", {gpu['used_bytes'] / 1e9:.1f} of {gpu['bytes'] / 1e9:.1f} GB"
    heat = "" if gpu["celsius"] is None else f", {gpu['celsius']:.0f} °C"
    power = "" if gpu["watts"] is None else f", {gpu['watts']:.0f} W"
    return f"{gpu['name']}: {busy}{memory}{heat}{power}"


def _spread(spread: Mapping[str, float | None]) -> str:
    if spread["p50"] is None:
        return "-"
    return ", ".join(f"{name} {_time(spread[name])}" for name in ("p50", "p95", "p99", "worst"))


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {s:02d} s" if minutes else f"{s} s"
