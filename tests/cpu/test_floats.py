"""Linear layers in bfloat16, one line or many: beside numpy's, and with the same bits whoever the neighbours are."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from sottovoce.engine import kernels, packing
from sottovoce.model.stored import Numbers
from tests.cpu.test_bytes import HERE, compiled

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: nothing to compare")


@pytest.fixture(scope="module", params=["avx512_bf16", "avx512", "avx2", "plain"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compiled(request.param, tmp_path_factory.mktemp("door"), str(HERE / "floats_door.cpp"))


def product(door: ctypes.CDLL, x: np.ndarray, packed: np.ndarray, n: int) -> np.ndarray:
    out, room = np.full((len(x), n), np.nan, np.float32), np.full(door.sv_room(), np.nan, np.float32)
    given = (ctypes.c_void_p(a.ctypes.data) for a in (x, packed, out, room))
    door.sv_linear(len(x), x.shape[1], n, *given)
    return out


@pytest.mark.parametrize("n_lines", [1, 5, 23, 24, 25, 40, 64, 385, 791])
@pytest.mark.parametrize(("k", "n"), [(32, 64), (256, 128), (288, 64), (2048, 64)])
def test_a_line_gives_the_same_bits_among_many(door: ctypes.CDLL, n_lines: int, k: int, n: int) -> None:
    draw = np.random.default_rng(n_lines * k)
    x = kernels.to_bfloat16(draw.normal(size=(n_lines, k)).astype(np.float32))
    weight = draw.normal(size=(n, k)).astype(np.float32)
    packed = packing.packed([Numbers(weight)], n_threads=2)
    found = product(door, x, packed, n)
    meant = kernels.from_bfloat16(x) @ kernels.from_bfloat16(kernels.to_bfloat16(weight)).T
    np.testing.assert_allclose(found, meant, rtol=0, atol=2e-6 * k)
    for i in {0, n_lines // 2, n_lines - 1}:
        np.testing.assert_array_equal(found[i], product(door, x[i : i + 1].copy(), packed, n)[0])
