"""The import law of docs/architecture.md, read from the syntax: a lazy or a typing-only import is no way round it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "sottovoce"
FILES = sorted(SRC.rglob("*.py"))
ALL_FILES = [p for place in ("src", "tests", "bench", "scripts") for p in sorted((ROOT / place).rglob("*.py"))]

GROUND = {"errors", "types", "options", "config", "serving", "threads"}
LOOKS_AT = {  # room: the rooms below it that it may look at; into itself it always may
    "errors": set[str](),
    "types": set[str](),
    "options": {"errors", "types"},
    "config": {"errors"},
    "serving": {"errors", "config"},
    "threads": set[str](),
    "metrics": set[str](),
    "audio": {"errors", "types", "threads"},
    "text": {"errors", "types"},
    "model": {"errors", "types", "config"},
    "flow": {"errors", "types", "options", "config", "audio", "text"},
    "request": {"errors", "types", "options", "text"},
    "engine": {"errors", "types", "config", "threads", "model", "audio"},
    "waking": {*GROUND, "audio", "text", "model", "flow", "engine"},
    "speakers": {*GROUND, "audio", "text", "model", "flow"},  # sound, names and networks meet; needs no engine
    "api": {*GROUND, "audio", "text", "model", "flow", "engine", "waking", "request", "speakers"},
    "compat": {*GROUND, "audio", "text", "model", "flow", "engine", "waking", "request", "api"},
    "server": {*GROUND, "metrics", "audio", "text", "model", "flow", "engine", "waking", "request", "speakers", "api"},
    "cli": {*GROUND, "audio", "text", "model", "flow", "engine", "waking", "request", "speakers", "api", "server"},
}

# External name: the rooms, or files of rooms, that may speak it. What is not named here is not a dependency.
SPEAKS = {
    "numpy": {"audio", "engine", "flow", "model", "request", "speakers", "api", "compat", "cli", "server", "types"},
    "torch": {
        *("audio.mel_torch", "compat", "model.export", "model.modules", "model.whisper"),
        *(
            f"engine.{name}"
            for name in (
                "accelerators",
                "align",
                "cache",
                "choices",
                "cuda",
                "device_boosts",
                "eight_bits",
                "fused",
                "indirect",
                "late",
                "plain",
                "rules",
                "stream",
                "torch_runner",
                "triton_align",
                "triton_attention",
                "triton_choose",
            )
        ),
    },
    # comes with torch's wheels for CUDA; its kernels are in files of their own, that only engine.fused opens
    "triton": {"engine.triton_align", "engine.triton_attention", "engine.triton_choose"},
    "av": {"audio", "server.decoder"},  # a program of its own, which the server starts and never imports
    "onnxruntime": {"audio.onnx"},
    "tiktoken": {"text.tokenizer"},
    "budoux": {"text.unspaced"},
    "safetensors": {"model"},
    "huggingface_hub": {"model.hfhub"},
    # the kind of progress bar that huggingface_hub takes, and comes with; programs replace openai-whisper's with theirs
    "tqdm": {"model.hfhub", "compat"},
    "whisper_normalizer": {"compat.openai_whisper"},
    "filelock": {"model", "server.keys"},
    "click": {"cli"},
    "rich": {"cli"},
    "fastapi": {"server"},
    "pydantic": {"server"},
    "starlette": {"server"},
    "uvicorn": {"cli.serve", "server.ending", "server.wire"},
    "python_multipart": {"server.parts", "server.uploads"},
    "httpcore": {"server.fetching"},
    "redis": {"server.redis_store"},
    "prometheus_client": {"metrics"},
    "opentelemetry": {"server.tracing"},
    "pynvml": {"server.gpus"},
    # of the standard library
    "threading": {"engine.loop", "engine.pool", "engine.stream"},
    "_thread": set[str](),
    "multiprocessing": set[str](),
    "asyncio": {"flow.drive", "api", "compat", "server"},
    "subprocess": {"model", "cli", "server.child"},
    "urllib": {"audio", "model", "cli", "server"},
    "socket": {"audio", "model", "cli", "server"},
    "http": {"audio", "model", "cli"},
}
BROUGHT_BY = {"tqdm": "huggingface_hub", "starlette": "fastapi", "pydantic": "fastapi"}
WHEELS = {"pynvml": "nvidia-ml-py", "opentelemetry": "opentelemetry-sdk"}  # whose names are not their modules'
EXTRAS = {
    "whisper_normalizer": "normalizers",
    "budoux": "words",
    "triton": "dev",
    "fastapi": "server",
    "uvicorn": "server",
    "python_multipart": "server",
    "httpcore": "server",
    "redis": "server",
    "prometheus_client": "server",
    "opentelemetry": "tracing",
    "pynvml": "gpu",
}  # optional, under the extra that brings it
MELS = {"audio", "audio.mel", "audio.mel_torch"}  # what the engine knows of sound
NO_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc", "shared"}


def module_of(path: Path) -> str:
    """Dotted name below sottovoce: "engine.loop", "cli", "" for the package itself."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """A front room may have several files: cli.py beside cli_doctor.py would be of the room cli."""
    return module.split(".")[0].split("_")[0]


MODULES = {module_of(path) for path in FILES} | {room_of(module_of(path)) for path in FILES}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of every import, wherever it stands; of `from a import b` both a and a.b."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0 and module, f"line {node.lineno}: a relative import; write it absolute"
                yield node.lineno, module
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(target)), *_]
            ):
                if name in ("import_module", "__import__"):
                    yield node.lineno, target


def own(name: str) -> str | None:
    """The module of ours that an imported name is or lies in; None for what is not ours."""
    if name != "sottovoce" and not name.startswith("sottovoce."):
        return None
    below = name.removeprefix("sottovoce").removeprefix(".")
    while below and below not in MODULES:
        below = below.rpartition(".")[0]
    return below


def breaches(path: Path, source: str) -> Iterator[str]:
    module = module_of(path)
    room = room_of(module)
    for line, name in imports(ast.parse(source)):
        where = f"{path.relative_to(SRC)}:{line}: {name}"
        target = own(name)
        if target is None:
            outside = name.split(".")[0]
            if outside in SPEAKS:
                if not any(
                    module == place or module.startswith(f"{place}.") or room == place for place in SPEAKS[outside]
                ):
                    yield f"{where} is spoken only in {sorted(SPEAKS[outside])}"
            elif outside not in sys.stdlib_module_names:
                yield f"{where} is no dependency of this project"
        elif target == "":
            # `from sottovoce import x` gives two names, and is judged by the second
            if name != "sottovoce" and room not in ("cli", "compat"):
                yield f"{where}: a room does not look at the front door"
        elif room_of(target) != room:
            if room_of(target) not in LOOKS_AT[room]:
                yield f"{where}: {room} does not look at {room_of(target)}"
            elif room == "engine" and room_of(target) == "audio" and target not in MELS:
                yield f"{where}: of audio, the engine knows the mel only"


ROOMS = [path for path in FILES if module_of(path)]


@pytest.mark.parametrize("path", ROOMS, ids=module_of)
def test_arrows_point_down(path: Path) -> None:
    assert list(breaches(path, path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("text/formats.py", "def f():\n    import torch\n"),
        ("text/formats.py", "from sottovoce.audio import mel\n"),
        ("text/formats.py", "from sottovoce import audio\n"),
        (
            "types.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sottovoce.text.formats import Transcript\n",
        ),
        ("model/hub.py", "import sottovoce.flow.longform\n"),
        ("engine/engine.py", "from sottovoce.audio.decode import load\n"),
        ("engine/scheduler.py", "import torch.nn.functional as F\n"),
        ("engine/engine.py", "from threading import Lock\n"),
        ("flow/longform.py", "from importlib import import_module\nimport_module('sottovoce.engine.loop')\n"),
        ("api.py", "import requests\n"),
        ("api.py", "from sottovoce import Whisper\n"),
    ],
)
def test_the_law_sees_a_breach(module: str, source: str) -> None:
    assert list(breaches(SRC / module, source))


def test_a_relative_import_is_seen() -> None:
    with pytest.raises(AssertionError, match="relative"):
        list(breaches(SRC / "text" / "formats.py", "from . import tokenizer\n"))


@pytest.mark.parametrize("path", ROOMS, ids=module_of)
def test_nothing_is_imported_by_a_name_made_up_at_run_time(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"), args=args
            ):
                assert args and isinstance(args[0], ast.Constant), f"line {node.lineno}"


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES if module} <= set(LOOKS_AT)


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[^\w.-]", line, maxsplit=1)[0].replace("-", "_").lower() for line in project["dependencies"]}
    external = {name for name in SPEAKS if name not in sys.stdlib_module_names and name not in EXTRAS}
    assert {BROUGHT_BY.get(name, name) for name in external} - set(EXTRAS) == declared
    for name, extra in EXTRAS.items():
        wheel = WHEELS.get(name, name.replace("_", "-"))
        assert any(line.startswith(wheel) for line in project["optional-dependencies"][extra])


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_owns_and_stays_short(path: Path) -> None:
    source = path.read_text("utf-8")
    if "compat" not in path.parts:  # where the names are the originals'
        assert path.stem not in NO_NAMES, "a helper lives in the file that needs it, or it is a concept and gets a name"
    assert source.count("\n") <= 400
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), "the first statement says what the file owns"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_functions_stay_short_and_only_the_command_line_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            doc = ast.get_docstring(node, clean=False) or ""
            assert n_lines - doc.count("\n") <= 60, f"{node.name} has {n_lines} lines"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            # openai-whisper's transcribe prints what it hears where a program asks for it
            assert room_of(module_of(path)) in ("cli", "compat"), f"line {node.lineno} prints"
