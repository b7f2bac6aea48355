"""Who is compared, by name: the environment, the form of the weights and the settings of each side.

A side on the command line is its name, then settings by colons: "sottovoce:compute=float32:rows=32",
"faster-batched:batch_size=8". Settings are keywords of the side's runner in bench/peers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.side import Recipe

TIMED = {"language": "en"}  # given to all, so that nobody detects it
OF_LOADING = frozenset(("threads", "compute", "rows", "encode_windows"))  # other settings are of a recording
HERE = sys.executable


def forms(peers: Path, model: str) -> Path:
    """Where the forms of a model's weights lie that peers read; bench/environments.py puts them there."""
    return peers / "models" / model


def recipe(text: str, peers: Path, model: str, beam: int, threads: int) -> Recipe:
    """A side from its name and settings. Raises SystemExit for a name or a setting that is not known."""
    name, *settings = text.split(":")
    if name not in SIDES:
        raise SystemExit(f"{name!r} is not a side; known are {', '.join(SIDES)}")
    environment, runner, load, options = SIDES[name](forms(peers, model), model, beam)
    load = {"threads": threads, **load}
    for setting in settings:
        key, found, value = setting.partition("=")
        if not found:
            raise SystemExit(f"{text!r}: {setting!r} was given, NAME=VALUE was expected")
        (load if key in OF_LOADING else options)[key] = typed(value)
    python = str(peers / environment / "bin" / "python") if environment else HERE
    return Recipe(text, python, runner, int(load["threads"]), load, options, ours=not environment)


def typed(value: str) -> Any:
    """A value of the command line: a number or a truth if it looks like one, else text."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(value.lower(), value)


Made = tuple[str, str, dict[str, Any], dict[str, Any]]  # environment ("": ours), runner, load, options


def _sottovoce(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam, "strategy": "parallel"}
    return "", "run_sottovoce.py", {"model": model}, options


def _sequential(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam, "strategy": "sequential"}
    return "", "run_sottovoce.py", {"model": model}, options


def _faster(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam, "vad_filter": True}
    return "faster-whisper", "run_faster_whisper.py", {"model": str(folder / "ct2"), "compute": "int8"}, options


def _faster_batched(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam, "batch_size": 16}
    load = {"model": str(folder / "ct2"), "compute": "int8", "batched": True}
    return "faster-whisper", "run_faster_whisper.py", load, options


def _openvino(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam}
    return "openvino", "run_openvino.py", {"model": str(folder / "openvino"), "compute": "bf16"}, options


def _openai(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam}
    return "openai-whisper", "run_openai_whisper.py", {"model": str(folder / "model.pt")}, options


def _whispercpp(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam}
    return "whispercpp", "run_whispercpp.py", {"model": str(folder / "ggml.bin")}, options


def _transformers(folder: Path, model: str, beam: int) -> Made:
    options = {**TIMED, "beam_size": beam, "batch_size": 16}
    return "transformers", "run_transformers.py", {"model": str(folder / "hf"), "compute": "bfloat16"}, options


SIDES = {
    "sottovoce": _sottovoce,
    "sottovoce-sequential": _sequential,
    "faster-batched": _faster_batched,
    "faster-sequential": _faster,
    "openvino": _openvino,
    "openai-whisper": _openai,
    "whispercpp": _whispercpp,
    "transformers": _transformers,
}
