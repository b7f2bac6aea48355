"""The front door: the public names, what they cost, and that they are documented."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import sottovoce

# What may not be loaded until it is asked for: each of these costs more than all of sottovoce
HEAVY = ("torch", "numpy", "av", "tiktoken", "huggingface_hub", "safetensors", "click", "rich")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_public_names_are_sorted_and_unique() -> None:
    assert list(sottovoce.__all__) == sorted(set(sottovoce.__all__))


def test_every_public_name_has_a_home() -> None:
    assert set(sottovoce._HOME) == set(sottovoce.__all__)
    assert set(dir(sottovoce)) == {*sottovoce.__all__, "__version__"}


@pytest.mark.parametrize("name", sottovoce.__all__)
def test_a_public_name_can_be_imported_from_where_it_lives(name: str) -> None:
    found = getattr(sottovoce, name)
    assert found is getattr(import_module(sottovoce._HOME[name]), name)
    assert found.__module__ == sottovoce._HOME[name]


@pytest.mark.parametrize("name", sottovoce.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    found = getattr(sottovoce, name)
    doc = inspect.getdoc(found)
    assert doc, f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has only the docstring that dataclass makes up"


@pytest.mark.parametrize("name", [n for n in sottovoce.__all__ if inspect.isclass(getattr(sottovoce, n))])
def test_a_public_method_is_documented(name: str) -> None:
    found = getattr(sottovoce, name)
    for method_name, method in vars(found).items():
        method = getattr(method, "__func__", method)
        if not method_name.startswith("_") and inspect.isfunction(method):
            assert inspect.getdoc(method), f"{name}.{method_name} has no docstring"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Wisper'.*Whisper"):
        _ = sottovoce.Wisper  # type: ignore[attr-defined]


def test_importing_loads_nothing_heavy() -> None:
    loaded = run("import sottovoce, sys; print(*sys.modules)").split()
    assert "sottovoce" in loaded
    assert not set(HEAVY) & set(loaded)


def test_importing_costs_less_than_50_ms() -> None:
    """Of the processor, fastest of five: a clock on the wall measures the machine's other work."""
    clock = "import time; t = time.process_time(); import sottovoce; print(time.process_time() - t)"
    assert min(float(run(clock)) for _ in range(5)) < 0.05


def test_the_text_room_loads_no_numbers() -> None:
    loaded = run("import sottovoce.text.tokenizer, sottovoce.text.formats, sys; print(*sys.modules)").split()
    assert not {"torch", "numpy", "av"} & set(loaded)


def test_the_version_is_a_release_number() -> None:
    assert len(sottovoce.__version__.split(".")) == 3
    assert all(part.isdigit() for part in sottovoce.__version__.split("."))
