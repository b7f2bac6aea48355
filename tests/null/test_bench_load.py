"""What the load benches compute of what they saw."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench.clients import Answered, ask_in_turn, question
from bench.data import Clip
from bench.load import Loaded, count
from bench.soak import grown

pytest.importorskip("whisper_normalizer")


def answered(name: str, began_s: float, took_s: float, status: int = 200, text: str = "red house") -> Answered:
    return Answered(name, 5.0, began_s, took_s, status, text)


def test_throughput_counts_answers_from_the_first_question_to_the_last_answer() -> None:
    clip = Clip("a", Path("a"), "english", "en", 5.0, "red tree", "human")
    found = Loaded("x")
    count(found, [answered("a", 10.0, 1.0), answered("a", 11.0, 3.0), answered("a", 12.0, 0.1, 503, "busy")], [clip])
    assert found.seconds == 4.0
    assert found.speed == 2.5
    assert found.took_s == [1.0, 3.0]
    assert found.failed == ["a: 503 busy"]
    assert found.wer == 0.5


def test_growth_compares_the_first_tenth_with_the_last() -> None:
    assert grown([100] * 50 + [103] * 50) == pytest.approx(0.03)
    assert grown([100, 900] + [100] * 98) == 0
    assert grown([1, 2, 3]) == 0


def test_every_client_asks_until_the_time_is_over(tmp_path: Path) -> None:
    """Against a server that answers in two ways, and closes what it was asked over every other time."""
    (tmp_path / "a.wav").write_bytes(b"sound")
    n_open, n_asked = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_open, n_asked
        n_open += 1
        while head := (await reader.read(1 << 16)):
            assert b'name="file"; filename="a.wav"' in head and b"sound" in head
            n_asked += 1
            last = n_asked % 2 == 0
            close = b"Connection: close\r\n" if last else b""
            if n_asked % 3:
                writer.write(b"HTTP/1.1 200 OK\r\n" + close + b'Content-Length: 13\r\n\r\n{"text":"hi"}')
            else:
                writer.write(
                    b"HTTP/1.1 200 OK\r\n"
                    + close
                    + b'Transfer-Encoding: chunked\r\n\r\nd\r\n{"text":"hi"}\r\n0\r\n\r\n'
                )
            if last:
                break
        writer.close()

    async def run() -> list[Answered]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            asked = question("a", tmp_path / "a.wav", 5.0, address, "/", {"model": "x"})
            return await ask_in_turn(address, [asked], 3, 0.2)

    found = asyncio.run(run())
    assert len(found) == n_asked > 3
    assert {(a.status, a.text) for a in found} == {(200, "hi")}
    assert n_open > 3
