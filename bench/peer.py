"""openai-whisper in its own environment, as an object: asks its runner, remembers answers on disk. Knows no clip."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

RUNNER = Path(__file__).with_name("peers") / "openai_whisper.py"


class PeerError(Exception):
    """The peer failed at a job; the message is its traceback."""


class Peer:
    """A process of the peer's Python. cache: folder of answers, so that a run that was cut short goes on."""

    def __init__(self, python: str, work: Path, cache: Path, threads: int) -> None:
        self.work, self.cache, self.threads = work, cache, threads
        cache.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        environment.pop("PYTHONPATH", None)  # our packages are not the peer's
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, str(RUNNER)], stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=environment
        )
        self._model: tuple[str, str, str] | None = None
        self._loaded: tuple[str, str, str] | None = None
        self.about: dict[str, str] = self.ask("about")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def use(self, path: Path, name: str, sha256: str) -> None:
        """Decode with this .pt from now on; it is loaded when the first answer is not remembered."""
        self._model = (str(path), name, sha256)

    def transcribe(self, samples: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
        """The dictionary of whisper.transcribe, with "steps"; remembered by samples, weights, options and version."""
        assert self._model is not None, "use() says with which weights"
        what = [self.about, self._model[1:], options, hashlib.sha256(samples.tobytes()).hexdigest()]
        kept = self.cache / (hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32] + ".json")
        if kept.is_file():
            found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
            return found
        answer: dict[str, Any] = self.ask_model("transcribe", samples=self.save("samples", samples), options=options)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(answer), "utf-8")
        part.replace(kept)
        return answer

    def ask_model(self, do: str, **arguments: Any) -> Any:
        """As ask, with the model of use() loaded."""
        if self._loaded != self._model:
            assert self._model is not None
            self.ask("load_model", path=self._model[0], name=self._model[1], threads=self.threads)
            self._loaded = self._model
        return self.ask(do, **arguments)

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{do}: the peer ended with code {self._process.wait()} before it answered")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{do}: {answer['error']}")
        return answer["ok"]

    def save(self, name: str, array: np.ndarray) -> str:
        """Put an array where the peer can read it."""
        path = self.work / f"{name}.npy"
        np.save(path, array)
        return str(path)
