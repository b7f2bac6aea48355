"""audio/decode.py over http: a server on loopback that serves, refuses, redirects, hangs, breaks off and lies."""

from __future__ import annotations

import io
import socket
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sottovoce.audio import decode, source
from sottovoce.errors import AudioError

PCM = (8000 * np.sin(np.arange(160_000) / 9)).astype("<i2")


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(PCM.tobytes())
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    data = wav()
    seen: list[str]
    done: threading.Event

    def do_GET(self) -> None:
        type(self).seen.append(self.path)
        path = self.path.partition("?")[0]
        if path == "/a.wav":
            self.answer(200, self.data)
        elif path == "/moved":
            self.answer(302, b"", Location="/a.wav?from=moved")
        elif path == "/out":
            self.answer(302, b"", Location="file:///etc/hostname")
        elif path == "/page":
            self.answer(200, b"<html>no sound here</html>" * 100)
        elif path == "/hang":
            self.done.wait(30)
        elif path == "/stall":
            self.head(200, len(self.data))
            self.wfile.write(self.data[:200_000])
            self.wfile.flush()
            self.done.wait(30)
        elif path == "/broken":
            self.head(200, len(self.data))
            self.wfile.write(self.data[:200_000])
        elif path in ("/403", "/404", "/429", "/503"):
            self.answer(int(path[1:]), b"no")

    def head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.head(status, len(data), **headers)
        with suppress(BrokenPipeError, ConnectionResetError):  # a reader that has heard enough hangs up
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[tuple[str, type[Handler]]]:
    handler = type("Handler", (Handler,), {"seen": [], "done": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        handler.done.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def site() -> Iterator[str]:
    with serving() as (url, _):
        yield url


@pytest.mark.parametrize("path", ["/a.wav", "/moved"])
def test_a_url_is_heard_as_a_file_is(site: str, path: str) -> None:
    assert np.array_equal(decode.load(site + path), PCM.astype(np.float32) / 32768)


@pytest.mark.parametrize("status", [403, 404, 429, 503])
def test_a_refusal_is_passed_on(site: str, status: int) -> None:
    with pytest.raises(AudioError, match="could not be opened") as caught:
        decode.load(f"{site}/{status}?token=secret")
    assert f"/{status}: " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_page_is_no_recording(site: str) -> None:
    with pytest.raises(AudioError, match="not media"):
        decode.load(site + "/page")


def test_a_redirect_to_a_local_file_is_not_followed(site: str) -> None:
    with pytest.raises(AudioError, match="could not be opened"):
        decode.load(site + "/out")


def test_a_server_that_never_answers_is_given_up(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "OPEN_TIMEOUT_S", 0.3)
    with pytest.raises(AudioError, match=r"no answer came within 0\.3 s"):
        decode.load(site + "/hang")


def test_a_server_that_stalls_is_given_up_and_half_a_recording_is_not_passed_off_as_one(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "READ_TIMEOUT_S", 0.3)
    with pytest.raises(AudioError, match="could not be read to its end"):
        decode.load(site + "/stall")


def test_a_connection_that_breaks_off_is_an_error(site: str) -> None:
    with pytest.raises(AudioError, match="could not be read to its end"):
        decode.load(site + "/broken")


def test_nobody_listening_is_an_error_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(AudioError, match="could not be opened"):
        decode.load(f"http://127.0.0.1:{port}/a.wav")


def test_a_local_playlist_reaches_no_server() -> None:
    """A recording from a stranger must not make us call addresses of our own network."""
    with serving() as (url, handler):
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}/a.wav\n#EXT-X-ENDLIST\n"
        with pytest.raises(AudioError):
            decode.load(playlist.encode())
        assert handler.seen == []
