"""Writers of CTranslate2 and ggml files, from their projects' own descriptions; the readers are tested with them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from torch import Tensor

from sottovoce.model.whisper import Whisper

CT2_IDS = {
    t: i for i, t in enumerate((torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16))
}


def raw(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())


# --- CTranslate2: specs/model_spec.py and converters/transformers.py ------------------------------------------------


def write_ctranslate2(model: Whisper, folder: Path, quantisation: str = "float32") -> Path:
    """A model.bin as ct2-transformers-converter writes it: float32, float16, bfloat16, int16, int8, int8_float16."""
    variables: dict[str, Tensor] = {}
    kind, _, rest = quantisation.partition("_")
    plain = getattr(torch, rest or ("float32" if kind.startswith("int") else kind))
    for name, tensor in _ct2_tensors(model).items():
        quantisable = name.endswith("/weight") and "norm" not in name
        if kind == "int8" and quantisable:
            scale = 127 / tensor.flatten(1).abs().amax(dim=1)
            variables[name + "_scale"] = scale
            variables[name] = (tensor * scale.view(-1, *[1] * (tensor.dim() - 1))).round().to(torch.int8)
        elif kind == "int16" and quantisable:
            variables[name + "_scale"] = 2**10 / tensor.abs().max()
            variables[name] = (tensor * variables[name + "_scale"]).round().to(torch.int16)
        else:
            variables[name] = tensor.to(plain)
    variables["encoder/num_heads"] = torch.tensor(model.dims.n_audio_head, dtype=torch.int16)
    variables["decoder/num_heads"] = torch.tensor(model.dims.n_text_head, dtype=torch.int16)
    variables["decoder/pre_norm"] = torch.tensor(1, dtype=torch.int8)
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    if kind.startswith("int"):
        aliases["decoder/projection/weight_scale"] = "decoder/embeddings/weight_scale"
    folder.mkdir(parents=True, exist_ok=True)
    config = {"alignment_heads": [list(pair) for pair in model.alignment_heads], "lang_ids": [], "suppress_ids": []}
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.bin").open("wb") as f:
        f.write(struct.pack("<I", 6) + _ct2_text("WhisperSpec") + struct.pack("<II", 3, len(variables)))
        for name, tensor in sorted(variables.items()):
            f.write(_ct2_text(name) + struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape))
            data = raw(tensor.reshape(-1))
            f.write(struct.pack("<BI", CT2_IDS[tensor.dtype], len(data)) + data)
        f.write(struct.pack("<I", len(aliases)))
        for alias, name in aliases.items():
            f.write(_ct2_text(alias) + _ct2_text(name))
    return folder


def _ct2_text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _ct2_tensors(model: Whisper) -> dict[str, Tensor]:
    state = model.state_dict()
    out = {
        "encoder/position_encodings/encodings": state["encoder.positional_embedding"],
        "decoder/position_encodings/encodings": state["decoder.positional_embedding"],
        "decoder/embeddings/weight": state["decoder.token_embedding.weight"],
    }
    for conv in ("conv1", "conv2"):
        out |= {f"encoder/{conv}/{kind}": state[f"encoder.{conv}.{kind}"] for kind in ("weight", "bias")}

    def norm(there: str, here: str) -> None:
        out.update({f"{there}/gamma": state[f"{here}.weight"], f"{there}/beta": state[f"{here}.bias"]})

    def linear(there: str, *here: str) -> None:
        out[f"{there}/weight"] = torch.cat([state[f"{part}.weight"] for part in here])
        biases = [state.get(f"{part}.bias", torch.zeros(state[f"{part}.weight"].shape[0])) for part in here]
        out[f"{there}/bias"] = torch.cat(biases)

    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    for side, n_layers in (("encoder", model.dims.n_audio_layer), ("decoder", model.dims.n_text_layer)):
        for i in range(n_layers):
            there, here = f"{side}/layer_{i}", f"{side}.blocks.{i}"
            norm(f"{there}/self_attention/layer_norm", f"{here}.attn_ln")
            linear(f"{there}/self_attention/linear_0", *(f"{here}.attn.{p}" for p in ("query", "key", "value")))
            linear(f"{there}/self_attention/linear_1", f"{here}.attn.out")
            norm(f"{there}/ffn/layer_norm", f"{here}.mlp_ln")
            linear(f"{there}/ffn/linear_0", f"{here}.mlp.0")
            linear(f"{there}/ffn/linear_1", f"{here}.mlp.2")
            if side == "decoder":
                norm(f"{there}/attention/layer_norm", f"{here}.cross_attn_ln")
                linear(f"{there}/attention/linear_0", f"{here}.cross_attn.query")
                linear(f"{there}/attention/linear_1", f"{here}.cross_attn.key", f"{here}.cross_attn.value")
                linear(f"{there}/attention/linear_2", f"{here}.cross_attn.out")
    return out


# --- ggml: whisper.cpp convert-pt-to-ggml.py and quantize, ggml-quants.c --------------------------------------------

GGML_IDS = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2002, "q4_1": 2003, "q8_0": 2007, "q5_0": 2008, "q5_1": 2009}


def write_ggml(model: Whisper, path: Path, kind: str = "f32") -> Path:
    d = model.dims
    sizes = (d.n_vocab, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
    sizes += (d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer, d.n_mels, FILE_TYPES[kind])
    with path.open("wb") as f:
        f.write(struct.pack("<I11i", 0x67676D6C, *sizes))
        f.write(struct.pack("<2i", d.n_mels, 201) + bytes(4 * d.n_mels * 201))
        f.write(struct.pack("<i", 3) + b"".join(struct.pack("<I", len(t)) + t for t in (b"a", b"\xff\xfe", b"")))
        for name, tensor in model.state_dict().items():
            if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
                tensor = tensor[:, None]
            small = tensor.dim() < 2 or "positional" in name or name.endswith("bias")
            here = "f32" if small else "f16" if tensor.dim() != 2 and kind != "f32" else kind
            text = name.encode()
            f.write(struct.pack("<3i", tensor.dim(), len(text), GGML_IDS[here]))
            f.write(struct.pack(f"<{tensor.dim()}i", *reversed(tensor.shape)) + text + ggml_bytes(tensor, here))
    return path


def ggml_bytes(tensor: Tensor, kind: str) -> bytes:
    if kind in ("f32", "f16"):
        return raw(tensor.to(torch.float32 if kind == "f32" else torch.float16))
    x = tensor.reshape(-1, 32).float()
    step, low = ggml_steps(tensor, kind)
    bits = int(kind[1])
    inverse = torch.where(step == 0, 0.0, 1 / step)
    parts = [_f16(step)]
    if kind.endswith("_1"):
        parts.append(_f16(low))
        q = ((x - low) * inverse + 0.5).floor().clamp(0, 2**bits - 1)
    elif bits == 8:
        return raw(torch.cat([_f16(step), (x * inverse).round().to(torch.int8).view(torch.uint8)], dim=1))
    else:
        q = (x * inverse + 2 ** (bits - 1) + 0.5).floor().clamp(0, 2**bits - 1)
    q = q.to(torch.int32)
    if bits == 5:
        fifth = ((q >> 4) << torch.arange(32)).to(torch.int64).sum(dim=1, keepdim=True)
        parts.append(torch.cat([(fifth >> shift) & 255 for shift in (0, 8, 16, 24)], dim=1).to(torch.uint8))
    q &= 15
    parts.append((q[:, :16] | q[:, 16:] << 4).to(torch.uint8))
    return raw(torch.cat(parts, dim=1))


def ggml_steps(tensor: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """(n, 1) the distance between two neighbouring values of each block, as stored (the sign too), and its lowest."""
    x = tensor.reshape(-1, 32).float()
    low = x.amin(dim=1, keepdim=True)
    if kind == "q8_0":
        step = x.abs().amax(dim=1, keepdim=True) / 127
    elif kind.endswith("_1"):
        step = (x.amax(dim=1, keepdim=True) - low) / (2 ** int(kind[1]) - 1)
    else:
        step = x.gather(1, x.abs().argmax(dim=1, keepdim=True)) / -(2 ** (int(kind[1]) - 1))
    return step.half().float(), low.half().float()


def _f16(x: Tensor) -> Tensor:
    return x.half().view(torch.uint8)
