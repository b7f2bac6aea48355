"""One engine a precision behind openai-whisper's surface, however many threads ask for it at once."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sottovoce import EngineError, api
from sottovoce.compat import openai_whisper as whisper
from sottovoce.model import export
from sottovoce.model.whisper import Dims
from tests.plain_cache import random_model

N_ASKERS = 8


@pytest.fixture
def model(tmp_path: Path) -> whisper.Whisper:
    export.export_pt(random_model(Dims(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 2)), tmp_path / "random.pt")
    return whisper.load_model(str(tmp_path / "random.pt"), device="cpu")


def test_threads_that_ask_at_once_get_one_engine(model: whisper.Whisper, caplog: pytest.LogCaptureFixture) -> None:
    """Each built its own, and all but one of them kept its memory until the end of the process."""
    model._drop()
    barrier = threading.Barrier(N_ASKERS)

    def ask(_: int) -> api.Whisper:
        barrier.wait(10)
        return model.engine(False)

    with caplog.at_level(logging.INFO, "sottovoce.engine.pool"), ThreadPoolExecutor(N_ASKERS) as threads:
        engines = list(threads.map(ask, range(N_ASKERS)))
    assert len({id(engine) for engine in engines}) == 1
    assert sum("is awake" in record.message for record in caplog.records) == 1
    assert len(model._pool.awake) == 1
    found = engines[0].transcribe(np.zeros(16_000, np.float32), language="en", temperature=0.0, max_tokens=4)
    assert found.language == "en"
    model._drop()
    assert not model._pool.awake, "every permit was given back"
    with pytest.raises(EngineError, match="closed"):
        engines[0].network.eval()


def test_the_engine_that_was_loaded_first_is_the_one_that_is_asked(model: whisper.Whisper) -> None:
    (loaded,) = model._spare.values()
    assert model.engine(False) is loaded
    assert not model._spare
    assert next(model.parameters()) is next(loaded.network.parameters())
