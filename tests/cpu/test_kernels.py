"""Which kernels are used: those of this CPU, built from the sources that stand here; what is said without them."""

from __future__ import annotations

import logging
import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sottovoce.engine import kernels
from sottovoce.errors import ConfigError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    kernels.find.cache_clear()
    yield
    kernels.find.cache_clear()


def copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The libraries of this CPU, the fastest first, with their sources, in a folder where they may be spoilt."""
    if kernels.library() is None:
        pytest.skip("no kernels for this CPU: nothing to spoil")
    for path in kernels.FOLDER.iterdir():
        shutil.copy(path, folder)
    monkeypatch.setattr(kernels, "FOLDER", folder)
    kernels.find.cache_clear()
    return [p for name in kernels.instruction_sets() if (p := folder / f"kernels_{name}.so").is_file()]


def spoil(path: Path) -> None:
    path.unlink()  # what is loaded already stays whole
    path.write_bytes(b"")


def test_a_library_that_cannot_be_loaded_is_left_out_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged file ended in `OSError: file too short`, although torch, and slower kernels, could compute."""
    libraries = copied(tmp_path, monkeypatch)
    spoil(libraries[0])
    with caplog.at_level(logging.WARNING):
        found = kernels.find()
    assert found.name == (libraries[1].stem.removeprefix("kernels_") if len(libraries) > 1 else None)
    assert libraries[0].name in found.left_out[0]
    assert libraries[0].name in caplog.text


def test_torch_computes_where_no_library_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = copied(tmp_path, monkeypatch)
    for path in libraries:
        spoil(path)
    found = kernels.find()
    assert found.library is None
    assert len(found.left_out) == len(libraries)


def test_a_library_of_other_sources_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an update nothing was built anew: undefined symbols, or other layouts and a segmentation fault."""
    libraries = copied(tmp_path, monkeypatch)
    assert not kernels.find().left_out
    with (tmp_path / "simd.h").open("a") as f:
        f.write("\n")
    kernels.find.cache_clear()
    found = kernels.find()
    assert found.library is None
    assert all("other sources" in said for said in found.left_out)
    assert len(found.left_out) == len(libraries)


@pytest.mark.parametrize("wanted", ["AVX-512", "neon"])
def test_unknown_kernels_are_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """A misspelt name meant none at all, several times slower, without a word."""
    monkeypatch.setenv("SOTTOVOCE_KERNELS", wanted)
    with pytest.raises(ConfigError, match=r"SOTTOVOCE_KERNELS: .* was given, one of off"):
        kernels.find()


def test_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOTTOVOCE_KERNELS", "off")
    assert kernels.find() == kernels.Found(None, None, ())


def test_memory_that_is_refused_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes a MemoryError for a sign that less at once might do; mmap raises OSError."""

    def refuse(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(MemoryError):
        kernels.room((kernels.HUGE_PAGE,), np.uint8)
