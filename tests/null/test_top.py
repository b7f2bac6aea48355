"""`sottovoce top`: it shows what a server says, with and without a terminal, and says what to do when none answers."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from rich.console import Console

from sottovoce.cli.app import run
from sottovoce.cli.exits import Exit
from sottovoce.cli.top import fetch, lines, view
from sottovoce.engine.load import Load, Presence
from sottovoce.server.gpus import Gpu, Gpus
from sottovoce.server.stats import _last_minute, _stats
from sottovoce.server.watching import Watch


class Two(Gpus):
    def __init__(self) -> None:
        pass

    def read(self) -> list[Gpu]:
        return [
            Gpu(0, "NVIDIA H200", 0.37, 10**10, 15 * 10**10, 55.0, 300.0),
            Gpu(1, "other", None, None, None, None, None),
        ]


def some_stats() -> dict[str, Any]:
    """As the service says it: made by its own code."""
    watch = Watch(gpus=Two())
    watch.info, watch.ready = ("1.2", "base", "cpu", "int8"), lambda: True
    watch.census = lambda: [Presence("base", "awake", 2, 300_000_000, ("cpu",), Load(32, 4, 20, 3, 3, 7))]
    for value in (0.25, 0.5, 3.0):
        watch.answers_s.add(value)
    return json.loads(_stats(watch, _last_minute(watch), 5, 4).model_dump_json())  # type: ignore[no-any-return]


class Page(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        self.send_response(self.server.status if self.path == "/v1/stats" else 404)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.status, self.body, self.keys = 200, json.dumps(some_stats()).encode(), list[str | None]()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_once_it_says_all_in_lines(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", url(server) + "/", "--once", "--api-key", "sk-1"]) == Exit.DONE
    said = dict(line.split("\t", 1) for line in capsys.readouterr().out.splitlines())
    assert said["server"].startswith("sottovoce 1.2, ready, up ")
    assert said["now"] == "4 running, 0 waiting, 5 requests"
    assert said["answer"] == "p50 500.0 ms, p95 3.00 s, p99 3.00 s, worst 3.00 s"
    assert said["queue"] == "-"
    assert said["model"] == "base\tawake\t2\t4/32\t3/20\t7\t300 MB"
    assert said["gpu 0"] == "NVIDIA H200: busy 37%, 10.0 of 150.0 GB, 55 °C, 300 W"
    assert said["gpu 1"] == "other: busy ?"
    assert server.keys == ["Bearer sk-1"]


def test_a_program_reads_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", url(server), "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["models"][0]["rows"] == 32


def test_the_view_of_a_terminal_has_all_that_the_lines_have(server: Server) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    stats = fetch(url(server) + "/v1/stats")
    console.print(view(stats))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for line in lines(stats):
        for cell in line.split("\t"):
            assert cell in shown, cell


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (401, b"", "pass --api-key"),
        (404, b"", "is it sottovoce"),
        (503, b"", "answered 503; try again"),
        (200, b"<html>", "is it sottovoce"),
        (200, b"[]", "is it sottovoce"),
        (200, b'{"a": 1}', "is it sottovoce"),
    ],
)
def test_who_does_not_answer_is_told_of(
    server: Server, capsys: pytest.CaptureFixture[str], status: int, body: bytes, remedy: str
) -> None:
    server.status, server.body = status, body
    assert run(["top", url(server), "--once"]) == Exit.ENGINE
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert remedy in said.err


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", "http://127.0.0.1:1", "--once"]) == Exit.ENGINE
    assert "sottovoce serve" in capsys.readouterr().err
    assert run(["top", "localhost:8000"]) == Exit.USAGE
    assert "such as http://127.0.0.1:8000" in capsys.readouterr().err
