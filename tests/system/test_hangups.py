"""Clients that hang up: their slots, permits, tasks and files come back, and those who stay are served."""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench import hangups

from sottovoce.serving import Serving
from sottovoce.text.known import SPOKEN, distance, words

from ..commands import KNOWN, RATE, samples, write_wav
from ..inhouse import Inhouse, served, wait_until

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where uploads lie while they are needed."""
    old, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("uploads"))
    yield tempfile.tempdir
    tempfile.tempdir = old


@pytest.fixture(scope="module")
def service(folder: str) -> Iterator[Inhouse]:
    with served(Serving(api_key=hangups.KEY, slots=4, queue=20)) as service:
        yield service


def at_rest(service: Inhouse, folder: str) -> bool:
    return service.call(lambda: hangups.look(service.app, folder)).at_rest


def is_right(text: str) -> bool:
    return distance(words(text), words(SPOKEN)) <= len(words(SPOKEN)) // 4


@pytest.mark.parametrize("seed", [0, 1])
def test_clients_that_hang_up_leave_nothing_behind(service: Inhouse, folder: str, seed: int) -> None:
    """40 that leave at random moments, more than there are slots and places in the queue; then one that stays."""
    before = service.call(lambda: len(asyncio.all_tasks()))
    left = asyncio.run(hangups.crowd(service.port, KNOWN.read_bytes(), 40, random.Random(seed), longest_s=1.0))
    assert left.total() == 40 and len(left) == 4
    wait_until(lambda: at_rest(service, folder))
    assert is_right(hangups.heard(service.port, KNOWN.read_bytes()))
    wait_until(lambda: service.call(lambda: len(asyncio.all_tasks())) <= before)
    assert [path for path in Path(folder).rglob("*") if path.is_file()] == []


def test_who_leaves_in_the_middle_of_a_long_recording_is_not_decoded_on(
    service: Inhouse, folder: str, tmp_path: Path
) -> None:
    """Starlette alone lets the handler of a client who has left run to its end."""
    apart = np.pad(samples(), (0, 6 * RATE))  # or a window has the same words again and again, and fails a gate
    sound = write_wav(tmp_path / "long.wav", np.tile(apart, 12)).read_bytes()
    begun_s = time.monotonic()
    hangups.heard(service.port, sound)
    whole_s = time.monotonic() - begun_s

    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"".join(hangups.request(sound, streams=False)))
        await writer.drain()
        async with asyncio.timeout(30):
            while not service.house.turnstile.n_working:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1 * whole_s)
        writer.transport.abort()

    asyncio.run(leave())
    begun_s = time.monotonic()
    wait_until(lambda: at_rest(service, folder))
    took_s = time.monotonic() - begun_s
    print(f"whole: {whole_s:.2f} s; at rest {took_s:.2f} s after the hang-up")
    assert took_s < 0.5 * whole_s


def test_what_they_held_goes_with_them(service: Inhouse, folder: str) -> None:
    """Their sound stayed in memory, and open, until Python looked for cycles: an error held the run that held it."""
    asyncio.run(hangups.crowd(service.port, KNOWN.read_bytes(), 20, random.Random(2), longest_s=1.0))
    wait_until(lambda: at_rest(service, folder))
    gc.collect()
    gc.disable()
    try:
        before = service.call(lambda: hangups.look(service.app, folder)).n_descriptors
        asyncio.run(hangups.crowd(service.port, KNOWN.read_bytes(), 40, random.Random(3), longest_s=1.0))
        wait_until(lambda: at_rest(service, folder))
        wait_until(lambda: service.call(lambda: hangups.look(service.app, folder)).n_descriptors <= before + 2)
    finally:
        gc.enable()


def test_who_waits_and_leaves_makes_place(service: Inhouse, folder: str) -> None:
    turnstile = service.house.turnstile
    service.call(lambda: setattr(turnstile, "n_slots", 0))
    try:

        async def scenario() -> None:
            ways = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(5)]
            for _, writer in ways:
                writer.write(b"".join(hangups.request(KNOWN.read_bytes(), streams=False)))
            await asyncio.to_thread(wait_until, lambda: turnstile.n_waiting == 5)
            for _, writer in ways:
                writer.close()
            await asyncio.to_thread(wait_until, lambda: turnstile.n_waiting == 0)

        asyncio.run(scenario())
    finally:
        service.call(lambda: setattr(turnstile, "n_slots", 4))
    wait_until(lambda: at_rest(service, folder))
