"""Servers that are measured: ours, or a peer's, as a process with its children; and what they use. Knows no request."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_S = 180.0


class Server:
    """A server on a free port of this machine, from when it is ready until the block ends. name: in tables."""

    def __init__(self, name: str, command: Sequence[str], ready: str, threads: int) -> None:
        self.name, self._ready = name, ready
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        env["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT))) if name == "sottovoce" else ""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as we do)
        self.process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )

    def __enter__(self) -> Server:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self.address + self._ready, timeout=5) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise SystemExit(f"{self.name} did not become ready; it said:\n{self.said()}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def said(self) -> str:
        """The end of what it printed."""
        self._said.seek(0)
        return self._said.read()[-3000:].decode("utf-8", "replace")

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children that live."""
        return sum(_cpu_s(pid) for pid in family(self.process.pid))

    def rss_bytes(self) -> int:
        """Memory of the process and its children that live."""
        return sum(_rss_bytes(pid) for pid in family(self.process.pid))

    def get(self, path: str) -> str | None:
        """What a page says; None if there is none."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as answer:
                said: str = answer.read().decode()
                return said
        except OSError:
            return None


def ours(model: str, compute: str, threads: int, flags: Sequence[str]) -> Server:
    """`sottovoce serve`, as it is started by anybody, but that it remembers no result: every request is decoded."""
    start = "import sys; from sottovoce.cli import main; sys.exit(main())"
    how = ["serve", "--model", model, "--compute", compute, "--threads", str(threads), "--cache", "none"]
    return Server("sottovoce", [sys.executable, "-c", start, *how, *flags], "/ready", threads)


def peer(python: str, weights: Path, workers: int, threads: int, beam: int) -> Server:
    """faster-whisper behind FastAPI (peers/faster_whisper_server.py), on the same weights."""
    script = Path(__file__).with_name("peers") / "faster_whisper_server.py"
    how = ["--weights", str(weights), "--workers", str(workers), "--threads", str(threads), "--beam-size", str(beam)]
    return Server(f"faster-whisper, {workers} x {threads} threads", [python, str(script), *how], "/health", threads)


def family(pid: int) -> list[int]:
    """A process and those that descend from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
