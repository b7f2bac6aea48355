"""Which precision: what a model cannot be computed in is not said to be."""

from __future__ import annotations

import pytest

from sottovoce import ConfigError
from sottovoce.engine import device, kernels


@pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: 8 bits are refused in any case")
def test_a_network_that_kernels_do_not_know_is_not_computed_in_8_bits() -> None:
    assert device.choose("cpu", "int8").compute == "int8"
    with pytest.raises(ConfigError, match="widths"):
        device.choose("cpu", "int8", in_8_bits=False)
    assert device.choose("cpu", "auto", in_8_bits=False).compute in ("bfloat16", "float32")


def test_an_explicit_precision_is_what_is_computed_in() -> None:
    for compute in ("float32", "bfloat16"):
        choice = device.choose("cpu", compute)
        assert (choice.compute, choice.dtype, choice.weight_bits, choice.device) == (compute, compute, 16, "cpu")
