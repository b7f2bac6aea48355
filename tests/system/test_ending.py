"""A server that is told to go, or is killed: who waits is answered or told, and what was remembered is whole."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from .serving import Child, lines, recording, serve, text_of

SAID = "the old house listens to the sea and the sea whispers back"
TOLD = "the server ends"


def until(true: Any, seconds: float = 30.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.weights
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_may_end_and_nothing_new_begins(tmp_path: Path, signum: int) -> None:
    with serve(tmp_path, "--cache", "none") as child, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(child.post, recording(tmp_path, n, 2)) for n in range(6)]
        until(lambda: any(a.done() for a in answers))
        child.process.send_signal(signum)
        until(lambda: child.get("/ready")[0] != 200)
        status, headers, body = child.get("/ready")
        if status:  # it may be gone already
            assert status == 503 and headers["connection"] == "close" and "retry-after" in headers
            assert lines(body)[0]["error"]["code"] == "server_ending"
            assert child.get("/health")[0] in (200, 0)
        told = [answer.result() for answer in answers]
        assert child.process.wait(30) == 0
    for status, headers, body in told:
        if status == 200:
            assert text_of(body).startswith(SAID)
        else:  # it came after the signal
            assert status == 503 and TOLD in body.decode() and "retry-after" in headers
    assert any(status == 200 for status, _, _ in told)


@pytest.mark.weights
def test_who_takes_too_long_is_told_so(tmp_path: Path) -> None:
    sound = recording(tmp_path, 1, 150)  # ten minutes
    with serve(tmp_path, "--cache", "none", "--drain-s", "0.5") as child, child.posted(sound) as response:
        first = response.readline()  # it has begun
        assert b"opened" in first
        child.process.send_signal(signal.SIGTERM)
        rest = lines(response.read())
        assert rest[-1]["error"]["code"] == "server_ending" and TOLD in rest[-1]["error"]["message"]
        assert child.process.wait(30) == 0


@pytest.mark.weights
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    sound = recording(tmp_path, 1, 150)
    with serve(tmp_path, "--cache", "none", "--drain-s", "600") as child, child.posted(sound) as response:
        assert b"opened" in response.readline()
        child.process.send_signal(signal.SIGTERM)
        until(lambda: child.get("/ready")[0] == 503)
        start_s = time.monotonic()
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - start_s < 2


@pytest.mark.weights
def test_a_killed_server_leaves_its_results_whole(tmp_path: Path) -> None:
    """Killed while it decodes and writes, and clients wait: what was answered is known, and nothing is damaged."""
    sounds = [recording(tmp_path, n) for n in range(12)]
    cache = f"disk:{tmp_path / 'results'}"
    for n in range(2):
        with serve(tmp_path, "--cache", cache) as child:
            answered: list[tuple[int, str]] = []

            def ask(sound: Path, child: Child = child, answered: list[tuple[int, str]] = answered) -> None:
                try:
                    status, _, body = child.post(sound)
                    answered.append((status, text_of(body)))
                except (OSError, HTTPException):
                    pass  # it was killed before it could say anything

            threads = [threading.Thread(target=ask, args=[sound]) for sound in sounds]
            for thread in threads:
                thread.start()
            until(lambda n=n, answered=answered: len(answered) > 3 * n)
            child.process.kill()
            for thread in threads:
                thread.join()
            assert {status for status, _ in answered} == {200}
            assert "damaged" not in child.log.read_text()
    with serve(tmp_path, "--cache", cache) as child:
        told = [child.post(sound) for sound in sounds]
        assert [text_of(body) for _, _, body in told] == [SAID] * 12
        assert "hit" in {headers["x-sottovoce-cache"] for _, headers, _ in told}
        assert [child.post(sound)[1]["x-sottovoce-cache"] for sound in sounds] == ["hit"] * 12
        assert "damaged" not in child.log.read_text()


@pytest.mark.weights
def test_a_server_that_nobody_asks_ends(tmp_path: Path) -> None:
    with serve(tmp_path, "--cache", "none", "--idle-exit-s", "1.5") as child:
        assert child.post(recording(tmp_path, 1))[0] == 200
        assert child.process.wait(20) == 0
