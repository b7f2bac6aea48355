"""server/fetching.py: a recording by URL, and what a URL may not reach. Sites on loopback, allowed by name or not."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bench import fuzzed

from sottovoce.server.failures import RequestError
from sottovoce.server.fetching import fetched
from sottovoce.server.uploads import Uploads
from sottovoce.serving import Serving

SOUND = b"RIFF" + bytes(200_000)


class Handler(BaseHTTPRequestHandler):
    seen: list[tuple[str, dict[str, str]]]
    done: threading.Event
    inner: str

    def do_GET(self) -> None:
        type(self).seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        path = self.path.partition("?")[0]
        if path == "/a.wav":
            self.answer(200, SOUND)
        elif path.startswith("/again"):
            n = int(path.removeprefix("/again"))
            self.answer(302, b"", Location=f"/again{n - 1}" if n > 1 else "/a.wav")
        elif path == "/loop":
            self.answer(302, b"", Location="/loop")
        elif path == "/in":
            self.answer(307, b"", Location=self.inner)
        elif path == "/file":
            self.answer(302, b"", Location="file:///etc/passwd")
        elif path == "/large":
            self.head(200, 10_000_000)
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(bytes(100_000))
        elif path == "/slow":
            self.head(200, 100)
            with suppress(OSError):
                while not self.done.wait(0.05):
                    self.wfile.write(b"a")
        elif path == "/zip":
            self.answer(200, SOUND, **{"Content-Encoding": "gzip"})
        elif path == "/short":
            self.head(200, len(SOUND))
            self.wfile.write(SOUND[:1000])
        else:
            self.answer(int(path[1:]), b"secret page of an inner site")

    def head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.head(status, len(data), **headers)
        with suppress(OSError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(inner: str = "") -> Iterator[tuple[str, type[Handler]]]:
    handler = type("Handler", (Handler,), {"seen": [], "done": threading.Event(), "inner": inner})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}", handler
    finally:
        handler.done.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def site() -> Iterator[tuple[str, type[Handler]]]:
    with serving() as found:
        yield found


def get(url: str, **settings: Any) -> bytes:
    """What a URL serves; nothing of it stays on disk."""

    @asynccontextmanager
    async def house() -> Any:
        uploads = Uploads()
        await uploads.open()
        try:
            yield uploads
        finally:
            for _ in range(500):
                if not list(uploads.folder.iterdir()):
                    break
                await asyncio.sleep(0.01)
            assert not list(uploads.folder.iterdir())
            await uploads.close()

    async def work() -> bytes:
        async with house() as uploads:
            serving = Serving(**{"fetch_urls": True, "max_upload_mb": 1.0, **settings})
            async with fetched(url, serving, uploads) as path:
                assert path.parent == uploads.folder
                return Path(path).read_bytes()

    return asyncio.run(work())


def refused(url: str, **settings: Any) -> tuple[int, str | None, str]:
    with pytest.raises(RequestError) as caught:
        get(url, **settings)
    assert caught.value.param == "url"
    return caught.value.kind.status, caught.value.kind.code, str(caught.value)


def test_urls_are_off_unless_asked_for(site: tuple[str, type[Handler]]) -> None:
    url, handler = site
    assert refused(f"{url}/a.wav", fetch_urls=False, fetch_hosts="localhost")[:2] == (403, "url_off")
    assert handler.seen == []
    assert not Serving().fetch_urls


@pytest.mark.parametrize("path", ["/a.wav", "/a.wav?token=1", "/again1", "/again5"])
def test_a_recording_of_an_allowed_host_is_fetched(site: tuple[str, type[Handler]], path: str) -> None:
    url, handler = site
    host = url.removeprefix("http://")
    assert get(url + path, fetch_hosts="LOCALHOST, other.example") == SOUND
    assert get(url + path, fetch_hosts=host) == SOUND
    assert refused(url + path, fetch_hosts="localhost:1")[1] == "url_refused"
    sent = handler.seen[0][1]
    assert sent["host"] == host and not {"authorization", "cookie", "referer"} & set(sent)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LocalHost", "localhost.", "127.1", "0x7f.1", "0x7f000001", "2130706433"),
        *("017700000001", "0177.0.0.1", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "0"),
        *("0.0.0.0", "[::127.0.0.1]", "①②⑦.⓪.⓪.①", "127。0。0。1", "[fe80::1%25lo]"),
    ],
)
def test_this_machine_is_not_called_however_it_is_spelled(site: tuple[str, type[Handler]], host: str) -> None:
    url, handler = site
    port = url.rpartition(":")[2]
    status, code, _ = refused(f"http://{host}:{port}/a.wav", fetch_s=10)
    assert status == 400 and code in ("url_refused", "url_failed")
    assert handler.seen == []


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.1.1", "172.20.0.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1",
     "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "255.255.255.255"],
)  # fmt: skip
def test_inner_addresses_are_refused_without_a_call(host: str) -> None:
    start = time.monotonic()
    assert refused(f"http://{host}/latest/meta-data/")[:2] == (400, "url_refused")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "/etc/passwd",
            "ftp://127.0.0.1/a",
            "gopher://127.0.0.1/_a",
            "data:audio/wav;base64,AAA",
        ),
        *("http://", "http:///a.wav", "https:/a.wav", "http://a:99999/", "http://a:0/", "http://[::1", "http://a b/"),
        *("http://user:secret@a.example/a.wav", "http://secret@a.example/", "http://a.example/\r\nX: y", ""),
        *("http://a.example\\@127.0.0.1/", "concat:http://a|http://b", "subfile,,start,0,end,9,,:/etc/passwd"),
        "http://a.example/" + "a" * 5000,
    ],
)
def test_what_is_no_plain_url_of_http_is_refused(url: str) -> None:
    status, code, message = refused(url)
    assert (status, code) == (400, "url_refused")
    assert "secret" not in message and len(message) < 500


def test_a_name_is_refused_if_one_of_its_addresses_is_an_inner_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with fuzzed.free_port() as trap:
        port = trap.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("93.184.216.34", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert refused(f"http://rebind.example:{port}/")[1] == "url_refused"
        assert fuzzed.calls(trap) == 0


def test_a_name_is_asked_for_once_and_its_address_is_the_one_that_is_called(
    site: tuple[str, type[Handler]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means another address a moment later would be called there."""
    url, handler = site
    port = int(url.rpartition(":")[2])
    asked: list[Any] = []
    real = socket.getaddrinfo

    def answers(host: Any, *more: Any, **named: Any) -> Any:
        if host != "name.example":
            return real(host, *more, **named)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    assert get(f"http://name.example:{port}/a.wav", fetch_hosts="name.example") == SOUND
    assert asked == ["name.example"]
    assert handler.seen[0][1]["host"] == f"name.example:{port}"


def test_a_redirect_is_looked_at_as_the_first_url_was(site: tuple[str, type[Handler]]) -> None:
    url, inner = site
    port = url.rpartition(":")[2]
    with serving(f"http://127.0.0.1:{port}/a.wav") as (outer, _):
        assert refused(f"{outer}/in", fetch_hosts="localhost")[:2] == (400, "url_refused")
        assert inner.seen == []
        assert refused(f"{outer}/file", fetch_hosts="localhost")[:2] == (400, "url_refused")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/loop", 400, "more than 5 redirects"),
        ("/again6", 400, "more than 5 redirects"),
        ("/404?token=secret", 400, "status 404"),
        ("/503", 400, "status 503"),
        ("/204", 400, "status 204"),
        ("/large", 413, "more than 1 MB"),
        ("/endless", 413, "more than 1 MB"),
        ("/slow", 400, "within 1 s"),
        ("/zip", 400, "compressed"),
        ("/short", 400, "could not be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_said(site: tuple[str, type[Handler]], path: str, status: int, words: str) -> None:
    found, _, message = refused(site[0] + path, fetch_hosts="localhost", fetch_s=1.0)
    assert found == status and words in message
    assert "secret" not in message


def test_a_proxy_of_the_environment_is_not_asked(
    site: tuple[str, type[Handler]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fuzzed.free_port() as trap:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.getsockname()[1]}")
        assert get(f"{site[0]}/a.wav", fetch_hosts="localhost") == SOUND
        assert fuzzed.calls(trap) == 0


def test_nobody_listening_is_an_error_at_once() -> None:
    with fuzzed.free_port() as sock:
        port = sock.getsockname()[1]
    assert refused(f"http://localhost:{port}/a.wav", fetch_hosts="localhost")[:2] == (400, "url_failed")
