"""Where results are kept: named runs in one JSON file, their Markdown beside it. Knows no metric."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.data import commit

Run = dict[str, Any]


def begun(bench: str, name: str, args: argparse.Namespace, given: Sequence[str] | None, **more: Any) -> Run:
    """What is known before anything is measured. name: of the run; one of the same name in a file is replaced.

    given: the words of the command line, as main() got them; None: the program's own.
    """
    words = list(sys.argv[1:] if given is None else given)
    for flag in ("data", "peers", "out"):  # whose folders they are is nobody's business
        if getattr(args, flag, None) is not None:
            words = [w.replace(str(getattr(args, flag)), flag.upper()) for w in words]
    command = shlex.join(["scripts/bench", bench, *words])
    when = time.strftime("%Y-%m-%d", time.gmtime())
    about = {"machine": machine.words(), "commit": commit(), "date": when, "load_before": machine.load()}
    return {"name": name, "command": command, **about, **more}


def keep(out: Path | None, run: Run, section: Callable[[Run], str], title: str) -> None:
    """Put a run into the file, and write the page of all of its runs. section: a run's Markdown below its heading."""
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    runs = [r for r in earlier(out) if r["name"] != run["name"]] + [run]
    out.write_text(json.dumps({"runs": runs}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    parts = [f"# {title}\n\nHow: [bench/README.md](../../bench/README.md).\n"]
    parts += [f"## {r['name']}\n\n{heading(r)}\n\n{section(r)}\n" for r in runs]
    out.with_suffix(".md").write_text("\n".join(parts), "utf-8")


def illustrate(out: Path | None, run: Run, svg: str) -> None:
    """Write a run's plot beside the results; its section of the page shows it."""
    if out is None:
        return
    slug = re.sub(r"[^a-z0-9]+", "-", run["name"].lower()).strip("-")
    run["plot"] = f"{out.stem}-{slug}.svg"
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / run["plot"]).write_text(svg, "utf-8")


def earlier(out: Path) -> list[Run]:
    if not out.is_file():
        return []
    runs: list[Run] = json.loads(out.read_text("utf-8"))["runs"]
    return runs


def heading(run: Run) -> str:
    """Hardware, commit, date and command: without them a figure is not a claim."""
    about = f"{run['machine']}; commit {run['commit']}, {run['date']}; load before {run['load_before']:.1f}."
    versions = ", ".join(f"{k} {v}" for k, v in sorted(run.get("versions", {}).items()))
    shown = f"\n![{run['name']}]({run['plot']})" if "plot" in run else ""
    return "\n".join(part for part in (about, versions and f"{versions}.", f"\n    {run['command']}", shown) if part)
