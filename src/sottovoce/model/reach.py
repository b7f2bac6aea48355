"""Which sources of models answer now. Asks each a small question, with a short time-out; fetches nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from sottovoce.model import download, hfhub
from sottovoce.model.catalogue import CATALOGUE, OPENAI, Registry

PLACES = ("hub", "openai", "pypi", "npm")
CLIENT_S = 15  # for a package client, which has to start first


def address(place: str) -> str:
    """What a place is called: its URL, or its client."""
    return {"hub": hfhub.endpoint(), "openai": OPENAI, "pypi": "pip's index", "npm": "npm's registry"}[place]


def unreachable(place: str) -> str | None:
    """Why one of PLACES does not answer; None if it does."""
    if place in ("hub", "openai"):
        return download.unreachable(address(place))
    dist, version = _probe(Registry(place))
    if place == "pypi":
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--timeout=5", "--retries=0"]
        return _ask([*pip, "index", "versions", dist])
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        return "there is no npm client on this machine"
    return _ask([npm, "view", "--fetch-retries=0", "--fetch-timeout=5000", f"{dist}@{version}", "version"])


def _probe(registry: Registry) -> tuple[str, str]:
    """A distribution of the catalogue that the registry ought to know."""
    packages = (package for card in CATALOGUE for package in card.packages if package.registry is registry)
    return next(packages).distributions[0]


def _ask(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLIENT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {CLIENT_S} s"
    except OSError as e:
        return f"{command[0]} cannot be run ({e.strerror})"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "err" in line.lower()] or lines or [f"it ended with {done.returncode}"]
    return errors[-1]
