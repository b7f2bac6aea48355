"""A network as whisper.cpp's ggml file, so that this peer too has the same weights. Knows no run.

Layout: src/sottovoce/model/ggml.py, which reads it; source: whisper.cpp models/convert-pt-to-ggml.py.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from sottovoce.audio import mel
from sottovoce.model.whisper import Whisper
from sottovoce.text.tokenizer import Tokenizer

MAGIC = 0x67676D6C
F32, F16 = 0, 1  # enum ggml_type, and of the file


def write(model: Whisper, path: Path) -> None:
    """Matrices in float16, all else in float32."""
    d = model.dims
    tokenizer = Tokenizer(d.n_vocab)
    words = [tokenizer.encoding.decode_single_token_bytes(i) for i in range(tokenizer.eot)]
    filters = torch.from_numpy(mel.filters(d.n_mels).copy())  # (M, bins)
    sizes = (d.n_vocab, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
    sizes += (d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer, d.n_mels, F16)
    part = path.with_suffix(".part")
    with part.open("wb") as f:
        f.write(struct.pack("<I11i", MAGIC, *sizes))
        f.write(struct.pack("<2i", *filters.shape) + _bytes(filters))
        f.write(struct.pack("<i", len(words)) + b"".join(struct.pack("<I", len(w)) + w for w in words))
        for name, tensor in model.state_dict().items():
            _write_tensor(f, name, tensor)
    part.replace(path)


def _write_tensor(f: BinaryIO, name: str, tensor: Tensor) -> None:
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        tensor = tensor[:, None]  # a column, there
    small = tensor.dim() < 2 or "positional" in name or name.endswith("bias")
    tensor = tensor.to(torch.float32 if small else torch.float16)
    text = name.encode()
    f.write(struct.pack("<3i", tensor.dim(), len(text), F32 if small else F16))
    f.write(struct.pack(f"<{tensor.dim()}i", *reversed(tensor.shape)) + text + _bytes(tensor))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()
