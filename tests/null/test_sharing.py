"""The same recording asked for by many at once: decoded once, heard by all, and given up when all have left."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import AudioError, EngineError
from sottovoce.flow.protocol import Known, Opened
from sottovoce.request import Request
from sottovoce.server import freshness
from sottovoce.server.failures import BY_STATUS, RequestError
from sottovoce.server.freshness import Freshness, Origin
from sottovoce.server.results import Results, _told_again
from sottovoce.server.sharing import Said
from sottovoce.server.stores import Memory, Nothing, Store
from sottovoce.text.formats import Transcript

from .stores import done

N_STEPS = 4


class Decoder:
    """Decodes a file of text, a step at a time. at_work: how many now; by_text: how many in all."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.at_work, self.n_done = 0, 0
        self.by_text: Counter[str] = Counter()
        self.step = asyncio.Event()
        self.error: Exception | None = None
        self._chance = chance
        self._active: Counter[str] = Counter()
        self.most_of_one = 0

    async def __call__(self, path: Path) -> AsyncGenerator[Said, None]:
        text = path.read_text()
        self.at_work += 1
        self.by_text[text] += 1
        self._active[text] += 1
        self.most_of_one = max(self.most_of_one, self._active[text])
        try:
            yield Opened(float(N_STEPS))
            for i in range(N_STEPS):
                await self._pause()
                assert path.read_text() == text  # it stays readable to the end
                yield Known((), float(i))
            if self.error is not None:
                raise self.error
            yield Transcript(text, (), "en", float(N_STEPS))
            self.n_done += 1
        finally:
            self._active[text] -= 1
            self.at_work -= 1

    async def _pause(self) -> None:
        if self._chance is None:
            await self.step.wait()
        else:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)


class Asker:
    """Somebody with a file of his own, which goes with him."""

    def __init__(self, results: Results, decoder: Decoder, path: Path, text: str, n_most: int = 1000) -> None:
        self.heard: list[Said] = []
        self.origin: Origin | None = None
        self._path, self._text, self._n_most = path, text, n_most
        self.task = asyncio.create_task(self._ask(results, decoder))

    async def _ask(self, results: Results, decoder: Decoder) -> None:
        self._path.write_text(self._text)
        fresh = freshness.current()
        freshness._CURRENT.set(fresh)
        try:
            async with aclosing(results.run(self._path, Config(), Request(), decoder)) as run:
                async for said in run:
                    self.heard.append(said)
                    self.origin = fresh.origin
                    if len(self.heard) >= self._n_most:
                        return
        finally:
            self._path.unlink()

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


def test_who_comes_later_hears_it_from_the_beginning(tmp_path: Path) -> None:
    async def scenario() -> None:
        results, decoder = Results(Nothing(), 1e9), Decoder()
        first = Asker(results, decoder, tmp_path / "1", "a")
        await until(lambda: len(first.heard) == 1)
        second = Asker(results, decoder, tmp_path / "2", "a")
        other = Asker(results, decoder, tmp_path / "3", "b")
        await until(lambda: bool(second.heard and other.heard))
        decoder.step.set()
        await asyncio.gather(first.task, second.task, other.task)
        assert first.heard == second.heard and len(first.heard) == N_STEPS + 2
        assert decoder.by_text == {"a": 1, "b": 1}
        assert (first.origin, second.origin, other.origin) == (Origin.MISS, Origin.SHARED, Origin.MISS)

    done(scenario())


def test_the_work_goes_on_when_the_first_one_leaves_and_ends_when_all_have_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        results, decoder = Results(Nothing(), 1e9), Decoder()
        first = Asker(results, decoder, tmp_path / "1", "a")
        await until(lambda: decoder.at_work == 1)
        second, third = (Asker(results, decoder, tmp_path / n, "a") for n in "23")
        await until(lambda: bool(second.heard and third.heard))
        await first.leave()
        assert decoder.at_work == 1 and not (tmp_path / "1").exists()
        await second.leave()
        assert decoder.at_work == 1
        await third.leave()
        assert decoder.at_work == 0 and results.n_running == 0
        late = Asker(results, decoder, tmp_path / "4", "a")
        decoder.step.set()
        await late.task
        assert isinstance(late.heard[-1], Transcript) and decoder.by_text == {"a": 2}

    done(scenario())


def test_the_file_of_the_first_one_may_go_while_others_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        results, decoder = Results(Nothing(), 1e9), Decoder()
        first = Asker(results, decoder, tmp_path / "1", "a")
        await until(lambda: decoder.at_work == 1)
        second = Asker(results, decoder, tmp_path / "2", "a")
        await until(lambda: bool(second.heard))
        await first.leave()
        decoder.step.set()
        await second.task
        assert isinstance(second.heard[-1], Transcript) and decoder.n_done == 1

    done(scenario())


def test_a_fault_of_the_recording_is_told_to_all_and_not_remembered(tmp_path: Path) -> None:
    async def scenario() -> None:
        results, decoder = Results(Memory(100_000), 1e9), Decoder()
        decoder.error = AudioError("it holds no sound")
        askers = [Asker(results, decoder, tmp_path / str(i), "a") for i in range(3)]
        await until(lambda: all(asker.heard for asker in askers))
        decoder.step.set()
        told = await asyncio.gather(*(asker.task for asker in askers), return_exceptions=True)
        assert [type(e) for e in told] == [AudioError] * 3 and decoder.by_text == {"a": 1}
        decoder.error = None
        again = Asker(results, decoder, tmp_path / "again", "a")
        await again.task
        assert again.origin is Origin.MISS

    done(scenario())


def test_who_is_refused_does_not_take_others_with_him(tmp_path: Path) -> None:
    """The first one's own limit is no answer to the second."""

    async def scenario() -> None:
        results, decoder, refused = Results(Nothing(), 1e9), Decoder(), asyncio.Event()

        async def decode(path: Path) -> AsyncGenerator[Said, None]:
            if path.read_text() and not refused.is_set():
                await until(lambda: results.n_by_origin[Origin.SHARED] == 1)
                refused.set()
                raise RequestError("too many", BY_STATUS[429])
            async for said in decoder(path):
                yield said

        decoder.step.set()
        first = Asker(results, decode, tmp_path / "1", "a")  # type: ignore[arg-type]
        await until(lambda: results.n_running == 1)
        second = Asker(results, decode, tmp_path / "2", "a")  # type: ignore[arg-type]
        with pytest.raises(RequestError):
            await first.task
        await second.task
        assert isinstance(second.heard[-1], Transcript)

    done(scenario())


def test_at_the_end_everybody_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        results, decoder = Results(Nothing(), 1e9), Decoder()
        askers = [Asker(results, decoder, tmp_path / str(i), "ab"[i % 2]) for i in range(4)]
        await until(lambda: all(asker.heard for asker in askers))
        results.end(EngineError("the server ends"))
        told = await asyncio.gather(*(asker.task for asker in askers), return_exceptions=True)
        assert [str(e) for e in told] == ["the server ends"] * 4
        await results.close()
        assert decoder.at_work == 0

    done(scenario())


@pytest.mark.parametrize("store", [Memory(100_000), Nothing()], ids=lambda store: type(store).__name__)
def test_what_is_known_is_told_again_unless_it_shall_not(tmp_path: Path, store: Store) -> None:
    async def scenario() -> None:
        now_s = 1000.0
        results, decoder = Results(store, 60.0, lambda: now_s), Decoder()
        decoder.step.set()

        async def ask(told: str = "") -> Asker:
            freshness._CURRENT.set(Freshness.of(told))
            asker = Asker(results, decoder, tmp_path / "1", "a")
            await asker.task
            await until(lambda: results.n_running == 0)  # it is kept
            assert asker.heard[-1] == Transcript("a", (), "en", float(N_STEPS))
            return asker

        remembers = isinstance(store, Memory)
        assert (await ask("No-Store")).origin is Origin.BYPASS
        assert (await ask()).origin is Origin.MISS
        again = await ask()
        assert again.origin is (Origin.HIT if remembers else Origin.MISS)
        if remembers:
            assert again.heard == _told_again(Transcript("a", (), "en", float(N_STEPS)))
        assert (await ask("no-cache")).origin is Origin.BYPASS
        assert (await ask("max-age=0, public")).origin is Origin.BYPASS
        now_s += 61
        assert (await ask()).origin is Origin.MISS  # it was forgotten
        await results.close()

    done(scenario())


def test_a_damaged_result_is_a_miss_and_goes(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Memory(100_000)
        results, decoder = Results(store, 1e9), Decoder()
        decoder.step.set()
        await Asker(results, decoder, tmp_path / "1", "a").task
        await until(lambda: results.n_running == 0)
        (name,) = store._kept
        store._kept[name] = store._kept[name][:-1] + b"?"
        await Asker(results, decoder, tmp_path / "1", "a").task
        await until(lambda: results.n_running == 0)
        last = Asker(results, decoder, tmp_path / "1", "a")
        await last.task
        assert decoder.by_text == {"a": 2} and last.origin is Origin.HIT

    done(scenario())


@pytest.mark.parametrize("seed", range(16))
def test_whoever_comes_and_goes_each_gets_his_own_answer_and_nothing_is_left(tmp_path: Path, seed: int) -> None:
    """Askers of three recordings come and leave at random; what they hear is what a run alone would have said."""

    async def scenario() -> None:
        chance = random.Random(seed)
        results, decoder = Results(Memory(2_000) if seed % 2 else Nothing(), 1e9), Decoder(chance)
        askers: list[tuple[str, int, Asker]] = []
        leaving = []
        for i in range(60):
            text, n_most = chance.choice("abc"), chance.choice([1, 2, 4, 1000, 1000])
            askers.append((text, n_most, Asker(results, decoder, tmp_path / str(i), text, n_most)))
            if chance.random() < 0.3:
                leaving.append(chance.choice(askers)[2])
                leaving[-1].task.cancel()
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
        await asyncio.wait([asker.task for _, _, asker in askers], timeout=30)
        for text, n_most, asker in askers:
            if asker in leaving and asker.task.cancelled():
                continue
            await asker.task
            if n_most > N_STEPS + 2:
                assert asker.heard[-1] == Transcript(text, (), "en", float(N_STEPS))
            ends = [said for said in asker.heard if isinstance(said, Transcript)]
            assert len(ends) <= 1 and isinstance(asker.heard[0], Opened)
        await results.close()
        assert decoder.at_work == 0 and results.n_running == 0
        assert decoder.most_of_one == 1  # never twice at the same time
        assert not list(tmp_path.iterdir())

    done(scenario())
