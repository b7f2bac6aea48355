"""`sottovoce transcribe` with a server: the same files, texts and exit codes; and the one that stays behind."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sottovoce.cli import resident
from sottovoce.cli.exits import Exit
from sottovoce.cli.remote import Address
from sottovoce.config import Config
from sottovoce.errors import OutputError, ServerError

from ..commands import KNOWN, environ, run, start
from .serving import Child, free_port, recording, serve

PLAIN = ("--model", "tiny.en", "--beam_size", "1", "--temperature_increment_on_fallback", "None")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with serve(tmp_path_factory.mktemp("server"), "--cache", "none") as child:
        yield child


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.weights
def test_a_server_writes_the_same_files_and_text(tmp_path: Path, server: Child) -> None:
    (tmp_path / "in").mkdir()
    sounds = [recording(tmp_path / "in", n) for n in range(3)]
    flags = (*PLAIN, "--word-timestamps", "True", "--keywords", "sea,house:2")
    here = run("transcribe", *sounds, *flags, "-o", "here", cwd=tmp_path)
    there = run("transcribe", *sounds, *flags, "-o", "there", "--server", server.url, cwd=tmp_path)
    assert (here.returncode, there.returncode) == (0, 0), there.stderr
    assert written(tmp_path / "there") == written(tmp_path / "here") and len(written(tmp_path / "here")) == 15
    assert there.stdout == here.stdout and there.stdout.count("whispers back") == 3
    assert f"{server.url}, sottovoce" in there.stderr


@pytest.mark.weights
def test_what_comes_by_a_pipe_is_sent_as_it_comes(tmp_path: Path, server: Child) -> None:
    with KNOWN.open("rb") as sound:
        done = run("transcribe", "-", *PLAIN, "-f", "none", "--server", server.url, cwd=tmp_path, stdin=sound)
    assert done.returncode == 0 and "whispers back" in done.stdout, done.stderr


@pytest.mark.weights
def test_a_servers_faults_are_told_as_ones_own(tmp_path: Path, server: Child) -> None:
    none = tmp_path / "none.wav"
    none.write_bytes(b"no sound" * 99)
    on = ("--server", server.url, "-f", "none")
    done = run("transcribe", none, KNOWN, *PLAIN, *on, cwd=tmp_path)
    assert done.returncode == Exit.AUDIO and "none.wav" in done.stderr and "whispers back" in done.stdout
    done = run("transcribe", KNOWN, "--model", "no-such", *on, cwd=tmp_path)
    assert done.returncode == Exit.MODEL and "no-such" in done.stderr
    done = run("transcribe", KNOWN, *PLAIN, "-f", "none", "--server", f"localhost:{free_port()}", cwd=tmp_path)
    assert done.returncode == Exit.SERVER and "no server answers there" in done.stderr
    done = run("transcribe", KNOWN, *PLAIN, *on, "--resident", cwd=tmp_path)
    assert done.returncode == Exit.USAGE


class OpenAI(BaseHTTPRequestHandler):
    """A server that knows OpenAI's route only. forms: what it was sent; n_busy: how often it has no room first."""

    forms: list[bytes]
    n_busy: int

    def do_GET(self) -> None:
        self._answer(404, {"error": {"message": "not here", "code": "not_found"}})

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer secret":
            self._answer(401, {"error": {"message": "wrong key", "code": "invalid_api_key"}})
            return
        if type(self).n_busy:
            type(self).n_busy -= 1
            self._answer(429, {"error": {"message": "too many"}}, {"Retry-After": "0"})
            return
        type(self).forms.append(form)
        segment: dict[str, Any] = {"id": 0, "seek": 0, "start": 0.0, "end": 2.5, "text": " Hello there.", "tokens": [1]}
        segment |= {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}
        told = {"task": "transcribe", "language": "english", "duration": 2.5, "text": "Hello there."}
        self._answer(200, {**told, "segments": [segment]})

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def test_any_server_of_openais_api_will_do(tmp_path: Path) -> None:
    OpenAI.forms, OpenAI.n_busy = [], 2
    with ThreadingHTTPServer(("127.0.0.1", 0), OpenAI) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}/v1"
        flags = ("--model", "whisper-1", "--language", "en", "--hotwords", "tea", "-f", "srt", "--server", url)
        refused = run("transcribe", KNOWN, *flags, cwd=tmp_path)
        done = run("transcribe", KNOWN, *flags, cwd=tmp_path, env=environ(SOTTOVOCE_API_KEY="secret"))
        other.shutdown()
        thread.join()
    assert refused.returncode == Exit.SERVER and "wrong key" in refused.stderr and "SOTTOVOCE_API_KEY" in refused.stderr
    assert done.returncode == 0 and done.stdout == "Hello there.\n", done.stderr
    assert "00:00:00,000 --> 00:00:02,500\nHello there." in (tmp_path / "known.srt").read_text()
    assert "--hotwords" in done.stderr  # which it has no field for
    (form,) = OpenAI.forms
    fields = (b'name="model"\r\n\r\nwhisper-1', b'name="language"\r\n\r\nen', b'filename="known.ogg"')
    assert all(part in form for part in (*fields, KNOWN.read_bytes()))


@pytest.mark.parametrize("given", ["", "ftp://a", "http://", "http://a:b", "http://a:99999"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ServerError, match="an address was expected"):
        Address.of(given)


def test_addresses_are_read() -> None:
    assert str(Address.of("https://a.example/x/v1/")) == "https://a.example:443/x"
    assert str(Address.of("localhost:8000")) == "http://localhost:8000"
    assert str(Address.of("unix:/run/a.sock")) == "unix:/run/a.sock"


# --- resident -------------------------------------------------------------------------------------------------------


class Home:
    """Commands of a user who has a runtime folder of his own."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.folder, self.runtime = folder, runtime
        self.env = environ(XDG_RUNTIME_DIR=str(self.runtime))

    def transcribe(self, *more: object) -> str:
        done = run("transcribe", KNOWN, *PLAIN, "-f", "none", "--resident", *more, cwd=self.folder, env=self.env)
        assert done.returncode == 0 and "whispers back" in done.stdout, done.stderr
        return done.stdout

    @property
    def residents(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.runtime.glob("sottovoce/*.json")]

    @property
    def pid(self) -> int:
        (one,) = self.residents
        pid: int = one["pid"]
        return pid


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder with a short name: a socket's may have 107 bytes, and those of pytest's workers are long."""
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield Path(folder)


@pytest.fixture
def home(tmp_path: Path, runtime: Path) -> Iterator[Home]:
    home = Home(tmp_path, runtime)
    yield home
    run("resident", "stop", cwd=tmp_path, env=home.env)


def lives(pid: int) -> bool:
    """NOTE: who is adopted by a process that does not wait stays as a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def until(true: Any, seconds: float = 30.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.mark.weights
def test_one_server_stays_for_all_commands_and_ends_when_told(home: Home) -> None:
    """Three start at once, and one of them starts it; a killed one is replaced, and so is one of another version."""
    commands = [
        start("transcribe", KNOWN, *PLAIN, "-f", "none", "--resident", cwd=home.folder, env=home.env) for _ in range(3)
    ]
    told = [command.communicate(timeout=120) for command in commands]
    assert all("whispers back" in out for out, _ in told), told
    first = home.pid
    assert home.transcribe() and home.pid == first
    status = run("resident", "status", cwd=home.folder, env=home.env)
    assert f"running  pid {first}" in status.stdout

    os.kill(first, signal.SIGKILL)
    until(lambda: not lives(first))
    assert home.transcribe() and home.pid != first
    second = home.pid

    (path,) = home.runtime.glob("sottovoce/*.json")
    path.write_text(json.dumps(home.residents[0] | {"version": "0.0.1+old"}))
    assert home.transcribe() and home.pid != second
    until(lambda: not lives(second))

    third = home.pid
    stopped = run("resident", "stop", cwd=home.folder, env=home.env)
    assert f"ended  pid {third}" in stopped.stdout
    until(lambda: not lives(third))
    assert not list(home.runtime.glob("sottovoce/*.sock")) and not home.residents
    assert "no resident server" in run("resident", "status", cwd=home.folder, env=home.env).stdout


@pytest.mark.weights
def test_one_that_is_idle_ends_and_the_next_command_starts_another(home: Home) -> None:
    home.transcribe("--resident-idle", "0.5")
    first = home.residents
    until(lambda: not home.residents)
    until(lambda: not lives(first[0]["pid"]))
    home.transcribe()
    assert home.pid != first[0]["pid"]


def test_a_folder_that_others_may_enter_is_not_used(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (runtime / "sottovoce").mkdir(mode=0o755)
    with pytest.raises(OutputError, match="others may enter it"):
        resident.runtime_folder()
    (runtime / "sottovoce").rmdir()
    (runtime / "sottovoce").symlink_to(runtime)
    with pytest.raises(OutputError, match="others may enter it"):
        resident.runtime_folder()


def test_other_settings_have_another_server_and_another_model_has_not() -> None:
    plain = resident.settings_of(Config())
    assert resident.settings_of(Config(model="tiny", log_level="debug")) == plain
    assert resident.settings_of(Config(compute="float32")) != plain != resident.settings_of(Config(threads=1))
