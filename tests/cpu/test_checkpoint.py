"""Weights tensor by tensor, without torch: what torch makes of the same files and numbers stands beside each."""

from __future__ import annotations

import io
import math
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sottovoce.errors import ModelError
from sottovoce.model import catalogue, export, modules, weights, whisper
from sottovoce.model.dims import Dims
from sottovoce.model.stored import Numbers
from sottovoce.model.whisper import Whisper
from tests.commands import environ
from tests.forms import write_ctranslate2, write_ggml
from tests.plain_cache import random_model

DIMS = Dims(80, 20, 64, 2, 2, 500, 448, 64, 4, 3)
NAME = "decoder.blocks.1.mlp.2.weight"


@pytest.fixture(scope="module")
def model() -> Whisper:
    return random_model(DIMS)


def numbers_of(tensor: Tensor) -> Numbers:
    if tensor.dtype == torch.bfloat16:
        return Numbers(tensor.view(torch.int16).numpy().view(np.uint16), bfloat16=True)
    return Numbers(tensor.numpy())


def read(checkpoint: weights.Checkpoint) -> dict[str, Tensor]:
    return {name: torch.from_numpy(checkpoint.read(name).float32().copy()) for name in checkpoint.shapes}


def equal(checkpoint: weights.Checkpoint, state: dict[str, Tensor]) -> None:
    given = read(checkpoint)
    assert list(given) == list(state)
    for name, tensor in state.items():
        assert torch.equal(given[name], tensor), name


# --- what a network of some dimensions holds ------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [DIMS, *(card.dims for card in catalogue.CATALOGUE)], ids=str)
def test_the_shapes_are_those_of_the_modules(dims: Dims) -> None:
    with torch.device("meta"):
        state = {name: tuple(tensor.shape) for name, tensor in modules._empty(dims).state_dict().items()}
    assert weights.shapes(dims) == state
    assert list(weights.shapes(dims)) == list(state)
    assert weights.n_weights(dims) == sum(math.prod(shape) for shape in state.values())


@pytest.mark.parametrize("n_state", [64, 384, 512, 768, 1024, 1280])
def test_sinusoids_are_those_of_torch(n_state: int) -> None:
    """A last bit of a rate, where torch rounds it otherwise, is 1.2e-4 of an angle of 1500 (half of 2**-24 * 2 * 1500);
    more than one bit there would be twice that. All else is rounding of the result."""
    ours, torchs = weights.sinusoids(1500, n_state), whisper.sinusoids(1500, n_state).numpy()
    assert ours.dtype == np.float32
    error = np.abs(ours - torchs)
    assert error.max() < 1.3e-4
    assert (error.max(axis=0) > 2e-7).mean() < 0.02  # columns whose rate differs


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_numbers_in_float32_are_those_of_torch(dtype: torch.dtype) -> None:
    tensor = torch.randn(7, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    numbers = numbers_of(tensor)
    assert numbers.shape == (7, 33)
    assert numbers.name == str(dtype).removeprefix("torch.")
    assert torch.equal(torch.from_numpy(numbers.float32()), tensor.float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("n", [3, 400_000])
def test_what_is_not_finite_is_seen_wherever_it_stands(dtype: torch.dtype, n: int) -> None:
    info = torch.finfo(dtype)
    most = min(info.max, torch.finfo(torch.float32).max)
    fine = torch.full((n,), 0.5, dtype=dtype)
    for value in (most, -most, 0.0, -0.0, info.tiny / 2, -info.tiny / 2):
        fine[n // 2] = value
        assert numbers_of(fine).is_finite(), value
    for i in (0, n // 2, n - 1):
        for value in (math.nan, -math.nan, math.inf, -math.inf, *([1e39, -1e39] if dtype == torch.float64 else [])):
            bad = torch.full((n,), -0.5, dtype=dtype)
            bad[i] = value
            assert not numbers_of(bad).is_finite(), (i, value)
    assert Numbers(np.empty((0, 4), np.float32)).is_finite()


# --- files ----------------------------------------------------------------------------------------------------------

Writer = Callable[[Whisper, Path], Path]


def as_pt(model: Whisper, folder: Path) -> Path:
    export.export_pt(model, folder / "small.pt", torch.float32)
    return folder / "small.pt"


def as_stream(model: Whisper, folder: Path) -> Path:
    """As torch wrote before 1.6."""
    content = {"dims": asdict(model.dims), "model_state_dict": model.state_dict()}
    torch.save(content, folder / "old.pt", _use_new_zipfile_serialization=False)
    return folder / "old.pt"


def as_compressed(model: Whisper, folder: Path) -> Path:
    whole = as_pt(model, folder)
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(folder / "z.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in given.infolist():
            packed.writestr(entry.filename, given.read(entry))
    return folder / "z.pt"


def as_odd(model: Whisper, folder: Path) -> Path:
    """Repacked without torch's padding, so that numbers lie at any address."""
    whole = as_pt(model, folder)
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(folder / "odd.pt", "w") as packed:
        for entry in given.infolist():
            packed.writestr(entry.filename, given.read(entry))
    return folder / "odd.pt"


def as_ctranslate2(model: Whisper, folder: Path) -> Path:
    return write_ctranslate2(model, folder / "ct2")


def as_ggml(model: Whisper, folder: Path) -> Path:
    return write_ggml(model, folder / "ggml-small.bin")


@pytest.mark.parametrize("write", [as_pt, as_stream, as_compressed, as_odd, as_ctranslate2, as_ggml])
def test_every_form_gives_the_numbers_that_were_written(model: Whisper, write: Writer, tmp_path: Path) -> None:
    checkpoint = weights.open_weights(write(model, tmp_path))
    assert checkpoint.dims == DIMS
    equal(checkpoint, model.state_dict())
    checkpoint.forget()
    equal(checkpoint, model.state_dict())


def as_folder(folder: Path, tensors: dict[str, Tensor], form: str) -> Path:
    """A folder of transformers with these tensors, of a network whose sides have one width."""
    if form == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    else:
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "archive")
    return folder


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("form", ["safetensors", "archive", "stream"])
def test_every_precision_of_transformers_is_read(dtype: torch.dtype, form: str, tmp_path: Path) -> None:
    model = random_model(Dims(80, 20, 64, 2, 1, 51865, 20, 64, 2, 1))
    export.export_safetensors(model, tmp_path)
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    path = as_folder(tmp_path, tensors, form)
    checkpoint = weights.open_weights(path)
    equal(checkpoint, {name: tensor.to(dtype).float() for name, tensor in model.state_dict().items()})
    assert {checkpoint.read(name).name for name in checkpoint.shapes} == {str(dtype).removeprefix("torch.")}
    loaded = modules.load(path, dtype=torch.float32).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in read(checkpoint).items())


def test_positions_that_a_file_leaves_out_are_computed(model: Whisper, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if name != weights.POSITIONS}
    checkpoint = weights.open_weights(save(tmp_path, state))
    assert np.array_equal(checkpoint.read(weights.POSITIONS).values, weights.sinusoids(20, 64))


def save(folder: Path, state: Any, zipped: bool = True, **more: Any) -> Path:
    content = {"dims": asdict(DIMS), "model_state_dict": state, **more}
    torch.save(content, folder / "changed.pt", _use_new_zipfile_serialization=zipped)
    return folder / "changed.pt"


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "stream"])
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.t().contiguous().t(),  # not in order of rows
        lambda t: torch.stack([t + 1, t, t + 2])[1],  # a part of a larger storage
        lambda t: torch.nn.Parameter(t.clone()),
        lambda t: t[:1].expand_as(t),  # no numbers of its own for most rows
        lambda t: (t * 100).round().to(torch.int16),
    ],
    ids=["transposed", "part", "parameter", "expanded", "whole numbers"],
)
def test_tensors_are_cut_from_their_storages(
    model: Whisper, change: Callable[[Tensor], Tensor], zipped: bool, tmp_path: Path
) -> None:
    state = {**model.state_dict()}
    state[NAME] = change(state[NAME])
    checkpoint = weights.open_weights(save(tmp_path, state, zipped))
    equal(checkpoint, {**state, NAME: state[NAME].detach().float().contiguous()})
    assert checkpoint.read(NAME).values.flags.c_contiguous


def test_plain_values_may_stand_beside_the_weights(model: Whisper, tmp_path: Path) -> None:
    beside = {"epoch": 3, "loss": 0.5, "note": "é", "seen": {1, 2}, "kind": torch.float16, "raw": b"\xff\0"}
    beside |= {"size": torch.Size([2]), "optimizer": OrderedDict(a=[1, (2, None, True)]), "big": 1 << 70}
    equal(weights.open_weights(save(tmp_path, model.state_dict(), **beside)), model.state_dict())


# --- what is damaged or worse ---------------------------------------------------------------------------------------


class Evil:
    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.made = (call, arguments)

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "stream"])
@pytest.mark.parametrize(
    "evil",
    [Evil(os.mkdir, "made"), Evil(eval, "1"), Evil(getattr, {}, "get"), np.float32(1), Path("x"), io.BytesIO()],
    ids=["mkdir", "eval", "getattr", "numpy", "path", "state"],
)
def test_a_pickle_makes_nothing_but_tensors(
    model: Whisper, evil: Any, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"is no part of a tensor\).*torch\.save"):
        weights.open_weights(save(tmp_path, model.state_dict(), zipped, evil=evil))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02]q\x00}q\x01b.",  # attributes of a list
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",  # and of a class
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # an opcode that tensors need not
        b"\x80\x02K\x01r\xff\xff\xff\xffX\xff\xff\xff\xff",  # as much memory as these bytes say
        pickle.dumps({"a": 1}, 2)[:-2],
        b"",
    ],
)
def test_a_pickle_of_other_things_is_refused(pickled: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
    with pytest.raises(ModelError, match="it cannot be read"):
        weights.open_weights(path)


@pytest.mark.parametrize("short", ["changed/data.pkl", "changed/data/3"])
def test_an_archive_with_a_short_entry_is_refused(model: Whisper, short: str, tmp_path: Path) -> None:
    path = save(tmp_path, model.state_dict())
    with zipfile.ZipFile(path) as given:
        entries = {entry.filename: given.read(entry) for entry in given.infolist()}
    entries[short] = entries[short][: len(entries[short]) // 2]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match="it cannot be read"):
        weights.open_weights(path)


@pytest.mark.parametrize("write", [as_pt, as_stream, as_compressed])
def test_a_scrambled_pickle_is_refused_or_read(model: Whisper, write: Writer, tmp_path: Path) -> None:
    """Whatever stands where, nothing but ModelError comes out, and no memory is taken for it."""
    path = write(model, tmp_path)
    whole, rng = path.read_bytes(), random.Random(2)
    n_refused = 0
    for i in range(60):
        data = bytearray(whole)
        # the pickle is at the front, and the archive's directory at the end
        for _ in range(4):
            at = rng.randrange(min(8000, len(data)))
            data[at if i % 2 else -1 - at] = rng.randrange(256)
        path.write_bytes(data)
        try:
            checkpoint = weights.open_weights(path)
            for name in checkpoint.shapes:
                checkpoint.read(name)
        except ModelError:
            n_refused += 1
    assert n_refused > 10


@pytest.mark.parametrize("scale", [0.0, 1e-45, math.nan])
def test_a_scale_that_makes_no_number_is_named(model: Whisper, scale: float, tmp_path: Path) -> None:
    """What such a division warned of would have been the user's only hint."""
    name, path = b"decoder/layer_0/ffn/linear_0/weight_scale\0", write_ctranslate2(model, tmp_path, "int8")
    data = bytearray((path / "model.bin").read_bytes())
    at = data.index(name) + len(name) + 1 + 4 + 1 + 4  # rank, a side, type, size
    data[at : at + 4] = np.float32(scale).tobytes()
    (path / "model.bin").write_bytes(data)
    checkpoint = weights.open_weights(path)
    with pytest.raises(ModelError, match=r"decoder\.blocks\.0\.mlp\.0\.weight holds values that are not finite"):
        checkpoint.read("decoder.blocks.0.mlp.0.weight")


# --- without torch --------------------------------------------------------------------------------------------------

READ = """
import sys
from pathlib import Path
from sottovoce.model import catalogue, dims, download, folders, hfhub, hub, packages, reach, store, weights
for path in sys.argv[1:]:
    checkpoint = weights.open_weights(Path(path))
    assert weights.dims_of(Path(path)) == checkpoint.dims
    for name, shape in checkpoint.shapes.items():
        assert checkpoint.read(name).float32().shape == shape
        checkpoint.forget()
print([name for name in sys.modules if name.split(".")[0] in ("torch", "transformers", "triton")])
"""


def test_nothing_that_reads_weights_imports_torch(model: Whisper, tmp_path: Path) -> None:
    one_width = random_model(Dims(80, 20, 64, 2, 1, 51865, 20, 64, 2, 1))
    paths = [as_pt(model, tmp_path), as_stream(model, tmp_path), as_compressed(model, tmp_path)]
    paths += [write_ctranslate2(model, tmp_path / kind, kind) for kind in ("float32", "bfloat16", "int8", "int16")]
    paths += [write_ggml(model, tmp_path / f"ggml-{kind}.bin", kind) for kind in ("f16", "q8_0", "q5_1", "q5_0")]
    for form in ("safetensors", "archive", "stream"):
        export.export_safetensors(one_width, tmp_path / form)
        paths.append(as_folder(tmp_path / form, load_file(tmp_path / form / "model.safetensors"), form))
    ran = subprocess.run([sys.executable, "-c", READ, *map(str, paths)], env=environ(), capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
