"""A side of a comparison as an object: a process in its own environment that loads once and answers jobs.

Only the side that is asked computes: the others are stopped meanwhile, so that no worker of theirs spins beside it.
Knows no engine and no metric; the jobs are those of bench/peers/lines.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import busy

RUNNERS = Path(__file__).with_name("peers")
ROOT = Path(__file__).parents[1]


class SideError(Exception):
    """A side failed at a job; the message is its traceback."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a side is started and asked. python, runner: of its process; load, options: keywords of its jobs."""

    name: str
    python: str
    runner: str
    threads: int
    load: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    ours: bool = False


class Side:
    """A running process of a recipe; it is stopped whenever it is not asked."""

    def __init__(self, recipe: Recipe, environment: dict[str, str] | None = None) -> None:
        self.recipe = recipe
        self.others_cpus = 0.0  # how many CPUs were busy for somebody else during the last job
        env = {**os.environ, "OMP_NUM_THREADS": str(recipe.threads), **(environment or {})}
        env.pop("PYTHONPATH", None)  # our packages are not the peer's
        if recipe.ours:
            env["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        command = [recipe.python, str(RUNNERS / recipe.runner)]
        pipe = subprocess.PIPE
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (what it prints beside its answers; lives as long as we do)
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._said, text=True, encoding="utf-8", env=env
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._signal("SIGCONT")
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def load(self) -> dict[str, str]:
        """Load the recipe's model. Returns the versions of the side's packages."""
        about: dict[str, str] = self.ask("about")
        self.ask("load", **self.recipe.load)
        return about

    def transcribe(self, audio: Path) -> dict[str, Any]:
        """{"text", "seconds", "peak_bytes"} of a .npy file of samples."""
        answer: dict[str, Any] = self.ask("transcribe", audio=str(audio), options=self.recipe.options)
        return answer

    def together(self, audios: list[Path], at_once: bool) -> dict[str, Any]:
        """{"texts", "seconds", "latencies_s"}: asked for at once, or one after another."""
        paths = [str(path) for path in audios]
        answer: dict[str, Any] = self.ask("together", audios=paths, at_once=at_once, options=self.recipe.options)
        return answer

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._signal("SIGCONT")
        before = busy.now(self._process.pid)
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            self._said.seek(0)
            last = self._said.read().decode(errors="replace").strip()[-2000:]
            raise SideError(f"{self.recipe.name}: {do}: the process ended with code {code} before it answered\n{last}")
        self.others_cpus = busy.others(before, busy.now(self._process.pid))
        self._signal("SIGSTOP")
        answer = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.recipe.name}: {do}: {answer['error'].strip()}")
        return answer["ok"]

    def _signal(self, name: str) -> None:
        number = getattr(signal, name, None)
        if number is not None and self._process.poll() is None:
            self._process.send_signal(number)
