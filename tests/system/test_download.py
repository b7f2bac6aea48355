"""OpenAI's way of publishing, against a real server on the loopback: a file whose URL carries its hash."""

import errno
import hashlib
import http.client
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import DownloadError, ModelError, OutputError
from sottovoce.model import hub
from sottovoce.model.catalogue import Card, find

WEIGHTS = b"PK\x03\x04" + bytes(range(256)) * 12_000  # 3 MB that look like a .pt
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


class Publisher(ThreadingHTTPServer):
    """Serves WEIGHTS. cut_at: break the connection once after so many bytes; gate: hold the second half until set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.body = WEIGHTS
        self.cuts: list[int] = []
        self.ranges = True
        self.gate: threading.Event | None = None
        self.half_way = threading.Event()
        self.asked: list[str | None] = []

    @property
    def card(self) -> Card:
        tiny = find("tiny")
        assert tiny is not None
        url = f"http://127.0.0.1:{self.server_port}/models/{SHA256}/tiny.pt"
        return replace(tiny, url=url, sha256=SHA256, size_bytes=len(WEIGHTS))


class Answer(BaseHTTPRequestHandler):
    server: Publisher

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        body, start = self.server.body, 0
        if asked and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = self.server.cuts.pop(0) if self.server.cuts else len(body)
        try:
            if self.server.gate and not start:
                half = len(body) // 2
                self.wfile.write(body[:half])
                self.server.half_way.set()
                self.server.gate.wait(30)
                start = half
            self.wfile.write(body[start:end])
        except ConnectionError:  # the client was killed: that is the scenario
            pass
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    if server.gate:
        server.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Config(sources="openai")


def files_of(tmp_path: Path) -> list[str]:
    names = (p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return sorted(str(p.relative_to(tmp_path / "cache/sottovoce/models")) for p in names)


CHILD = """
import sys, json, dataclasses
from sottovoce.config import Config
from sottovoce.model import hub
from sottovoce.model.catalogue import find
if len(sys.argv) > 3:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
url, size_bytes = sys.argv[1], int(sys.argv[2])
card = dataclasses.replace(find("tiny"), url=url, sha256=url.split("/")[-2], size_bytes=size_bytes)
try:
    print(hub.fetch("tiny", Config(sources="openai"), card=card).path)
except Exception as e:
    print(type(e).__name__, e)
"""


def child(card: Card, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(card.url), str(card.size_bytes), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_download_is_verified_named_and_remembered(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    files = hub.fetch("tiny", config, lambda *at: seen.append(at), card=publisher.card)
    assert files.path.read_bytes() == WEIGHTS
    assert (files.form, files.source, files.sha256) == ("pt", "openai", SHA256)
    assert files_of(tmp_path) == ["tiny/manifest.json", "tiny/tiny.pt"]
    assert seen[-1] == (len(WEIGHTS), len(WEIGHTS), "openai")


def test_what_is_stored_needs_no_network_and_no_time(publisher: Publisher, config: Config) -> None:
    hub.fetch("tiny", config, card=publisher.card)
    asked = len(publisher.asked)
    start = time.perf_counter()
    hub.fetch("tiny", config.with_(offline=True))
    assert time.perf_counter() - start < 0.05
    assert len(publisher.asked) == asked


def test_a_broken_connection_is_resumed_by_range(publisher: Publisher, config: Config) -> None:
    publisher.cuts = [1_000_000, 2_500_000]
    files = hub.fetch("tiny", config, card=publisher.card)
    assert files.path.read_bytes() == WEIGHTS
    assert publisher.asked == [None, "bytes=1000000-", "bytes=2500000-"]


def test_a_server_without_ranges_is_read_from_the_beginning(publisher: Publisher, config: Config) -> None:
    publisher.cuts, publisher.ranges = [1_000_000], False
    assert hub.fetch("tiny", config, card=publisher.card).path.read_bytes() == WEIGHTS
    assert publisher.asked == [None, "bytes=1000000-"]


FAULTS = (  # what a loopback never gives: TLS that finds garbage, a route that goes away
    ssl.SSLError(1, "[SSL] record layer failure"),
    OSError(errno.ENETUNREACH, "Network is unreachable"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
)


def failing(monkeypatch: pytest.MonkeyPatch, faults: list[OSError]) -> None:
    """Each fault strikes once, when a block of a body has arrived already."""
    read = http.client.HTTPResponse.read

    def faulty(answer: http.client.HTTPResponse, amt: int | None = None) -> bytes:
        if faults and answer.length != int(answer.headers["Content-Length"]):
            raise faults.pop(0)
        return read(answer, amt)

    monkeypatch.setattr(http.client.HTTPResponse, "read", faulty)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_of_the_network_within_a_body_is_resumed(
    publisher: Publisher, config: Config, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    failing(monkeypatch, [fault])
    assert hub.fetch("tiny", config, card=publisher.card).path.read_bytes() == WEIGHTS
    assert publisher.asked == [None, "bytes=1048576-"]


def test_a_network_that_stays_broken_gives_the_source_up(
    publisher: Publisher, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(answer: http.client.HTTPResponse, amt: int | None = None) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    with pytest.raises(DownloadError, match=r"openai: .*No route to host.*are kept"):
        hub.fetch("tiny", config, card=publisher.card)


def test_a_killed_download_leaves_no_final_file_and_goes_on_later(
    publisher: Publisher, config: Config, tmp_path: Path
) -> None:
    publisher.gate = threading.Event()
    process = child(publisher.card)
    assert publisher.half_way.wait(20)
    part = tmp_path / "cache/sottovoce/models/tiny/.partial/tiny.pt.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert files_of(tmp_path) == ["tiny/.partial/tiny.pt.part"]
    size = part.stat().st_size
    publisher.gate.set()
    assert hub.fetch("tiny", config, card=publisher.card).path.read_bytes() == WEIGHTS
    assert publisher.asked == [None, f"bytes={size}-"]


def test_two_processes_download_once(publisher: Publisher, config: Config) -> None:
    publisher.gate = threading.Event()
    first = child(publisher.card)
    assert publisher.half_way.wait(20)
    second = child(publisher.card)
    with pytest.raises(subprocess.TimeoutExpired):  # the second waits for the first
        second.communicate(timeout=1)
    publisher.gate.set()
    paths = {process.communicate(timeout=30)[0] for process in (first, second)}
    assert len(paths) == 1 and Path(paths.pop().strip()).read_bytes() == WEIGHTS
    assert len(publisher.asked) == 1


def test_a_part_of_another_file_is_noticed_and_fetched_anew(
    publisher: Publisher, config: Config, tmp_path: Path
) -> None:
    part = tmp_path / "cache/sottovoce/models/tiny/.partial/tiny.pt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 4000)
    assert hub.fetch("tiny", config, card=publisher.card).path.read_bytes() == WEIGHTS
    assert publisher.asked == ["bytes=4000-", None]


def test_a_wrong_checksum_is_never_stored(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    publisher.body = WEIGHTS[:-1] + b"!"
    with pytest.raises(DownloadError, match=f"{SHA256} was expected"):
        hub.fetch("tiny", config, card=publisher.card)
    assert files_of(tmp_path) == []


def test_a_host_that_is_not_there_costs_seconds(config: Config) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        card = replace(find("tiny"), url=f"http://127.0.0.1:{taken.getsockname()[1]}/{SHA256}/tiny.pt", sha256=SHA256)
        start = time.monotonic()
        with pytest.raises(DownloadError, match="cannot be reached"):
            hub.fetch("tiny", config, card=card)
    assert time.monotonic() - start < 6


def test_a_host_that_never_answers_costs_seconds(config: Config) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connects, and then says nothing
        card = replace(find("tiny"), url=f"http://127.0.0.1:{silent.getsockname()[1]}/{SHA256}/tiny.pt", sha256=SHA256)
        start = time.monotonic()
        with pytest.raises(DownloadError, match="tiny: no source served it"):
            hub.fetch("tiny", config, card=card)
    assert time.monotonic() - start < 8


def test_offline_asks_nobody(publisher: Publisher, config: Config) -> None:
    with pytest.raises(DownloadError, match="not on this disk"):
        hub.fetch("tiny", config.with_(offline=True), card=publisher.card)
    assert publisher.asked == []


def test_a_full_disk_is_named_with_a_remedy(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    said = child(publisher.card, "1000000").communicate(timeout=30)[0]  # the kernel refuses files above 1 MB
    assert said.startswith("OutputError") and "no room is left" in said and "SOTTOVOCE_MODEL_DIR" in said
    assert "tiny/tiny.pt" not in files_of(tmp_path)


def test_a_model_larger_than_the_disk_is_refused_at_once(publisher: Publisher, config: Config) -> None:
    with pytest.raises(OutputError, match="are needed"):
        hub.fetch("tiny", config, card=replace(publisher.card, size_bytes=10**18))
    assert publisher.asked == []


def test_a_folder_that_cannot_be_made_is_named_with_a_remedy(publisher: Publisher, tmp_path: Path) -> None:
    # a file in the way: permissions would not stop a test that runs as root
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*choose another folder with model_dir"):
        hub.fetch("tiny", Config(sources="openai", model_dir=str(tmp_path / "file")), card=publisher.card)


def test_damage_is_noticed_and_nothing_is_deleted(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    damaged = b"!" + WEIGHTS[1:]
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="sottovoce models remove tiny"):
        hub.fetch("tiny", config)
    with pytest.raises(ModelError, match=f"{SHA256} was expected"):
        hub.verify("tiny", config)
    assert path.read_bytes() == damaged


def test_damage_that_hides_behind_the_old_time_is_found_by_verify(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    stat = path.stat()
    path.write_bytes(b"!" + WEIGHTS[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ModelError, match=f"{SHA256} was expected"):
        hub.verify("tiny", config)


def test_a_touched_file_whose_hash_holds_is_still_good(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    os.utime(path)
    assert hub.fetch("tiny", config).path == path


def test_a_file_that_is_gone_is_fetched_again(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    path.unlink()
    assert hub.fetch("tiny", config, card=publisher.card).path.read_bytes() == WEIGHTS


def test_the_store_lists_shows_and_removes(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    assert hub.listing(config) == []
    hub.fetch("tiny", config, card=publisher.card)
    (line,) = hub.listing(config)
    assert (line.name, line.form, line.source, line.sha256) == ("tiny", "pt", "openai", SHA256)
    assert line.size_bytes == len(WEIGHTS)
    assert hub.show("tiny", config) == line == hub.verify("tiny", config)
    assert hub.remove("tiny", config) == line
    assert hub.listing(config) == [] and files_of(tmp_path) == []
    with pytest.raises(ModelError, match="sottovoce models pull tiny"):
        hub.show("tiny", config)


def test_last_use_moves_with_each_use(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    hub.fetch("tiny", config, card=publisher.card)
    os.utime(tmp_path / "cache/sottovoce/models/tiny/manifest.json", (0, 0))
    assert hub.show("tiny", config).last_use.year == 1970
    hub.fetch("tiny", config)
    assert hub.show("tiny", config).last_use.year > 2000


def test_the_log_says_who_served_and_who_did_not(
    publisher: Publisher, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sottovoce")
    hub.fetch("tiny", config.with_(sources="folder,openai"), card=publisher.card)
    assert "tiny: folder did not serve it" in caplog.text and "tiny: served by openai" in caplog.text


def test_another_revision_than_openais_is_refused(publisher: Publisher, config: Config) -> None:
    with pytest.raises(DownloadError, match=r"at revision v9.*one revision only"):
        hub.fetch("tiny", config.with_(revision="v9"), card=publisher.card)
    assert hub.fetch("tiny", config.with_(revision=SHA256), card=publisher.card).path.read_bytes() == WEIGHTS
