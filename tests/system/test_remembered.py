"""Results that are remembered, by a real server: across restarts, on a full disk, in a Redis that goes and comes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sottovoce.server.redis_store import Redis
from sottovoce.server.stores import Store

from ..null.stores import NAME, ROOM_BYTES, Promises, done
from .serving import Child, free_port, recording, serve, text_of

SAID = "the old house listens to the sea and the sea whispers back"
HEADER = "x-sottovoce-cache"
SLOW_S = 5.0  # a machine that runs other tests beside
REDIS = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(REDIS is None, reason="redis-server is not on PATH; apt-get install redis-server")


def origin(child: Child, sound: Path, **headers: str) -> str:
    status, told, body = child.post(sound, **headers)
    assert status == 200 and text_of(body) == SAID
    return told[HEADER]


@pytest.mark.weights
def test_a_restart_remembers_and_a_damaged_file_is_one_result_less(tmp_path: Path) -> None:
    cache = tmp_path / "results"
    first, second = recording(tmp_path, 1), recording(tmp_path, 2)
    with serve(tmp_path, "--cache", f"disk:{cache}") as child:
        assert [origin(child, sound) for sound in (first, second)] == ["miss", "miss"]
        assert [origin(child, sound) for sound in (first, second)] == ["hit", "hit"]
        assert origin(child, first, **{"Cache-Control": "no-cache"}) == "bypass"
        assert child.post(_no_media(tmp_path))[0] == 400
        assert child.end() == 0
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert len(kept) == 2 and {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert not any(word in path.read_bytes() for path in kept for word in (b"house", b"sea", b"whisper"))
    newest = max(kept, key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-7])
    with serve(tmp_path, "--cache", f"disk:{cache}") as child:
        assert sorted(origin(child, sound) for sound in (first, second)) == ["hit", "miss"]
        assert [origin(child, sound) for sound in (first, second)] == ["hit", "hit"]
        assert child.log.read_text().count("a remembered result cannot be used") == 1


def _no_media(folder: Path) -> Path:
    path = folder / "no.wav"
    path.write_bytes(b"no sound at all " * 100)
    return path


@pytest.mark.weights
def test_a_full_disk_costs_no_answer(tmp_path: Path) -> None:
    """A real one of 64 kB where one may be mounted, else a limit on what the server may write."""
    disk = tmp_path / "disk"
    disk.mkdir()
    is_mounted = _mounted(disk)
    try:
        with serve(tmp_path, "--cache", f"disk:{disk}", preexec_fn=None if is_mounted else _write_little) as child:
            if is_mounted:
                _fill(disk)
            sounds = [recording(tmp_path, n) for n in range(3)]
            assert [origin(child, sound) for sound in sounds] == ["miss"] * 3
            said = child.log.read_text()
            assert said.count("cannot be written") == 1 and "recordings are transcribed without" in said
            assert not [path for path in disk.rglob(".*") if path.is_file()]
            if is_mounted:
                (disk / "filler").unlink()
                assert origin(child, sounds[0]) == "miss"
                assert origin(child, sounds[0]) == "hit"
                assert child.log.read_text().count("can be written again") == 1
    finally:
        if is_mounted:
            subprocess.run(["umount", disk], check=True)


def _mounted(folder: Path) -> bool:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(folder)]
    try:
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def _write_little() -> None:
    """Uploads stay in memory below a megabyte; of a file no byte may be written. NOTE: also of the log."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))


# --- Redis ----------------------------------------------------------------------------------------------------------


class RealRedis:
    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert REDIS is not None
        command = [REDIS, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self._folder)
        until_s = time.monotonic() + 20
        store = self.store()
        while True:
            try:
                done(store.get(NAME))
                return
            except OSError:
                assert time.monotonic() < until_s
                time.sleep(0.02)

    def stop(self, signum: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait(20)
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def store(self) -> Store:
        return Once(self.url)


class Once:
    """A store for each call: an event loop of its own has connections of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def get(self, name: str) -> bytes | None:
        store = Redis(self._url, ROOM_BYTES, 60)
        try:
            return await store.get(name)
        finally:
            await store.close()

    async def put(self, name: str, sealed: bytes) -> None: ...
    async def drop(self, name: str) -> None: ...
    async def close(self) -> None: ...


@contextmanager
def redis_in(folder: Path) -> Iterator[RealRedis]:
    real = RealRedis(folder)
    try:
        real.start()
        yield real
    finally:
        real.stop()


@needs_redis
class TestRedis(Promises):
    @pytest.fixture(autouse=True)
    def _real(self, tmp_path: Path) -> Iterator[None]:
        with redis_in(tmp_path) as self.real:
            yield

    def store(self) -> Store:
        return Redis(self.real.url, ROOM_BYTES, 60, SLOW_S)

    def test_what_is_kept_has_an_end(self) -> None:
        async def scenario() -> None:
            store = Redis(self.real.url, ROOM_BYTES, 0.05, SLOW_S)
            await store.put(NAME, b"one")
            assert await store.get(NAME) in (b"one", None)
            time.sleep(0.1)
            assert await store.get(NAME) is None
            await store.close()

        done(scenario())

    def test_one_that_is_gone_or_hangs_is_an_oserror_and_soon(self) -> None:
        async def scenario() -> None:
            store = Redis(self.real.url, ROOM_BYTES, 60, SLOW_S)
            await store.put(NAME, b"one")
            self.real.freeze()
            start_s = time.monotonic()
            with pytest.raises(OSError, match=r".+"):
                await store.get(NAME)
            assert time.monotonic() - start_s < 4 * SLOW_S
            self.real.thaw()
            assert await store.get(NAME) == b"one"
            self.real.stop()
            with pytest.raises(OSError, match=r".+"):
                await store.get(NAME)
            await store.close()

        done(scenario())


@needs_redis
@pytest.mark.weights
def test_redis_may_go_and_come_back(tmp_path: Path) -> None:
    first, second = recording(tmp_path, 1), recording(tmp_path, 2)
    with redis_in(tmp_path) as real, serve(tmp_path, "--cache", real.url) as child:
        assert [origin(child, first), origin(child, first)] == ["miss", "hit"]
        real.stop()
        assert [origin(child, sound) for sound in (first, second, first)] == ["miss"] * 3
        assert child.log.read_text().count("recordings are transcribed without") == 1
        real.start()
        until_s = time.monotonic() + 20
        while origin(child, second) != "hit":
            assert time.monotonic() < until_s
            time.sleep(0.1)
        assert "again" in child.log.read_text() and child.get("/ready")[0] == 200
        assert child.end() == 0
