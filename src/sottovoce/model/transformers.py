"""The folders of transformers (safetensors or pytorch_model.bin, one file or shards) as the network's tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sottovoce.errors import ModelError
from sottovoce.model.dims import Dims
from sottovoce.model.pickled import lazily, read_pickled
from sottovoce.model.stored import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Heads, Mapped, Numbers, Stored, damaged

CONFIG, GENERATION = "config.json", "generation_config.json"
DIMS = {  # Dims: transformers' WhisperConfig
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
NAMES = (  # transformers' spelling of a part of a name, and the network's
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("self_attn_layer_norm", "attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("layers", "blocks"),
    ("embed_tokens", "token_embedding"),
    ("embed_positions.weight", "positional_embedding"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
)
OURS = dict(NAMES)
THEIRS = {ours: theirs for theirs, ours in NAMES}
KINDS = {"F64": FLOAT64, "F32": FLOAT32, "F16": FLOAT16, "BF16": BFLOAT16}  # as the header of safetensors writes them
TIED = "proj_out.weight"  # the token embedding once more; transformers overwrites it with that


def ours(name: str) -> str:
    """The network's name of a tensor of transformers."""
    return _replace(name.removeprefix("model."), OURS)


def theirs(name: str) -> str:
    """The name that transformers gives to a tensor of the network."""
    return "model." + _replace(name, THEIRS)


def _replace(name: str, table: dict[str, str]) -> str:
    parts = "|".join(re.escape(part) for part in table)
    return re.sub(rf"(?<!\w)(?:{parts})(?!\w)", lambda match: table[match[0]], name)


def open_transformers(files: tuple[Path, ...]) -> Stored:
    """The checkpoint in these files (several: shards), with config.json and generation_config.json beside them.

    Raises ModelError if one is damaged, or if the configuration is missing or not Whisper's.
    """
    folder = files[0].parent
    dims = read_dims(folder)
    tensors: dict[str, Callable[[], Numbers]] = {}
    opened: list[Mapped] = []
    for path in files:
        if path.suffix == ".safetensors":
            file, found = _safetensors(path)
        else:
            content, file = read_pickled(path)
            found = lazily(path, content)
        opened.append(file)
        tensors.update(found)

    def forget() -> None:
        for file in opened:
            file.forget()

    named = {ours(name): read for name, read in tensors.items() if name != TIED}
    return Stored("Hugging Face", dims, named, _heads(folder / GENERATION), forget)


def read_dims(folder: Path) -> Dims:
    """The dimensions in a folder's config.json. Raises ModelError if it is missing or not Whisper's."""
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(
            f"{folder}: weights without {CONFIG} were given, both were expected; "
            "give the whole folder as the hub holds it (sottovoce models pull NAME)"
        )
    config = read_json(path)
    if config.get("model_type", "whisper") != "whisper":
        raise ModelError(
            f"{path}: a model of type {config['model_type']!r} was given, 'whisper' was expected; give a Whisper model"
        )
    wrong = [key for key in DIMS.values() if not isinstance(config.get(key), int)]
    if wrong:
        raise damaged(path, f"{wrong[0]} is {config.get(wrong[0])!r}", "a whole number")
    return Dims(**{name: config[key] for name, key in DIMS.items()})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ModelError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise damaged(path, f"it cannot be read ({e})", "JSON") from e
    if not isinstance(content, dict):
        raise damaged(path, "it is no JSON object", "names and values")
    return content


def _safetensors(path: Path) -> tuple[Mapped, dict[str, Callable[[], Numbers]]]:
    """The file, and a reader of each of its tensors.

    Layout (little-endian): u64 length of the header, the header as JSON, tensors at offsets that count from its end.
    """
    try:
        with safe_open(path, framework="np"):  # only to check the header against the file
            pass
    except (SafetensorError, OSError) as e:
        raise damaged(path, f"safetensors cannot read it ({e})", "a complete file") from e
    file = Mapped(path)
    header = json.loads(file.text(file.take("Q", "the header's length"), "the header"))
    tensors: dict[str, Callable[[], Numbers]] = {}
    for name, told in header.items():
        if name == "__metadata__":
            continue
        if told["dtype"] not in KINDS:
            raise damaged(path, f"{name} is of type {told['dtype']}", f"one of {', '.join(KINDS)}")
        start = file.offset + told["data_offsets"][0]
        tensors[name] = partial(file.numbers, start, tuple(told["shape"]), KINDS[told["dtype"]])
    return file, tensors


def _heads(path: Path) -> Heads | None:
    if not path.is_file():
        return None
    pairs = read_json(path).get("alignment_heads")
    try:
        return tuple((int(i_layer), int(i_head)) for i_layer, i_head in pairs) if pairs else None
    except (ValueError, TypeError) as e:
        raise damaged(path, f"alignment_heads are {pairs!r}", "pairs of layer and head") from e
