"""Published weights in the forms in which packages carry them: .pt, ggml, CTranslate2."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sottovoce.audio import mel_torch
from sottovoce.config import Config
from sottovoce.engine import kernels
from sottovoce.model import export, hub, modules
from sottovoce.text.tokenizer import Tokenizer
from tests.commands import environ
from tests.plain_cache import logits_of

TEXT = " The quick brown fox jumps over the lazy dog, and the children are laughing in the garden."


@pytest.mark.weights
@pytest.mark.parametrize(("name", "form"), [("tiny.en", "pt"), ("tiny", "ggml"), ("base", "ct2")])
def test_published_weights_know_english(name: str, form: str) -> None:
    """Words in their order are far more probable than the same words backwards; a wrong tensor makes them alike.

    Silence is heard, so that the decoder speaks from what it knows of the language.
    """
    files = hub.fetch(name, Config())
    assert files.form == form
    start = time.perf_counter()
    model = modules.load(files.path)
    assert time.perf_counter() - start < 5  # a tenth of that on an idle machine; the memory is touched once
    tokenizer = Tokenizer(model.dims.n_vocab, language="en" if model.dims.is_multilingual else None)
    text = tokenizer.encode(TEXT)
    prompt = list(tokenizer.sot_sequence_including_notimestamps)
    silence = mel_torch.log_mel(torch.zeros(480_000).numpy(), model.dims.n_mels)[None, :, :3000]
    with torch.inference_mode():
        features = model.encoder(silence)
        scores = []
        for words in (text, text[::-1]):
            logits = logits_of(model, features, torch.tensor([prompt + words]))[0]
            assert logits.isfinite().all()
            logprobs = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
            scores.append(float(logprobs.gather(1, torch.tensor(words)[:, None]).mean()))
    assert scores[0] > scores[1] + 2


PEAK = """
import sys
from pathlib import Path
import torch
from sottovoce.engine.memory import give_back
from sottovoce.model import modules
def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
modules.load(Path(sys.argv[1]), dtype=getattr(torch, sys.argv[2]))  # what libraries load at their first use stays
give_back()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = resident("VmRSS")
model = modules.load(Path(sys.argv[1]), dtype=getattr(torch, sys.argv[2]))
sizes = [tensor.nbytes for tensor in model.state_dict().values()]
print(sum(sizes), max(sizes), resident("VmHWM") - before)
"""


@pytest.mark.weights
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads peak memory as Linux shows it")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", ["ct2", "ggml", "pt", "safetensors"])
def test_loading_holds_one_copy_and_one_tensor(form: str, dtype: str, tmp_path: Path) -> None:
    """Mapped files stayed in memory beside the network until the end: one and a half copies, or two."""
    path = hub.fetch({"ggml": "tiny"}.get(form, "base"), Config()).path
    if form in ("pt", "safetensors"):
        network = modules.load(path, dtype=torch.float16)
        write = export.export_pt if form == "pt" else export.export_safetensors
        write(network, path := tmp_path / form)
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), dtype], env=environ(), capture_output=True, text=True, check=True
    )
    n_bytes, n_largest_bytes, n_peak_bytes = (int(n) for n in ran.stdout.split())
    shown = f"{n_bytes / 1e6:.0f} MB, largest tensor {n_largest_bytes / 1e6:.0f}, peak {n_peak_bytes / 1e6:.0f}"
    print(f"{form} {dtype}: weights {shown}")
    # the tensor that is being converted is there in both forms
    assert n_peak_bytes < n_bytes + 1.5 * n_largest_bytes


PACKED = """
import sys
from pathlib import Path
from sottovoce.engine.memory import give_back
from sottovoce.engine.native import NativeNetwork
from sottovoce.model import weights
def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
def packed(bits):
    given, largest = weights.open_weights(Path(sys.argv[1])), 0
    def read(name):
        nonlocal largest
        given.forget()
        numbers = given.read(name)
        largest = max(largest, numbers.values.nbytes)
        return numbers
    return NativeNetwork(given.dims, read, 1, 1, 1, 8, bits, bits), largest
packed(16)
give_back()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = resident("VmRSS")
network, largest = packed(16)
print(weights.n_weights(network.encoder.dims) * 2, largest, resident("VmHWM") - before)
"""


@pytest.mark.weights
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads peak memory as Linux shows it")
@pytest.mark.skipif(kernels.library() is None, reason="no kernels for this CPU: torch loads")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_packing_holds_one_copy_and_one_tensor(dtype: str, tmp_path: Path) -> None:
    """The whole file stayed in memory beside what was packed of it."""
    network = modules.load(hub.fetch("base", Config()).path, dtype=modules.DTYPES[dtype])
    export.export_pt(network, path := tmp_path / "base.pt", modules.DTYPES[dtype])
    command = [sys.executable, "-c", PACKED, str(path)]
    ran = subprocess.run(command, env=environ(), capture_output=True, text=True, check=True)
    n_bytes, n_largest_bytes, n_peak_bytes = (int(n) for n in ran.stdout.split())
    assert n_peak_bytes < n_bytes + 1.5 * n_largest_bytes


ONE_BY_ONE = """
import sys
from pathlib import Path
from sottovoce.model import weights
def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
def largest():
    checkpoint = weights.open_weights(Path(sys.argv[1]))
    sizes = []
    for name in checkpoint.shapes:
        sizes.append(checkpoint.read(name).values.nbytes)
        checkpoint.forget()
    return max(sizes)
largest()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = resident("VmRSS")
print(largest(), resident("VmHWM") - before)
"""


@pytest.mark.weights
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads peak memory as Linux shows it")
@pytest.mark.parametrize("name", ["base", "tiny", "tiny.en"])
def test_reading_holds_one_tensor(name: str) -> None:
    """What lies at an odd address is copied; the file's pages stayed in memory beside the copy."""
    ran = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, str(hub.fetch(name, Config()).path)],
        env=environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    n_largest_bytes, n_peak_bytes = (int(n) for n in ran.stdout.split())
    # a second copy would be twice as much; some pages around those that are read are mapped with them
    assert n_peak_bytes < 1.6 * n_largest_bytes
