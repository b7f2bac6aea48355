"""server/intake.py, uploads.py, parts.py and wire.py: what a client may send, how much, how slowly, and what stays."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bench import containers, fuzzed

from ..commands import KNOWN, environ
from .service import Service, serving
from .test_media import cpu_s, silence

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(sys.platform != "linux", reason="it is looked at through /proc"),
]
PATH = "/v1/audio/transcriptions"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
MAX_MB, IDLE_S, MAX_S = 80, 1.0, 120
END = b"\r\n--x--\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    flags = ("--model=tiny.en", f"--max-upload-mb={MAX_MB}", f"--body-idle-s={IDLE_S}", f"--max-duration-s={MAX_S}")
    with serving(folder, *flags, "--decoders=1", env={"TMPDIR": str(folder)}) as found:
        yield found


@pytest.fixture(autouse=True)
def leaves_nothing(service: Service) -> Iterator[None]:
    """After every request its files are gone."""
    yield
    until(lambda: not list(kept(service).iterdir()))


def kept(service: Service) -> Path:
    (folder,) = service.log.parent.glob("sottovoce-serve-*")
    return folder


def until(holds: Callable[[], bool], patience_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    given = f'; filename="{filename}"' if filename is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{given}\r\n\r\n'.encode() + data


def form(*parts: bytes) -> bytes:
    return b"\r\n".join(parts) + END


def post(service: Service, body: bytes | Iterable[bytes], headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status, and what the JSON says."""
    with closing(http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)) as connection:
        chunked = not isinstance(body, bytes)
        connection.request("POST", PATH, body, headers or FORM, encode_chunked=chunked)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def works(service: Service) -> None:
    status, said = post(service, form(part("file", KNOWN.read_bytes(), "known.ogg"), part("model", b"whisper-1")))
    assert status == 200 and "old house" in said["text"]


def refused(said: Any) -> str:
    """The message of an error in OpenAI's shape."""
    assert set(said) == {"error"} and set(said["error"]) == {"message", "type", "param", "code"}
    return str(said["error"]["message"])


def raw(service: Service) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def head(length: int) -> bytes:
    lines = (f"POST {PATH} HTTP/1.1", "Host: a", f"Content-Type: {FORM['Content-Type']}", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


def rest(connection: socket.socket) -> bytes:
    """What is said until the connection is closed."""
    said = b""
    try:
        while more := connection.recv(65536):
            said += more
    except ConnectionResetError:
        pass
    return said


def test_a_form_is_heard(service: Service) -> None:
    works(service)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(service: Service) -> None:
    with raw(service) as connection:
        connection.sendall(head(MAX_MB * 1_000_000 + 1))
        said = rest(connection)
    assert said.startswith(b"HTTP/1.1 413")
    assert f"at most {MAX_MB} MB" in refused(json.loads(said.partition(b"\r\n\r\n")[2]))
    with raw(service) as connection:
        connection.sendall(head(0).replace(b"Content-Length: 0", b"Content-Length: 99999999999999999999"))
        assert rest(connection).startswith(b"HTTP/1.1 4")


def test_a_body_without_a_length_is_counted_while_it_comes(service: Service) -> None:
    def pieces() -> Iterator[bytes]:
        yield part("file", b"", "a.wav")
        for _ in range(MAX_MB + 1):
            yield bytes(1_000_000)

    try:
        status, said = post(service, pieces(), FORM | {"Transfer-Encoding": "chunked"})
    except (BrokenPipeError, ConnectionResetError):
        return  # refused while the client was still writing, which not every client can hear
    assert status == 413 and "MB" in refused(said)


def test_text_is_limited_more_than_sound_since_it_is_read_into_memory(service: Service) -> None:
    status, said = post(service, b"a" * 17_000_000, {"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 413 and refused(said)
    status, said = post(service, form(part("prompt", b"a" * 9_000_000)))
    assert status == 413 and said["error"]["param"] == "prompt"


def test_an_upload_goes_to_disk_and_not_into_memory(service: Service) -> None:
    size = 70_000_000
    before = peak_mb(service.process.pid)
    with raw(service) as connection:
        whole = form(part("file", bytes(size), "a.wav"))
        connection.sendall(head(len(whole)) + whole[: size // 2])
        until(lambda: sum(f.stat().st_size for f in kept(service).iterdir()) > size // 3)
        connection.sendall(whole[size // 2 :])
        assert connection.recv(12) == b"HTTP/1.1 400"
    assert peak_mb(service.process.pid) < before + 20


def peak_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "ends in the middle"),
        (b"not a form at all", "cannot be read"),
        (part("file", b"abc", "a.wav"), "ends in the middle"),
        (form(b"--x\r\nContent-Disposition: form-data\r\n\r\nabc"), "no name"),
        (form(b"--x\r\n" + b"A: b\r\n" * 5000 + b"\r\nabc"), "head|read"),
        (form(*(part("keywords[]", b"a") for _ in range(2001))), "more than 2000 fields"),
        (form(*(part("file", b"a", "a.wav") for _ in range(17))), "more than 16 files"),
    ],
)
def test_a_form_that_is_broken_or_endless_is_refused(service: Service, body: bytes, words: str) -> None:
    status, said = post(service, body)
    assert status == 400 and re.search(words, refused(said))


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data", 400),
        ("application/json", 415),
        ("", 415),
        ("multipart/form-data; boundary=" + "a" * 999, 400),
    ],
)
def test_a_body_that_is_no_form_is_refused(service: Service, kind: str, status: int) -> None:
    found, said = post(service, b"{}", {"Content-Type": kind})
    assert found == status and refused(said)


def test_a_client_that_stops_in_the_middle_is_given_up(service: Service) -> None:
    with raw(service) as connection:
        connection.sendall(head(100_000) + part("file", bytes(50_000), "a.wav"))
        start = time.monotonic()
        said = rest(connection)
    assert said.startswith(b"HTTP/1.1 408") and b"request_timeout" in said
    assert IDLE_S * 0.9 < time.monotonic() - start < 10


def test_a_client_that_drips_is_given_up(service: Service) -> None:
    with raw(service) as connection:
        connection.sendall(head(100_000) + part("file", b"", "a.wav"))
        start = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - start < 20:
            try:
                connection.sendall(b"a")
                if connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("said", [b"", b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nX-A: "])
def test_a_client_that_never_ends_its_headers_is_given_up(service: Service, said: bytes) -> None:
    with raw(service) as connection:
        connection.sendall(said)
        start = time.monotonic()
        rest(connection)
        assert time.monotonic() - start < 10


def test_headers_without_end_are_refused(service: Service) -> None:
    with raw(service) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
        try:
            for _ in range(1000):
                connection.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
        except OSError:
            return
        assert rest(connection).startswith(b"HTTP/1.1 4")


def test_who_hangs_up_in_the_middle_leaves_nothing(service: Service) -> None:
    with raw(service) as connection:
        connection.sendall(head(10_000_000) + part("file", bytes(5_000_000), "a.wav"))
        until(lambda: bool(list(kept(service).iterdir())))
    works(service)


def test_a_full_disk_is_said_and_leaves_nothing(service: Service) -> None:
    """A limit on the size of files stands for the disk."""
    pid = service.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        status, said = post(service, form(part("file", bytes(5_000_000), "a.wav")))
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    assert (status, said["error"]["code"]) == (507, "disk_full")
    assert str(service.log.parent) not in refused(said)
    works(service)


@pytest.mark.parametrize("path", ["/nowhere", "/health"])
def test_an_answer_that_comes_before_the_end_of_a_body_is_heard(service: Service, path: str) -> None:
    """The rest of the body was taken for the next request's head, and the connection cut off."""
    with closing(http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)) as connection:
        connection.request("POST", path, bytes(5_000_000), FORM)
        assert connection.getresponse().status in (404, 405)


def test_a_connection_serves_one_request_after_another(service: Service) -> None:
    with closing(http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)) as connection:
        for _ in range(3):
            connection.request("POST", PATH, form(part("file", bytes(200_000), "a.wav")), FORM)
            response = connection.getresponse()
            assert response.status == 400 and response.read()
            connection.request("GET", "/health")
            response = connection.getresponse()
            assert response.status == 200 and response.read()


def test_a_bomb_is_refused(service: Service, tmp_path: Path) -> None:
    bomb = silence(tmp_path / "bomb.flac", 1800).read_bytes()
    assert len(bomb) < 20_000
    status, said = post(service, form(part("file", bomb, "bomb.flac")))
    assert (status, said["error"]["code"]) == (400, "audio_too_long")


def test_a_playlist_opens_no_file_and_calls_nobody(service: Service) -> None:
    with fuzzed.free_port() as trap:
        for name, data in containers.texts(trap.getsockname()[1]).items():
            status, said = post(service, form(part("file", data, name)))
            assert status == 400 and "root:" not in refused(said) and str(service.log.parent) not in refused(said)
        assert fuzzed.calls(trap) == 0


def test_a_decoder_that_is_killed_is_replaced(service: Service) -> None:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    children += [c for f in Path(f"/proc/{service.process.pid}/task").glob("*/children") for c in f.read_text().split()]
    assert children
    for child in set(children):
        assert cpu_s(int(child)) > 0
        os.kill(int(child), signal.SIGKILL)
    works(service)


def test_what_a_killed_server_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"sottovoce-serve-{gone.pid}-abc"
    left.mkdir()
    (left / "1").write_bytes(b"sound")
    ours = tmp_path / f"sottovoce-serve-{os.getpid()}-abc"
    ours.mkdir()
    with serving(tmp_path, "--model=tiny.en", env=environ(TMPDIR=str(tmp_path))):
        assert not left.exists() and ours.exists()
        assert len(list(tmp_path.glob("sottovoce-serve-*"))) == 2
    assert list(tmp_path.glob("sottovoce-serve-*")) == [ours]
