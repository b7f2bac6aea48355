"""Compiles the CPU kernels where there is a compiler; without one the package is the same, and slower.

Run by pip through hatchling (`pip install`, also `-e`); by hand: python hatch_build.py
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface as Hook
except ImportError:  # by hand, in an environment without hatchling
    Hook = object  # type: ignore[misc,assignment]

FOLDER = Path(__file__).parent / "src" / "sottovoce" / "engine" / "cpp"
SOURCES = ("choose.cpp", "decoder.cpp", "encoder.cpp")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma")
BUILDS = {  # instruction set, as engine/kernels.py looks for it: what the compiler may use
    "amx": (*AVX512, "-mavx512bf16", "-mavx512vnni", "-mamx-tile", "-mamx-bf16"),
    "avx512_bf16": (*AVX512, "-mavx512bf16", "-mavx512vnni"),
    "avx512": AVX512,
    "avx2": ("-mavx2", "-mfma"),
}


class KernelHook(Hook):  # type: ignore[misc]
    """hatchling calls `initialize` before it packs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("SOTTOVOCE_NO_KERNELS"):
            return
        built = build()
        if built:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"] += [f"src/sottovoce/engine/cpp/{path.name}" for path in built]


def build() -> list[Path]:
    """One library per instruction set, beside its source; none where it cannot be compiled."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if platform.machine().lower() not in ("x86_64", "amd64") or sys.platform != "linux" or not compiler:
        print("sottovoce: no CPU kernels are built: they need a C++ compiler on x86-64 Linux", file=sys.stderr)
        return []
    return [path for name, flags in BUILDS.items() if (path := _compile(compiler, name, flags))]


def _compile(compiler: str, name: str, flags: tuple[str, ...]) -> Path | None:
    path = FOLDER / f"kernels_{name}.so"
    part = path.with_suffix(f".{os.getpid()}.part")
    general = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fopenmp", "-ffp-contract=fast", "-Wall", "-Wno-psabi")
    command = [compiler, *general, "-Wno-maybe-uninitialized", *flags, *SOURCES, "-o", part.name]
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    if ran.returncode:
        print(f"sottovoce: kernels for {name} are left out: {ran.stderr.strip()[-2000:]}", file=sys.stderr)
        part.unlink(missing_ok=True)
        return None
    part.replace(path)
    return path


if __name__ == "__main__":
    for made in build():
        print(made.name)
