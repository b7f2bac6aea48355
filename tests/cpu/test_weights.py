"""Four forms of one model give one network; what is damaged is refused with its name."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration

from sottovoce.errors import ModelError, OutputError
from sottovoce.model import export, forms, modules, weights
from sottovoce.model.dims import Dims
from sottovoce.model.whisper import Whisper, sinusoids
from tests.forms import GGML_IDS, ggml_steps, write_ctranslate2, write_ggml
from tests.plain_cache import greedy, logits_of, random_model

DIMS = Dims(80, 1500, 64, 2, 2, 51865, 448, 64, 4, 2)
Writer = Callable[[Whisper, Path], Path]


@pytest.fixture(scope="module")
def model() -> Whisper:
    model = random_model(DIMS)
    model.alignment_heads = ((1, 0), (1, 3))
    return model


def as_pt(model: Whisper, folder: Path) -> Path:
    export.export_pt(model, folder / "small.pt", torch.float32)
    return folder / "small.pt"


def as_safetensors(model: Whisper, folder: Path) -> Path:
    export.export_safetensors(model, folder / "hf")
    return folder / "hf"


def as_shards(model: Whisper, folder: Path) -> Path:
    export.export_safetensors(model, folder / "sharded")
    whole = folder / "sharded" / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names, place = sorted(tensors), {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / "sharded" / file)
        place.update(dict.fromkeys(part, file))
    (folder / "sharded" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    return folder / "sharded"


def as_pytorch_bin(model: Whisper, folder: Path) -> Path:
    export.export_safetensors(model, folder / "bin")
    tensors = load_file(folder / "bin" / "model.safetensors")
    (folder / "bin" / "model.safetensors").unlink()
    tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"]
    torch.save(tensors, folder / "bin" / "pytorch_model.bin")
    return folder / "bin"


def as_ctranslate2(model: Whisper, folder: Path) -> Path:
    return write_ctranslate2(model, folder / "ct2")


def as_ggml(model: Whisper, folder: Path) -> Path:
    return write_ggml(model, folder / "ggml-small.bin")


WRITERS = (as_pt, as_safetensors, as_shards, as_pytorch_bin, as_ctranslate2, as_ggml)
NAMES_HEADS = (as_safetensors, as_shards, as_pytorch_bin, as_ctranslate2)


def logits(model: Whisper) -> torch.Tensor:
    torch.manual_seed(1)
    features, tokens = torch.randn(1, 40, 64), torch.randint(DIMS.n_vocab, (1, 5))
    mel = torch.randn(1, 80, 3000)
    with torch.inference_mode():
        features = torch.cat([features, model.encoder(mel)], dim=1)
        return logits_of(model, features, tokens)


@pytest.mark.parametrize("write", WRITERS)
def test_every_form_gives_the_same_logits(model: Whisper, write: Writer, tmp_path: Path) -> None:
    """Exactly: float32 is stored as it is, and the fused products are cut without arithmetic."""
    path = write(model, tmp_path)
    loaded = modules.load(path)
    assert loaded.dims == weights.dims_of(path) == DIMS
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.alignment_heads == (model.alignment_heads if write in NAMES_HEADS else Whisper(DIMS).alignment_heads)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("write", WRITERS)
def test_the_asked_precision_holds_everywhere(
    model: Whisper, write: Writer, dtype: torch.dtype, tmp_path: Path
) -> None:
    loaded = modules.load(write(model, tmp_path), dtype=dtype)
    state = model.state_dict()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == dtype, name
        assert torch.equal(tensor, state[name].to(dtype)), name


@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_in_ctranslate2_is_rounding_only(
    model: Whisper, kind: str, tolerance: float, tmp_path: Path
) -> None:
    loaded = modules.load(write_ctranslate2(model, tmp_path, kind)).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize("kind", ["int8", "int8_float16", "int8_bfloat16", "int16"])
def test_ctranslate2_integers_are_within_half_a_step(model: Whisper, kind: str, tmp_path: Path) -> None:
    """A step is a row's largest magnitude / 127, for int16 the matrix's / 1024; norms and biases round only."""
    loaded = modules.load(write_ctranslate2(model, tmp_path, kind))
    for name, tensor in model.state_dict().items():
        error = (loaded.state_dict()[name] - tensor).abs()
        if tensor.dim() == 1 or "positional" in name:
            assert error.max() <= tensor.abs().max() * 2**-8
            continue
        rows = tensor.flatten(1).abs()
        # the matrix of int16 is the fused one, so that its step may be larger than one part's
        largest = rows.amax(dim=1) / 127 if kind.startswith("int8") else rows.max().expand(len(rows)) / 1024 * 2
        assert (error.flatten(1).amax(dim=1) <= largest * 0.5001 + 1e-7).all(), name
    close(loaded, model, 0.05)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("f16", 0.005), ("q8_0", 0.02), ("q5_1", 0.15), ("q5_0", 0.15), ("q4_1", 0.3), ("q4_0", 0.3)],
)
def test_ggml_blocks_are_within_their_step(model: Whisper, kind: str, tolerance: float, tmp_path: Path) -> None:
    """Half a step, and one for q4_0 and q5_0, whose range has one value less above zero than below."""
    loaded = modules.load(write_ggml(model, tmp_path / "ggml-small.bin", kind))
    for name, tensor in model.state_dict().items():
        error = (loaded.state_dict()[name] - tensor).abs()
        if tensor.dim() != 2 or "positional" in name or kind == "f16":
            assert error.max() <= tensor.abs().max() * 2**-11, name
            continue
        step, _ = ggml_steps(tensor, kind)
        n_steps = 1.0 if kind in ("q4_0", "q5_0") else 0.5
        slack = tensor.abs().max() * 2**-10  # the scale is a float16
        assert (error.view(-1, 32) <= step.abs() * n_steps + slack).all(), name
    close(loaded, model, tolerance)


def close(loaded: Whisper, model: Whisper, tolerance: float) -> None:
    """Logits within a share of their spread: a guard against swapped blocks, which make it 1 and more."""
    ours, theirs = logits(loaded), logits(model)
    assert (ours - theirs).std() < tolerance * theirs.std()


def test_k_quants_are_refused_by_name(model: Whisper, tmp_path: Path) -> None:
    path = write_ggml(model, tmp_path / "ggml-small.bin", "q8_0")
    n = b"decoder.token_embedding.weight"
    data = bytearray(path.read_bytes())
    at = data.index(n) - 12
    data[at : at + 4] = struct.pack("<i", 12)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"ggml type q4_k.*q5_0 or q8_0"):
        modules.load(path)
    assert 12 not in GGML_IDS.values()


def test_positions_that_a_file_leaves_out_are_computed(model: Whisper, tmp_path: Path) -> None:
    path = as_pt(model, tmp_path)
    content = torch.load(path, weights_only=True)
    del content["model_state_dict"]["encoder.positional_embedding"]
    torch.save(content, path)
    assert torch.equal(modules.load(path).encoder.positional_embedding, sinusoids(1500, 64))


def test_given_alignment_heads_win(model: Whisper, tmp_path: Path) -> None:
    path = as_ctranslate2(model, tmp_path)
    assert modules.load(path, alignment_heads=[(0, 2)]).alignment_heads == ((0, 2),)
    with pytest.raises(ModelError, match=r"alignment head \(2, 0\) was given"):
        modules.load(path, alignment_heads=[(2, 0)])


@pytest.mark.parametrize("write", [as_safetensors, as_ctranslate2])
def test_heads_of_a_file_that_lie_outside_its_decoder_are_left_out(
    model: Whisper, write: Writer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Distilled checkpoints often keep the heads of their teacher, which had more layers: none could be loaded."""
    path = write(model, tmp_path)
    for file in path.glob("*config.json"):
        content = json.loads(file.read_text())
        if "alignment_heads" in content:
            file.write_text(json.dumps({**content, "alignment_heads": [[1, 0], [25, 6]]}))
    assert modules.load(path).alignment_heads == Whisper(DIMS).alignment_heads
    assert "(25, 6)" in caplog.text and "upper half" in caplog.text
    assert modules.load(path, alignment_heads=[(1, 3)]).alignment_heads == ((1, 3),)


# --- what is damaged ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.3, 0.9, 0.99999])
@pytest.mark.parametrize("write", WRITERS)
def test_a_truncated_file_is_refused(model: Whisper, write: Writer, share: float, tmp_path: Path) -> None:
    path = write(model, tmp_path)
    file = max(path.iterdir(), key=lambda p: p.stat().st_size) if path.is_dir() else path
    with file.open("r+b") as f:
        f.truncate(int(file.stat().st_size * share))
    with pytest.raises(ModelError, match=r"verify NAME|was expected"):
        modules.load(path)


@pytest.mark.parametrize("write", [as_pt, as_safetensors, as_ctranslate2, as_ggml])
def test_a_scrambled_header_is_refused_or_read(model: Whisper, write: Writer, tmp_path: Path) -> None:
    """Whatever stands in the first kilobyte, nothing but ModelError comes out."""
    path = write(model, tmp_path)
    file = max(path.iterdir(), key=lambda p: p.stat().st_size) if path.is_dir() else path
    whole = file.read_bytes()
    rng = torch.Generator().manual_seed(2)
    n_refused = 0
    for _ in range(40):
        data = bytearray(whole)
        for at in torch.randint(8, 1024, (8,), generator=rng).tolist():
            data[at] = int(torch.randint(256, (), generator=rng))
        file.write_bytes(data)
        try:
            weights.dims_of(path)
        except ModelError:
            n_refused += 1
    assert n_refused > 0


def change(model: Whisper, folder: Path, how: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    state = dict(model.state_dict())
    how(state)
    torch.save({"dims": asdict(model.dims), "model_state_dict": state}, folder / "changed.pt")
    return folder / "changed.pt"


NAME = "decoder.blocks.1.mlp.2.bias"


def test_a_missing_tensor_is_named(model: Whisper, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"1 missing tensors: {NAME};"):
        modules.load(change(model, tmp_path, lambda state: state.pop(NAME)))


def test_an_unexpected_tensor_is_named(model: Whisper, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"1 unexpected tensors: lora\.A;"):
        modules.load(change(model, tmp_path, lambda state: state.update({"lora.A": torch.zeros(1)})))


def test_a_wrong_shape_is_named(model: Whisper, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{NAME} has shape \[65\], \[64\] was expected"):
        modules.load(change(model, tmp_path, lambda state: state.update({NAME: torch.zeros(65)})))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(model: Whisper, value: float, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{NAME} holds values that are not finite"):
        modules.load(change(model, tmp_path, lambda state: state.update({NAME: torch.full((64,), value)})))


def test_weights_too_large_for_float16_are_named(model: Whisper, tmp_path: Path) -> None:
    path = change(model, tmp_path, lambda state: state.update({NAME: torch.full((64,), 1e5)}))
    assert modules.load(path).dims == DIMS
    with pytest.raises(ModelError, match=rf"{NAME} holds values that are not finite in torch.float16"):
        modules.load(path, dtype=torch.float16)


@pytest.mark.parametrize(
    ("name", "content"),
    [("notes.txt", b"no weights at all, but some text"), ("empty.bin", b""), ("x.gguf", b"GGUF\3\0\0\0")],
)
def test_another_kind_of_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"OpenAI \.pt, Hugging Face safetensors"):
        modules.load(tmp_path / name)


@pytest.mark.parametrize("write", (as_safetensors, as_pytorch_bin, as_ctranslate2))
def test_a_file_beside_its_configuration_is_loaded_itself(model: Whisper, write: Writer, tmp_path: Path) -> None:
    folder = write(model, tmp_path)
    (file,) = forms.weights_of(folder)
    own = file.rename(folder / f"finetuned{file.suffix}")
    export.export_safetensors(Whisper(DIMS), folder)  # another model, by the name that a folder is searched for
    assert torch.equal(logits(modules.load(own)), logits(model))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        modules.load(tmp_path / "nothing.pt")
    with pytest.raises(ModelError, match="a folder without weights"):
        modules.load(tmp_path)


def test_a_lost_configuration_is_named(model: Whisper, tmp_path: Path) -> None:
    (as_safetensors(model, tmp_path) / "config.json").unlink()
    with pytest.raises(ModelError, match=r"without config\.json"):
        modules.load(tmp_path / "hf")


def test_a_lost_shard_is_named(model: Whisper, tmp_path: Path) -> None:
    (as_shards(model, tmp_path) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing"):
        modules.load(tmp_path / "sharded")


# --- export ---------------------------------------------------------------------------------------------------------


def test_transformers_generates_with_an_export(model: Whisper, tmp_path: Path) -> None:
    export.export_safetensors(model, tmp_path, suppress=(1, 2), suppress_first=(220, 50257))
    peer = WhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert peer.generation_config.alignment_heads == [[1, 0], [1, 3]]
    assert peer.generation_config.no_timestamps_token_id == 50363
    torch.manual_seed(3)
    tokens = torch.tensor([[50258, 50259, 50359, 50363]])
    mel = torch.randn(1, 80, 3000)
    theirs = peer.generate(mel, decoder_input_ids=tokens, max_new_tokens=5, do_sample=False)[0].tolist()
    ours = greedy(model, mel, tokens[0].tolist(), end=50257, n_tokens=5)
    assert theirs[-len(ours) :] == ours


def test_an_export_appears_whole_or_not_at_all(model: Whisper, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    resource = pytest.importorskip("resource", reason="needs limits of the operating system")
    for name in ("small.pt", "model.safetensors"):
        (tmp_path / name).write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"small\.pt: it cannot be written"):
            export.export_pt(model, tmp_path / "small.pt")
        with pytest.raises(OutputError, match=r"model\.safetensors: it cannot be written"):
            export.export_safetensors(model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "small.pt"]
    assert {p.read_text() for p in tmp_path.iterdir()} == {"before"}


def test_the_file_may_change_after_loading(model: Whisper, tmp_path: Path) -> None:
    """What is loaded is in memory: a mapped file that shrinks would kill the process."""
    for write in WRITERS:
        path = write(model, tmp_path)
        loaded = modules.load(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.write_bytes(b"")
        assert torch.equal(logits(loaded), logits(model))
