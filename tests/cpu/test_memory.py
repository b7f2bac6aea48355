"""How many rows a device has room for: known from the model's dimensions, before anything is loaded."""

from __future__ import annotations

import logging

import pytest

from sottovoce.engine import memory, native
from sottovoce.model import catalogue
from sottovoce.model.dims import Dims

GPU = "cuda"


def dims_of(name: str) -> Dims:
    card = catalogue.find(name)
    assert card is not None
    return card.dims


def fitting(name: str, free_gb: float, kv: str = "auto", encode_windows: int = 4) -> int:
    return memory.rows_that_fit(dims_of(name), "bfloat16", kv, encode_windows, free_gb * 1e9, GPU)


@pytest.mark.parametrize(
    ("name", "free_gb"), [("large-v3", 12), ("large-v3", 22), ("large-v3-turbo", 4), ("base", 0.6)]
)
def test_what_fits_is_all_that_fits(name: str, free_gb: float) -> None:
    n, dims = fitting(name, free_gb), dims_of(name)
    assert 1 < n < memory.MOST_ROWS
    taken = [memory.n_bytes(dims, GPU, "bfloat16", n + more) for more in (0, 4)]
    assert taken[0] < free_gb * 1e9
    assert taken[1] > 0.85 * free_gb * 1e9


def test_sounds_in_8_bits_make_room_for_more() -> None:
    assert 1.4 < fitting("large-v3", 20, "int8") / fitting("large-v3", 20) < 2


def test_there_is_a_row_and_an_end() -> None:
    assert fitting("large-v3", 1) == 1
    assert fitting("tiny", 100) == memory.MOST_ROWS


def test_a_share_of_the_least_free_device_and_no_more_than_the_budget(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = {"cuda:0": 24e9, "cuda:1": 16e9}
    monkeypatch.setattr(memory, "_free_bytes", lambda device: free[device])
    both = list(free)
    args = dims_of("large-v3"), both, "bfloat16", "auto", 4
    with caplog.at_level(logging.INFO):
        assert memory.n_rows(*args, share=0.9, most_gb=0) == fitting("large-v3", 0.9 * 16)
    assert "16.0 GB" in caplog.text
    assert memory.n_rows(*args, share=0.5, most_gb=0) == fitting("large-v3", 8)
    assert memory.n_rows(*args, share=0.9, most_gb=7) == fitting("large-v3", 7)


def test_a_cpu_has_as_many_as_ever() -> None:
    args = "auto", 4, 0.9, 0
    assert memory.n_rows(dims_of("base"), ["cpu"], "float32", *args) == memory.DEFAULT_WINDOWS
    if native.fits(dims_of("base"), "cpu", "bfloat16"):
        assert memory.n_rows(dims_of("base"), ["cpu"], "bfloat16", *args) == memory.DEFAULT_ROWS
