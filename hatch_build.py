"""Compiles the CPU kernels where there is a compiler; without one the package is the same, and slower.

Run by pip through hatchling (`pip install`, also `-e`); by hand: python hatch_build.py
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface as Hook
except ImportError:  # by hand, in an environment without hatchling
    Hook = object  # type: ignore[misc,assignment]

FOLDER = Path(__file__).parent / "src" / "sottovoce" / "engine" / "cpp"
SOURCES = ("align.cpp", "choose.cpp", "decoder.cpp", "encoder.cpp", "hear.cpp", "mel.cpp", "pack.cpp")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma")
OPTIMISE = "-O3"
BUILDS = {  # instruction set, as engine/kernels.py looks for it: what the compiler may use
    "amx": (*AVX512, "-mavx512bf16", "-mavx512vnni", "-mamx-tile", "-mamx-bf16", "-mamx-int8"),
    "avx512_bf16": (*AVX512, "-mavx512bf16", "-mavx512vnni"),
    "avx512": AVX512,
    "avx2": ("-mavx2", "-mfma", "-mf16c"),  # no CPU with AVX2 is without F16C
}


class KernelHook(Hook):  # type: ignore[misc]
    """hatchling calls `initialize` before it packs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("SOTTOVOCE_NO_KERNELS"):
            return
        built = build()
        if built:
            build_data["pure_python"] = False
            # ctypes opens the libraries: of Python's own ABI they need nothing, and one wheel serves every version
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
            build_data["artifacts"] += [f"src/sottovoce/engine/cpp/{path.name}" for path in built]


def build(folder: Path = FOLDER) -> list[Path]:
    """One library per instruction set in a folder, by default beside its source; none where it cannot be compiled."""
    if platform.machine().lower() not in ("x86_64", "amd64") or sys.platform != "linux":
        return _none("they need x86-64 Linux")
    try:
        compiler = _compiler()
        if not compiler:
            return _none("they need a C++ compiler; install g++ or clang++, or name one with CXX")
        paths = {name: folder / f"kernels_{name}.so" for name in BUILDS}
        for path in paths.values():
            path.unlink(missing_ok=True)  # of other sources: none is better, should this fail
        return [path for name, path in paths.items() if _compile(compiler, name, path)]
    except (OSError, ValueError) as e:
        return _none(f"they cannot be compiled ({e}); mend CXX if you have set it")


def source_version() -> int:
    """A number for what the libraries are compiled from; they carry it, so that an old one is known as that."""
    paths = sorted(path for path in FOLDER.iterdir() if path.suffix in (".cpp", ".h"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # below 2 ** 31: an int of C++


def _none(why: str) -> list[Path]:
    print(f"sottovoce: no CPU kernels are built: {why}", file=sys.stderr)
    return []


def _compiler() -> list[str]:
    """Words that start a compiler; CXX may hold several ("ccache g++"). Raises ValueError for an open quote in it."""
    if given := shlex.split(os.environ.get("CXX", "")):
        return given
    found = shutil.which("g++") or shutil.which("clang++")
    return [found] if found else []


def _compile(compiler: list[str], name: str, path: Path) -> bool:
    part = path.with_suffix(f".{os.getpid()}.part")
    general = ("-std=c++17", OPTIMISE, "-fPIC", "-shared", "-fopenmp", "-pthread", "-ffp-contract=fast")
    warnings = ("-Wall", "-Wno-psabi", "-Wno-maybe-uninitialized")
    version = f"-DSV_VERSION={source_version()}"
    command = [*compiler, *general, *warnings, version, *BUILDS[name], *SOURCES, "-o", str(part)]
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    if ran.returncode:
        print(f"sottovoce: kernels for {name} are left out: {ran.stderr.strip()[-2000:]}", file=sys.stderr)
        part.unlink(missing_ok=True)
        return False
    part.replace(path)
    return True


if __name__ == "__main__":
    for made in build():
        print(made.name)
