"""Settings: what they may be, from fields and from SOTTOVOCE_* variables."""

from __future__ import annotations

import pytest

from sottovoce.config import Config
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
        ("SOTTOVOCE_IDLE_S", "-0.5"),
        ("SOTTOVOCE_ROWS", "1.5"),
        ("SOTTOVOCE_MEMORY", "1"),
    ],
)
def test_what_cannot_be_honoured_is_refused(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"was given|was set"):
        Config.from_env({variable: text})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "cuda:0,1,3", "mps"])
def test_devices_that_may_be_asked_for(device: str) -> None:
    assert Config(device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:", "cuda:x", "cuda:0,", "cuda:0,0", "mps:0"])
def test_devices_that_may_not(device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        Config(device=device)
