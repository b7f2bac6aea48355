"""Settings: what they may be, from fields and from SOTTOVOCE_* variables."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from sottovoce.config import ELSEWHERE, ENV_PREFIX, Config
from sottovoce.errors import ConfigError


def test_variables_are_read_by_the_kind_of_their_field() -> None:
    given = {"SOTTOVOCE_MEMORY_GB": "7.5", "SOTTOVOCE_IDLE_S": "600", "SOTTOVOCE_ROWS": "8", "SOTTOVOCE_PINS": "base"}
    config = Config.from_env({**given, "SOTTOVOCE_SKIP_WARM_UP": "yes", "HOME": "/"})
    assert (config.memory_gb, config.idle_s, config.rows, config.pins) == (7.5, 600.0, 8, "base")
    assert config.skip_warm_up is True


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SOTTOVOCE_MEMORY_GB", "much"),
        ("SOTTOVOCE_MEMORY_GB", "-1"),
        ("SOTTOVOCE_MEMORY_GB", "nan"),
        ("SOTTOVOCE_MEMORY_GB", "inf"),
        ("SOTTOVOCE_MEMORY_GB", "1e300"),
        ("SOTTOVOCE_IDLE_S", "inf"),
        ("SOTTOVOCE_IDLE_S", "1e10"),
        ("SOTTOVOCE_IDLE_S", "-0.5"),
        ("SOTTOVOCE_ROWS", "1.5"),
        ("SOTTOVOCE_MEMORY", "1"),
    ],
)
def test_what_cannot_be_honoured_is_refused(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"was given|was set"):
        Config.from_env({variable: text})


@pytest.mark.parametrize("name", ["memory_gb", "idle_s"])
def test_who_wants_no_limit_is_told_how(name: str) -> None:
    """Infinity passed, and then opening a pool failed, or its thread died without a word."""
    with pytest.raises(ConfigError, match=f"{name}: inf was given, .*0, its default, sets no limit"):
        Config(**{name: float("inf")})


def test_variables_that_choose_kernels_are_not_taken_for_wrong_settings() -> None:
    """The command refused SOTTOVOCE_KERNELS=off, which docs/architecture.md offers; the library took it."""
    assert Config.from_env({"SOTTOVOCE_KERNELS": "off", "SOTTOVOCE_NO_KERNELS": "1"}) == Config()


def test_the_docs_name_every_variable() -> None:
    """Six were missing, of a list that is said to be whole."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    for name in [ENV_PREFIX + f.name.upper() for f in fields(Config)] + [*ELSEWHERE]:
        assert f"`{name}`" in page


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "cuda:0,1,3", "mps"])
def test_devices_that_may_be_asked_for(device: str) -> None:
    assert Config(device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:", "cuda:x", "cuda:0,", "cuda:0,0", "mps:0"])
def test_devices_that_may_not(device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        Config(device=device)
