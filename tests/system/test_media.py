"""server/media.py and its children: what is decoded, and what a recording that wants to hurt comes to."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from bench import containers, fuzzed

from sottovoce.audio import apart, cleanup, decode
from sottovoce.errors import AudioError, OptionError
from sottovoce.request import Request
from sottovoce.server.decoding import NAME
from sottovoce.server.failures import RequestError
from sottovoce.server.media import Media
from sottovoce.serving import Serving
from sottovoce.types import Clean

from ..commands import KNOWN, samples, write_silent_video, write_wav
from ..voice import voice

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="children are a matter of POSIX")
PLAIN = Request.of({})
LONG = round(3600 * 8000 / 65_535) * 65_535 * 2  # samples


def within(what: Callable[[Media], Awaitable[None]], **settings: float) -> None:
    """Do something with an open pool of one child."""

    async def life() -> None:
        media = Media(Serving(**{"decoders": 1, "decode_s": 60.0, **settings}))  # type: ignore[arg-type]
        await media.open()
        try:
            await what(media)
        finally:
            await media.close()
        assert media.pids == ()

    asyncio.run(life())


def silence(path: Path, duration_s: float) -> Path:
    """A FLAC of silence: some bytes for every 8 seconds."""
    n = 65_535
    with av.open(str(path), "w", format="flac") as container:
        track = container.add_stream("flac", rate=8000, layout="mono", options={"frame_size": str(n)})
        piece = np.zeros((1, n), np.int16)
        for _ in range(round(duration_s * 8000 / n)):
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate = 8000
            container.mux(track.encode(frame))
        container.mux([packet for packet in track.encode(None) if packet.size])
    return path


async def busy(media: Media, path: Path) -> asyncio.Task[object]:
    """A task that reads a recording; its child is at work."""
    task = asyncio.ensure_future(media.read(path, PLAIN))
    await at_work(media, path, task)
    return task


async def at_work(media: Media, path: Path, task: asyncio.Task[object]) -> int:
    """The child that holds a recording."""
    while not task.done():
        for pid in media.pids:
            if holds(pid, path):
                return pid
        await asyncio.sleep(0.005)
    raise AssertionError("the recording was read before anybody could look")


def holds(pid: int, path: Path) -> bool:
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if file.readlink() == path:
                    return True
    return False


def cpu_s(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour that take seconds to decode."""
    return silence(tmp_path_factory.mktemp("long") / "long.flac", 3600)


def test_a_child_hears_what_is_heard_here(tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    sound = (np.stack([voice(3.0), np.roll(voice(3.0), 20_000)], 1) * 32767).astype("<i2")
    mono = write_wav(stereo, sound.reshape(-1)).read_bytes()
    stereo.write_bytes(mono[:22] + struct.pack("<HIIH", 2, 16_000, 64_000, 4) + mono[34:])

    async def look(media: Media) -> None:
        for path in (KNOWN, stereo):
            read = await media.read(path, Request.of({"end_s": 2.0}))
            assert np.array_equal(read.sound, decode.load(path, end_s=2.0))
            assert read.request == PLAIN
        second = await media.read(stereo, Request.of({"channel": 1}))
        assert np.array_equal(second.sound, decode.load(stereo, channel=1))
        cleaned = await media.read(KNOWN, Request.of({"clean": ["denoise", "highpass"]}))
        assert np.array_equal(cleaned.sound, cleanup.cleaned(decode.load(KNOWN), [Clean.HIGHPASS, Clean.DENOISE]))
        assert cleaned.request.clean == ()
        channels = await media.read(stereo, Request.of({"channels": True}))
        expected = apart.load(stereo)
        assert isinstance(channels.sound, apart.Channels)
        assert [np.array_equal(a, b) for a, b in zip(channels.sound.sounds, expected.sounds, strict=True)] == [True] * 2
        known = Request.of({"diarize": True, "known_speakers": {"Anna": KNOWN.read_bytes()}})
        ((name, heard),) = (await media.read(KNOWN, known)).request.options.known_speakers
        assert name == "Anna" and np.array_equal(heard, decode.load(KNOWN))

    within(look)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty", b"", "empty"),
        ("text", b"These are words already.\n" * 50, "not media"),
        ("none.wav", None, "no sound"),
        ("pictures.mp4", None, "only video"),
    ],
)
def test_what_is_no_recording_is_named_and_where_it_lies_is_not_told(
    tmp_path: Path, name: str, data: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    elif name == "none.wav":
        write_wav(path, np.zeros(0, np.int16))
    else:
        write_silent_video(path)

    async def look(media: Media) -> None:
        with pytest.raises(AudioError, match=words) as caught:
            await media.read(path, PLAIN)
        assert str(tmp_path) not in str(caught.value) and NAME not in str(caught.value)
        with pytest.raises(AudioError, match="cannot be read"):
            await media.read(tmp_path / "missing", PLAIN)
        with pytest.raises(OptionError, match="one channel"):
            await media.read(KNOWN, Request.of({"channels": True}))

    within(look)


def test_a_bomb_is_refused_when_it_has_been_heard_for_as_long_as_may_be(long: Path) -> None:
    assert long.stat().st_size < 30_000

    async def look(media: Media) -> None:
        for wishes in ({}, {"clean": ["highpass"]}):
            with pytest.raises(RequestError, match="longer than 60 s") as caught:
                await media.read(long, Request.of(wishes))
            assert (caught.value.kind.status, caught.value.kind.code) == (400, "audio_too_long")
        part = await media.read(long, Request.of({"end_s": 5.0}))
        assert isinstance(part.sound, np.ndarray) and part.sound.size == 80_000

    within(look, max_duration_s=60.0)


@pytest.mark.parametrize("rate_hz", [16_000, 1])
def test_a_small_file_that_claims_to_be_of_a_hundred_hours_costs_what_it_holds(tmp_path: Path, rate_hz: int) -> None:
    data = bytearray(write_wav(tmp_path / "a.wav", np.ones(500, np.int16)).read_bytes())
    n_bytes = 100 * 3600 * 32_000 & 0xFFFFFFFE
    data[4:8] = data[40:44] = struct.pack("<I", n_bytes & 0xFFFFFFFF)
    data[24:28] = struct.pack("<I", rate_hz)
    (tmp_path / "a.wav").write_bytes(data)

    async def look(media: Media) -> None:
        start = time.monotonic()
        try:
            read = await media.read(tmp_path / "a.wav", PLAIN)
            assert isinstance(read.sound, np.ndarray) and read.sound.size <= 501 * 16_000 / rate_hz
        except (AudioError, RequestError):
            assert rate_hz == 1
        assert time.monotonic() - start < 10

    within(look, max_duration_s=60.0)


def test_a_playlist_opens_no_file_and_calls_nobody(tmp_path: Path) -> None:
    async def look(media: Media) -> None:
        for name, data in containers.texts(trap.getsockname()[1]).items():
            (tmp_path / name).write_bytes(data)
            with pytest.raises(AudioError):
                await media.read(tmp_path / name, PLAIN)

    with fuzzed.free_port() as trap:
        within(look)
        assert fuzzed.calls(trap) == 0


def test_a_child_that_is_killed_at_work_is_replaced_and_its_recording_read_again(long: Path) -> None:
    async def look(media: Media) -> None:
        task = await busy(media, long)
        (killed,) = media.pids
        os.kill(killed, signal.SIGKILL)
        read = await task
        assert isinstance(read, object) and read.sound.size == LONG  # type: ignore[attr-defined]
        assert killed not in media.pids
        os.kill(media.pids[0], signal.SIGKILL)  # while it has nothing to do
        assert isinstance((await media.read(KNOWN, PLAIN)).sound, np.ndarray)

    within(look)


def test_a_child_that_is_killed_each_time_is_an_error_with_a_name(long: Path) -> None:
    async def look(media: Media) -> None:
        task = await busy(media, long)
        (first,) = media.pids
        os.kill(first, signal.SIGKILL)
        while (second := await at_work(media, long, task)) == first:
            await asyncio.sleep(0.005)
        os.kill(second, signal.SIGKILL)
        with pytest.raises(RequestError) as caught:
            await task
        assert (caught.value.kind.status, caught.value.kind.code) == (503, "decoder_lost")
        assert isinstance((await media.read(KNOWN, PLAIN)).sound, np.ndarray)

    within(look)


def test_a_codec_that_crashes_is_the_recordings_fault_and_nobody_elses(long: Path) -> None:
    async def look(media: Media) -> None:
        lost: list[str] = []
        media.on_lost = lost.append
        task = await busy(media, long)
        os.kill(media.pids[0], signal.SIGSEGV)
        with pytest.raises(AudioError, match="crashed"):
            await task
        assert lost == ["crashed"], "whoever watches is told"
        assert isinstance((await media.read(KNOWN, PLAIN)).sound, np.ndarray)

    within(look)


def test_a_decoder_that_hangs_is_ended(long: Path) -> None:
    async def look(media: Media) -> None:
        task = await busy(media, long)
        lost: list[str] = []
        media.on_lost = lost.append
        (stopped,) = media.pids
        os.kill(stopped, signal.SIGSTOP)
        with pytest.raises(RequestError) as caught:
            await task
        assert (caught.value.kind.status, caught.value.kind.code) == (400, "audio_too_slow")
        assert lost == ["overtime"]
        with pytest.raises(ProcessLookupError):
            os.kill(stopped, 0)
        assert isinstance((await media.read(KNOWN, PLAIN)).sound, np.ndarray)

    within(look, decode_s=1.0)


def test_who_hangs_up_frees_the_child(long: Path) -> None:
    async def look(media: Media) -> None:
        task = await busy(media, long)
        (left,) = media.pids
        os.kill(left, signal.SIGSTOP)  # so that it is not ready in a moment
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance((await media.read(KNOWN, PLAIN)).sound, np.ndarray)
        assert left not in media.pids and len(media.pids) == 1

        (kept,) = media.pids
        quick = asyncio.ensure_future(media.read(KNOWN, PLAIN))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        quick.cancel()
        await asyncio.gather(quick, return_exceptions=True)
        assert isinstance((await media.read(KNOWN, PLAIN)).sound, np.ndarray)
        assert media.pids == (kept,), "what is ready in a moment is waited for"

    within(look)


def test_closing_answers_who_still_waits(long: Path) -> None:
    async def look() -> None:
        media = Media(Serving(decoders=1))
        await media.open()
        task = await busy(media, long)
        waiting = asyncio.ensure_future(media.read(KNOWN, PLAIN))
        await asyncio.sleep(0)
        await media.close()
        for asked in (task, waiting):
            with pytest.raises(RequestError) as caught:
                await asyncio.wait_for(asked, 10)
            assert caught.value.kind.code == "decoder_lost"

    asyncio.run(look())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and prlimit are Linux's")
def test_a_child_has_limits_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOTTOVOCE_SERVE_KEYS", "secret")
    monkeypatch.setenv("REDIS_URL", "redis://:secret@host")

    async def look(media: Media) -> None:
        await media.read(KNOWN, PLAIN)
        (pid,) = media.pids
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert resource.prlimit(pid, resource.RLIMIT_AS)[0] < 3 << 30
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 61 * 64_000
        assert resource.prlimit(pid, resource.RLIMIT_CPU)[0] < 70
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 10, "what it was handed is closed again"

    within(look, max_duration_s=60.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('/tmp/made', 'w')",
        "socket.socket()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.fork()",
        "os.unlink('/tmp/made')",
        "os.listdir('/')",
    ],
)
def test_a_confined_process_finds_nothing_to_open_call_start_or_end(attempt: str) -> None:
    program = (
        f"import os, socket\nfrom sottovoce.server.confinement import confine\nwhy = confine()\nprint(why)\n{attempt}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if done.stdout.strip() != "None":
        pytest.skip(done.stdout)
    assert "PermissionError" in done.stderr, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
def test_a_confined_process_still_has_threads_and_may_abort() -> None:
    program = (
        "import os, threading\nfrom sottovoce.server.confinement import confine\nconfine()\n"
        "t = threading.Thread(target=lambda: print('ran', flush=True))\nt.start()\nt.join()\nos.abort()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("ran\n", -signal.SIGABRT)


def test_three_hundred_damaged_recordings_of_every_container_are_heard_or_refused() -> None:
    """bench/fuzzed.py has run 20,000 (docs/log.md)."""
    with fuzzed.free_port() as trap:
        seeds = containers.corpus(samples()[:16_000], trap.getsockname()[1])
        serving = Serving(decoders=2, max_duration_s=120.0)
        found = asyncio.run(fuzzed.through_children(fuzzed.mutants(seeds, 300, 11), serving, None))
        assert fuzzed.calls(trap) == 0
    assert found.bad == []
    assert found.outcomes.total() == 300
    assert found.outcomes["200"] > 30 and found.outcomes["400 audio"] > 30
    assert len(seeds) > 40


def test_ports_are_traps() -> None:
    """The trap of the other tests sees a call."""
    with fuzzed.free_port() as trap:
        socket.create_connection(trap.getsockname()).close()
        assert fuzzed.calls(trap) == 1


def test_every_container_is_heard_whole(tmp_path: Path) -> None:
    sound = samples()[:16_000]

    async def look(media: Media) -> None:
        for name in containers.FORMS:
            data = containers.written(name, sound)
            if data is None:
                continue
            (tmp_path / name).write_bytes(data)
            read = await media.read(tmp_path / name, PLAIN)
            assert np.array_equal(read.sound, decode.load(io.BytesIO(data))), name

    within(look)
