"""The encoder in 8 bits: products beside numpy's, on every instruction set, and all of it beside its plain twin.

AMX's tiles are played by C++ (cpp/tiles.h), so that their arithmetic is tried on CPUs without them. What is not: the
instructions themselves, and what a compiler makes of them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sottovoce.engine import kernels, native, packing
from sottovoce.model.dims import Dims
from sottovoce.model.modules import numbers_of
from sottovoce.model.stored import Numbers
from sottovoce.model.whisper import Encoder, Whisper
from tests.cpu.networks import a_network

HERE = Path(__file__).parent / "cpp"
SETS = ["amx", "avx512_bf16", "avx512", "avx2", "plain"]
TOLERANCE = 0.03  # root of the mean square, of that of the features: 8 bits a layer, 7 without VNNI
DIMS = Dims(
    n_mels=80, n_audio_ctx=150, n_audio_state=128, n_audio_head=2, n_audio_layer=2,
    n_vocab=1003, n_text_ctx=96, n_text_state=128, n_text_head=2, n_text_layer=2,
)  # fmt: skip

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: nothing to compare")


@cache
def building() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", Path(__file__).parents[2] / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(name: str, folder: Path, *sources: str) -> ctypes.CDLL:
    """Sources with what the compiler may use for an instruction set; AMX's tiles are played."""
    build, path = building(), folder / f"{name}.so"
    here = kernels.instruction_sets()
    needed = "avx512_bf16" if name == "amx" else name
    if needed not in ("plain", *here) or not build._compiler():
        pytest.skip("this CPU has not got it, or there is no compiler")
    flags = () if needed == "plain" else build.BUILDS[needed]
    tiles = ("-include", str(HERE / "tiles.h")) if name == "amx" else ()
    general = (
        "-std=c++17",
        "-O2",
        "-fPIC",
        "-shared",
        "-fopenmp",
        "-Wno-psabi",
        "-DSV_VERSION=0",
        "-I",
        str(build.FOLDER),
    )
    command = [*build._compiler(), *general, *flags, *tiles, *sources, "-o", str(path)]
    ran = subprocess.run(command, cwd=build.FOLDER, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ctypes.CDLL(str(path))


@pytest.fixture(scope="module", params=SETS)
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compiled(request.param, tmp_path_factory.mktemp("door"), str(HERE / "bytes_door.cpp"))


def multiplied(door: ctypes.CDLL, x: np.ndarray, weight: np.ndarray) -> None:
    """Assert that lines become the nearest bytes, and that their product is that of whole numbers."""
    (n_lines, k), n = x.shape, -(-len(weight) // 64) * 64
    packed, column_scale, sums = packing.packed_bytes([Numbers(weight)], n_threads=2)
    n_padded = -(-n_lines // 32) * 32
    bytes_, scale, zero = (
        np.full((n_padded, k), 77, np.uint8),
        np.zeros(n_lines, np.float32),
        np.zeros(n_lines, np.int32),
    )
    out = np.full((n_lines, n), np.nan, np.float32)
    whole = (x, packed, column_scale, sums, bytes_, scale, zero, out)
    door.sv_multiply_bytes(n_lines, k, n, *(ctypes.c_void_p(a.ctypes.data) for a in whole))

    most, u = door.sv_most_byte(), bytes_[:n_lines].astype(np.int64)
    assert u.max(initial=0) <= most
    span = np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0)
    np.testing.assert_allclose(scale, span / most, rtol=1e-6)
    meant = (u - zero[:, None]) * scale[:, None]
    assert (np.abs(meant - x) <= 1.001 * scale[:, None]).all()  # half for the number, half for a zero between two
    assert (meant[x == 0] == 0).all()
    b = packed.reshape(n // 64, k // 4, 64, 4).swapaxes(1, 2).reshape(n, k).astype(np.int64)
    exact = (u @ b.T - zero[:, None].astype(np.int64) * b.sum(1)).astype(np.float32)
    np.testing.assert_allclose(out, exact * (scale[:, None] * column_scale), rtol=1e-6)


@pytest.mark.parametrize("n_lines", [1, 2, 3, 4, 5, 16, 17, 31, 32, 33, 47, 96])
@pytest.mark.parametrize(("k", "n"), [(64, 64), (128, 100), (512, 192), (5120, 64)])
def test_lines_times_a_matrix(door: ctypes.CDLL, n_lines: int, k: int, n: int) -> None:
    draw = np.random.default_rng(n_lines * k)
    x = draw.normal(draw.normal(0, 2, (n_lines, 1)), draw.uniform(0.01, 30, (n_lines, 1)), (n_lines, k))
    x[draw.random(x.shape) < 0.1] = 0
    multiplied(door, x.astype(np.float32), draw.normal(0, 0.05, (n, k)).astype(np.float32))


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, 1e30])
@pytest.mark.parametrize("weight", [0.0, 1.0, -1.0])
def test_the_largest_and_the_least_of_numbers(door: ctypes.CDLL, value: float, weight: float) -> None:
    """Two products of bytes of 8 bits do not fit into the 16 that CPUs without VNNI add them in."""
    x, w = np.full((32, 2048), value, np.float32), np.full((64, 2048), weight, np.float32)
    multiplied(door, x, w)
    x[:, ::3], w[::2] = -value, -weight
    multiplied(door, x, w)


def attended(door: ctypes.CDLL, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> float:
    """The error of what one head hears, as a share of what it should hear; twin: softmax in float64."""
    n_keys, lines = len(k), -(-len(k) // 32) * 32
    given = [np.zeros((lines, 64), np.float32) for _ in range(3)]
    for to, x in zip(given, (q, k, v), strict=True):
        to[:n_keys] = x
    out, scratch = np.zeros((lines, 64), np.uint16), np.full((1 << 18) + 2048 * lines, 0xFF, np.uint8)
    pointers = (ctypes.c_void_p(a.ctypes.data) for a in (*given, out, scratch))
    door.sv_attend8(lines, n_keys, *pointers)
    ours = (out.astype(np.uint32) << 16).view(np.float32)[:n_keys]
    scores = given[0][:n_keys].astype(np.float64) @ k.T / 8
    p = np.exp(scores - scores.max(1, keepdims=True))
    theirs = p / p.sum(1, keepdims=True) @ v
    return float(np.sqrt(np.square(ours - theirs).mean() / np.square(theirs).mean()))


@pytest.mark.parametrize("n_keys", [1, 20, 64, 127, 150, 1500])
def test_one_head_attends(door: ctypes.CDLL, n_keys: int) -> None:
    """Scores are about 3 times normal: some queries hear a few keys, some many."""
    draw = np.random.default_rng(n_keys)
    q, k, v = (draw.normal(0, size, (n_keys, 64)).astype(np.float32) for size in (2.0, 1.5, 1.0))
    assert attended(door, q, k, v + draw.normal(0, 1, 64).astype(np.float32)) < (
        0.03 if door.sv_most_byte() == 255 else 0.06
    )


def test_many_keys_of_little_weight_are_heard(door: ctypes.CDLL) -> None:
    """One key of weight 1 beside 1499 of weight 1/1000: with one step for all of them these would be nothing (0.6).

    Now the 127 that share a step with the heavy one are: a twelfth of what they say together.
    """
    q, k, v = (np.zeros((1500, 64), np.float32) for _ in range(3))
    q[:, 0], k[700, 0] = 8, 7
    v[:, 1], v[700, 2] = 1, 1
    assert attended(door, q, k, v) < 0.05


@pytest.fixture(scope="module")
def model() -> Whisper:
    return a_network(DIMS, 0.08)


@pytest.fixture(scope="module")
def encoder(model: Whisper) -> native.NativeEncoder:
    return native.NativeEncoder(DIMS, numbers_of(model), 2, bits=8)


def sounds(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, DIMS.n_mels, 2 * DIMS.n_audio_ctx)).astype(np.float32)


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    error = np.sqrt(np.square(kernels.from_bfloat16(ours) - theirs).mean() / np.square(theirs).mean())
    assert error < TOLERANCE


def plain_features(model: Whisper, mel: np.ndarray) -> np.ndarray:
    plain = Encoder(DIMS)
    plain.load_state_dict({name: t.float() for name, t in model.encoder.state_dict().items()})
    with torch.inference_mode():
        found: np.ndarray = plain(torch.from_numpy(mel)).numpy()
    return found


@pytest.mark.parametrize("n_windows", [1, 3])
def test_the_encoder_hears_the_same(model: Whisper, encoder: native.NativeEncoder, n_windows: int) -> None:
    mel = sounds(n_windows)
    assert_close(encoder.features(mel), plain_features(model, mel))


def test_tiles_hear_the_same(model: Whisper, tmp_path: Path) -> None:
    """All of the encoder as it is compiled for AMX, in 16 and in 8 bits."""
    mel = sounds(2)
    library = compiled("amx", tmp_path, *building().SOURCES)
    library.sv_encoder_scratch.restype = ctypes.c_int64
    for bits in (16, 8):
        encoder = native.NativeEncoder(DIMS, numbers_of(model), 2, bits)
        encoder.library = library
        assert_close(encoder.features(mel), plain_features(model, mel))


def test_a_windows_features_do_not_depend_on_its_neighbours(encoder: native.NativeEncoder) -> None:
    mel = sounds(5)
    together = encoder.features(mel)
    alone = [encoder.features(mel[i : i + 1]) for i in (4, 0, 2)]
    assert np.array_equal(together[[4, 0, 2]], np.concatenate(alone))
    assert np.array_equal(together[::-1], encoder.features(mel[::-1]))


def test_what_memory_held_before_does_not_matter(encoder: native.NativeEncoder) -> None:
    mel = sounds(2)
    found = []
    for byte in (0, 0x7F, 0xFF):
        encoder.features(mel)
        encoder._scratch.fill(byte)
        found.append(encoder.features(mel))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("name", ["avx512_bf16", "avx512", "avx2"])
def test_every_instruction_set_hears_the_same(name: str) -> None:
    if name not in kernels.instruction_sets():
        pytest.skip("this CPU has not got it")
    env = os.environ | {"SOTTOVOCE_KERNELS": name, "OMP_NUM_THREADS": "2"}
    chosen = "hears_the_same and not instruction or neighbours or memory"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen]
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ran.returncode == 0 and "skipped" not in ran.stdout, ran.stdout[-3000:]
