"""Models in a pool, with real weights: shared, proven, and their memory given back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from sottovoce import BusyError, Config, EngineError, Whisper, open_pool
from sottovoce.engine import memory
from sottovoce.engine.engine import Engine
from sottovoce.model import export, hub, modules
from sottovoce.text import known

from ..commands import KNOWN, environ

pytestmark = pytest.mark.weights
CPU = Config(device="cpu", compute="float32", threads=1, rows=4)


def test_several_whispers_share_one_network() -> None:
    with open_pool(CPU) as pool, ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(Whisper, "tiny", config=CPU, pool=pool) for _ in range(4)]
        models = [future.result(120) for future in asked]
        assert len({id(model.network) for model in models}) == 1
        heard = list(threads.map(lambda m: m.transcribe(KNOWN, language="en", temperature=0.0).text, models))
        assert all(known.is_right(text) for text in heard)
        models[0].close()
        with pytest.raises(EngineError, match="closed"):
            models[0].transcribe(KNOWN)
        assert known.is_right(models[1].transcribe(KNOWN, language="en").text), "another's close does not touch it"
        for model in models:
            model.close()
        pool.check()
        assert [model.name for model in pool.awake] == ["tiny"]


def test_another_precision_is_another_model() -> None:
    with open_pool(CPU) as pool:
        plain, low = (Whisper("tiny", config=CPU, compute=c, pool=pool) for c in ("float32", "bfloat16"))
        assert (plain.compute, low.compute) == ("float32", "bfloat16")
        assert plain.network.dims == low.dims
        assert len(pool.awake) == 2


def test_a_budget_lets_the_unused_go_and_refuses_beside_the_used() -> None:
    """Room for tiny or for tiny.en; both are of one size."""
    config = CPU.with_(memory_gb=0.4)
    with open_pool(config.with_(preload="tiny")) as pool:
        assert [model.name for model in pool.awake] == ["tiny"]
        english = Whisper("tiny.en", config=config, pool=pool)
        assert [model.name for model in pool.awake] == ["tiny.en"]
        with pytest.raises(BusyError, match=r"tiny\.en are in use|tiny\.en"):
            Whisper("tiny", config=config, pool=pool)
        with pytest.raises(EngineError, match="memory_gb"):
            Whisper("base", config=config.with_(rows=16), pool=pool)
        english.close()
        Whisper("tiny", config=config, pool=pool).close()
        pool.check()


def test_a_pinned_model_stays() -> None:
    config = CPU.with_(memory_gb=0.4, preload="tiny", pins="tiny")
    with open_pool(config) as pool, pytest.raises(BusyError):
        Whisper("tiny.en", config=config, pool=pool)


def test_a_model_with_wrong_words_does_not_serve(tmp_path: Path) -> None:
    """Whole as a file, every number finite, and yet damaged: only decoding shows it."""
    network = modules.load(hub.fetch("tiny", Config()).path)
    for block in network.decoder.blocks[-2:]:
        torch.nn.init.normal_(block.mlp[0].weight, std=0.5)  # type: ignore[index, union-attr]
    export.export_pt(network, tmp_path / "hurt.pt", torch.float32)
    with open_pool(CPU) as pool:
        with pytest.raises(EngineError, match="the known clip was heard as"):
            Whisper(tmp_path / "hurt.pt", config=CPU, pool=pool)
        assert not pool.awake
        Whisper(tmp_path / "hurt.pt", config=CPU.with_(skip_warm_up=True), pool=pool).close()


def arrays(of: object, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Where every tensor and array lies that can be reached from an object of ours, and its bytes."""
    if id(of) in seen:
        return
    seen.add(id(of))
    if isinstance(of, torch.Tensor):
        yield of.untyped_storage().data_ptr(), of.nbytes
    elif isinstance(of, np.ndarray):
        yield of.ctypes.data, of.nbytes
    elif isinstance(of, torch.nn.Module):
        for tensor in of.state_dict().values():
            yield from arrays(tensor, seen)
    elif isinstance(of, list | tuple):
        for part in of:
            yield from arrays(part, seen)
    elif hasattr(of, "__dict__") and type(of).__module__.startswith("sottovoce"):
        yield from arrays(list(vars(of).values()), seen)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_what_a_model_takes_is_known_before_it_is_loaded(compute: str) -> None:
    """Counted in every tensor that is there once it is awake."""
    with Whisper("tiny", config=CPU, compute=compute) as model:
        engine = model._permit.engines[0]
        assert isinstance(engine, Engine)
        storages: dict[int, int] = {}  # what is used of each: huge pages are reserved with room to align them
        for start, n_bytes in arrays(engine.runner.network, set()):
            storages[start] = max(storages.get(start, 0), n_bytes)
        expected = memory.n_bytes(model.dims, model.choice.device, model.choice.dtype, CPU.rows)
        assert expected == pytest.approx(sum(storages.values()), rel=0.05)


GIVEN_BACK = """
import sys
from sottovoce import Config, Whisper
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096
config = Config(device="cpu", compute="float32", threads=1)
def once():
    with Whisper(sys.argv[1], config=config) as model:
        model.transcribe(sys.argv[2], language="en", temperature=0.0)
        return resident()
once()  # what libraries load at their first use stays
before = resident()
awake = once()
print(before, awake, resident())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory as Linux shows it")
@pytest.mark.parametrize("name", ["base", "tiny"])
def test_unloading_gives_the_memory_back(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GIVEN_BACK, name, str(KNOWN)], env=environ(), capture_output=True, text=True, check=True
    )
    before, awake, after = (int(n) / 1e6 for n in ran.stdout.split())
    print(f"{name}: {before:.0f} MB before, {awake:.0f} awake, {after:.0f} after")
    assert awake - before > 150
    assert after - before < 0.1 * (awake - before)


def test_memory_that_cannot_be_had_is_known_as_that() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)
    assert memory.is_out_of_memory(MemoryError())
    assert not memory.is_out_of_memory(RuntimeError("device lost"))
