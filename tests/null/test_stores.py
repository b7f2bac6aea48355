"""Stores of results: what all promise, what a folder promises besides, and what becomes of one that fails."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sottovoce.server.stores import DRAFT_S, Disk, Memory, Patient, Store

from .stores import NAME, OTHER, ROOM_BYTES, Failing, Promises, done


class TestMemory(Promises):
    def store(self) -> Store:
        return Memory(ROOM_BYTES)


class TestDisk(Promises):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "results"

    def store(self) -> Store:
        return Disk(self.folder, ROOM_BYTES, 3600)


class TestPatient(Promises):
    def store(self) -> Store:
        return Patient(Memory(ROOM_BYTES), "the store")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nobody_else_can_read_a_folder_of_results(tmp_path: Path) -> None:
    done(Disk(tmp_path / "results", ROOM_BYTES, 3600).put(NAME, b"one"))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "results").rglob("*")}
    assert modes == {0o700, 0o600}
    assert stat.S_IMODE((tmp_path / "results").stat().st_mode) == 0o700


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    disk = Disk(tmp_path, ROOM_BYTES, 3600)
    names = [f"{i:02x}" * 32 for i in range(12)]
    for i, name in enumerate(names):
        done(disk.put(name, bytes(2000)))
        if i < 10:
            os.utime(disk._path(name), (time.time() - 100 + i,) * 2)
        if i == 9:
            assert done(disk.get(names[0])) is not None  # used: it is the newest now
    left = {path.name for path in files(tmp_path)}
    assert names[0] in left and names[1] not in left and names[11] in left
    assert sum(path.stat().st_size for path in files(tmp_path)) <= ROOM_BYTES


def test_what_was_not_used_for_long_and_drafts_of_the_dead_go(tmp_path: Path) -> None:
    disk = Disk(tmp_path, ROOM_BYTES, 3600)
    done(disk.put(NAME, b"old"))
    os.utime(disk._path(NAME), (time.time() - 3601,) * 2)
    draft = disk._path(NAME).parent / ".dead"
    draft.write_bytes(b"half")
    os.utime(draft, (time.time() - DRAFT_S - 1,) * 2)
    young = disk._path(NAME).parent / ".young"
    young.write_bytes(b"half")
    done(Disk(tmp_path, ROOM_BYTES, 3600).put(OTHER, b"new"))  # another process
    assert {path.name for path in files(tmp_path)} == {OTHER, ".young"}


WRITER = """
import asyncio, sys
from pathlib import Path
from sottovoce.server.stores import Disk
async def main():
    disk = Disk(Path(sys.argv[1]), 200_000, 3600)
    for i in range(300):
        name = f"{(i * 7) % 64:02x}" * 32
        got = await disk.get(name)
        assert got in (None, name.encode() * 100), got[:80]
        await disk.put(name, name.encode() * 100)
asyncio.run(main())
"""


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert not [path for path in files(tmp_path) if path.name.startswith(".")]
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 200_000 * 1.2  # 5 % for each, and one result


def test_a_store_that_fails_is_said_once_and_so_is_its_recovery(caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing()
    patient = Patient(failing, "the folder")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            done(patient.put(NAME, b"one"))
        assert [r.getMessage() for r in caplog.records] == [
            "the folder cannot be written (No space left on device); recordings are transcribed without"
        ]
        failing.fails = False
        for _ in range(5):
            done(patient.put(NAME, b"one"))
        assert [r.getMessage() for r in caplog.records[1:]] == ["the folder can be written again"]
    assert done(patient.get(NAME)) == b"one"


def test_a_store_that_does_not_answer_is_left_alone_for_a_while() -> None:
    failing = Failing()
    patient = Patient(failing, "Redis", pause_s=0.2)
    for _ in range(20):
        assert done(patient.get(NAME)) is None
    assert failing.n_asked == 1
    failing.fails = False
    until_s = time.monotonic() + 10
    while not failing.kept and time.monotonic() < until_s:
        done(patient.put(NAME, b"one"))
    assert failing.kept == {NAME: b"one"}
