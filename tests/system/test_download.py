"""OpenAI's way of publishing, against a real server on the loopback: a file whose URL carries its hash."""

import errno
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import DownloadError, OutputError
from sottovoce.model import download as openai
from sottovoce.model import hub
from sottovoce.model.catalogue import Card, find

from .publisher import SHA256, WEIGHTS, Publisher, files_of

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


def download(publisher: Publisher, folder: Path, pauses: list[float]) -> Path:
    """The source alone; what it would sleep is noted."""
    card = publisher.card
    assert card.url and card.sha256
    openai.fetch(card.url, card.sha256, folder, card.size_bytes, None, pauses.append)
    return folder / "tiny.pt"


def test_a_network_that_stays_broken_gives_the_source_up(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(answer: http.client.HTTPResponse, amt: int | None = None) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    pauses: list[float] = []
    with pytest.raises(DownloadError, match=r"No route to host.*are kept"):
        download(publisher, tmp_path, pauses)
    assert pauses == [1, 2, 4, 8], "it was given up within milliseconds"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_has_no_time_now_is_asked_again_later(publisher: Publisher, tmp_path: Path, status: int) -> None:
    pauses: list[float] = []
    publisher.refusals, publisher.cuts = [status] * 2, [1_000_000]
    assert download(publisher, tmp_path, pauses).read_bytes() == WEIGHTS
    assert pauses == [1, 2], "after a connection that brought something, the next follows at once"
    assert publisher.asked == [None, None, None, "bytes=1000000-"]
    publisher.refusals = [status] * 100
    with pytest.raises(DownloadError, match=rf"HTTP status {status}.*are kept"):
        download(publisher, tmp_path / "other", pauses)
    assert sum(pauses) < 20


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_refuses_is_asked_once(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.refusals = [status]
    with pytest.raises(DownloadError, match=f"HTTP status {status}"):
        download(publisher, tmp_path, [])
    assert publisher.asked == [None]


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
