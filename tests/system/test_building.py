"""How sottovoce is built and installed: the kernels' compiler, a wheel's tag, and when `make` installs anew."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sottovoce.engine import kernels

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "sottovoce" / "engine" / "cpp"

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="kernels are for x86-64 Linux"
)
with_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """hatch_build.py, as hatchling finds it; without a CXX of whoever runs the tests."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("SOTTOVOCE_NO_KERNELS", raising=False)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_compiler(path: Path, status: int = 0) -> Path:
    """A program that ends with a status; with 0 it makes the file behind -o, of its own arguments."""
    path.write_text(f'#!/bin/sh\nall="$*"\nwhile [ "$1" != -o ]; do shift; done\necho "$all" > "$2"\nexit {status}\n')
    path.chmod(0o755)
    return path


@on_linux
@with_compiler
def test_every_instruction_set_compiles(hook: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that this CPU lacks too: other tests skip them, and pip hides what the compiler said."""
    hook.OPTIMISE = "-O0"  # whether, not how fast
    built = [path.name for path in hook.build(tmp_path)]
    assert built == [f"kernels_{name}.so" for name in hook.BUILDS], capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(built), "nothing else is left"


@on_linux
def test_a_compiler_of_several_words_is_used(hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CXX="ccache g++" broke the installation: no program has such a name."""
    monkeypatch.setenv("CXX", f"env '{a_compiler(tmp_path / 'a compiler')}' -DX")
    built = hook.build(tmp_path)
    assert len(built) == len(hook.BUILDS)
    assert all(path.read_text().startswith("-DX ") for path in built)
    assert all(f"-DSV_VERSION={hook.source_version()} " in path.read_text() for path in built)


@on_linux
@pytest.mark.parametrize("given", ["/nonexistent/g++", "/", "'open"])
def test_a_compiler_that_is_not_there_leaves_the_package_without_kernels(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], given: str
) -> None:
    """The installation ended in a traceback."""
    monkeypatch.setenv("CXX", given)
    assert hook.build(tmp_path) == []
    assert "mend CXX" in capfd.readouterr().err


@on_linux
@pytest.mark.parametrize("compiler", ["g++", "nowhere"])
def test_a_failed_build_leaves_no_old_library(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    """It would be of other sources than those beside it."""
    (tmp_path / "kernels_avx2.so").write_bytes(b"old")
    a_compiler(tmp_path / "g++", 1)
    monkeypatch.setenv("CXX", str(tmp_path / compiler))
    assert hook.build(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["g++"]


def test_the_version_changes_with_any_source(hook: ModuleType, tmp_path: Path) -> None:
    versions = {hook.source_version()}
    hook.FOLDER = Path(shutil.copytree(FOLDER, tmp_path / "cpp", ignore=shutil.ignore_patterns("*.so", "*.part")))
    versions.add(hook.source_version())
    assert len(versions) == 1
    for path in sorted(hook.FOLDER.iterdir()):
        path.write_bytes(path.read_bytes() + b"\n")
        versions.add(hook.source_version())
    assert len(versions) == 1 + len(list(hook.FOLDER.iterdir()))
    assert all(0 <= version < 2**31 for version in versions)


def test_who_opens_a_library_counts_its_version_alike(hook: ModuleType) -> None:
    assert hook.source_version() == kernels.source_version()


@on_linux
def test_one_wheel_serves_every_python(hook: ModuleType, tmp_path: Path) -> None:
    """ctypes opens the libraries; the wheel was for the very Python that built it."""
    hook.build = lambda: [tmp_path / "kernels_avx2.so"]
    data: dict[str, Any] = {"artifacts": []}
    hook.KernelHook.initialize(None, "standard", data)
    assert data == {
        "pure_python": False,
        "tag": "py3-none-linux_x86_64",
        "artifacts": ["src/sottovoce/engine/cpp/kernels_avx2.so"],
    }


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
@pytest.mark.parametrize("stamp", [".installed", ".installed-dev"])
def test_make_installs_anew_where_the_kernels_have_changed(tmp_path: Path, stamp: str) -> None:
    """After a `git pull` the kernels were those of the sources before."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    depends_on = ["pyproject.toml", "hatch_build.py", *(str(p.relative_to(ROOT)) for p in FOLDER.glob("*.[ch]*"))]
    for name in (*depends_on, f".venv/{stamp}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000, 1000))

    def is_current() -> bool:
        return subprocess.run(["make", "--question", f".venv/{stamp}"], cwd=tmp_path).returncode == 0

    assert is_current()
    for name in depends_on:
        os.utime(tmp_path / name, (2000, 2000))
        assert not is_current(), name
        os.utime(tmp_path / name, (1000, 1000))
