"""How many threads compute where none are asked for."""

from __future__ import annotations

import pytest

from sottovoce.engine.device import n_cpus, n_threads


@pytest.mark.parametrize(("given", "n"), [("1", 1), ("3,2", 3)])
def test_omp_num_threads_is_heeded(monkeypatch: pytest.MonkeyPatch, given: str, n: int) -> None:
    """Four times the CPU time was seen where two spinning threads had to share one free CPU."""
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert n_threads() == n


@pytest.mark.parametrize("given", ["", "0", "many"])
def test_without_a_number_every_usable_cpu_computes(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert n_threads() == n_cpus()
