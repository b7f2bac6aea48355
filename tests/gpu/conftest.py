"""A CUDA device, and how it is driven. Without one these tests are skipped.

GPU_TESTS_ON_CPU=1 runs them on the CPU through the same seams (what compares speed is skipped): so the tests
themselves are tried where there is no GPU.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from sottovoce.engine import fused
from sottovoce.engine.fused import Fused
from sottovoce.engine.stream import CudaStream, PlainStream, Stream

ON_CPU = "GPU_TESTS_ON_CPU" in os.environ and not torch.cuda.is_available()
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available() and not ON_CPU:
                item.add_marker(pytest.mark.skip(reason="no CUDA device answers"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cpu" if ON_CPU else "cuda:0")


@pytest.fixture
def stream(device: torch.device) -> Stream:
    return PlainStream(device) if ON_CPU else CudaStream(device)


@pytest.fixture(scope="session")
def kernels(device: torch.device) -> Fused:
    """Triton's, if they run here."""
    found = fused.PLAIN if ON_CPU else fused.fused(device, torch.float16)
    if found is fused.PLAIN and not ON_CPU:
        pytest.skip("Triton's kernels do not run on this device")
    return found


@pytest.fixture
def parts(stream: Stream, device: torch.device) -> tuple[Stream, Fused]:
    return stream, fused.PLAIN if ON_CPU else fused.fused(device, torch.float16)


@pytest.fixture
def on_a_device() -> None:
    """For what is about speed or memory."""
    if ON_CPU:
        pytest.skip("a CPU says nothing about it")
