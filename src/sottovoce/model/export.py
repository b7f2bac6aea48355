"""The network's weights into files that peers load: a folder of transformers, or OpenAI's .pt. Reads nothing back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sottovoce.errors import ModelError, OutputError
from sottovoce.model.dims import Dims
from sottovoce.model.transformers import CONFIG, DIMS, GENERATION, theirs
from sottovoce.model.whisper import Whisper

N_VOCAB = 51_864  # tokens of an English-only checkpoint, the smallest vocabulary
N_TIMESTAMPS = 1501  # 0.00 to 30.00 s
N_TASKS = 6  # special tokens between the languages and the timestamps: translate ... notimestamps
MAX_INITIAL = 50  # latest first timestamp, 1 s; openai/whisper decoding.py:max_initial_timestamp


def export_safetensors(
    model: Whisper,
    folder: Path,
    *,
    languages: Sequence[str] = (),
    suppress: Sequence[int] = (),
    suppress_first: Sequence[int] = (),
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a folder that WhisperForConditionalGeneration.from_pretrained loads, in the model's precision.

    languages: codes in the order of their tokens; suppress, suppress_first: token ids that `generate` avoids, always
    and as the first; without them `generate` works, but knows no language by name and suppresses nothing.
    extra_files: what else belongs into the folder, by name (a tokenizer's files).
    Each file appears whole or not at all; the weights come first and the configuration last.
    Raises ModelError if the dimensions have no counterpart there, OutputError if a file cannot be written.
    """
    dims = model.dims
    _check_exportable(dims, languages)
    tensors = {theirs(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    dtype = str(model.decoder.token_embedding.weight.dtype).removeprefix("torch.")
    texts = {
        "preprocessor_config.json": _preprocessor(dims),
        GENERATION: _generation(model, languages, suppress, suppress_first),
        CONFIG: _config(dims, dtype),
    }
    files = dict(extra_files or {})
    files.update({name: (json.dumps(values, indent=2) + "\n").encode() for name, values in texts.items()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise _unwritable(folder, e) from e
    _write(folder / "model.safetensors", lambda part: save_file(tensors, part, metadata={"format": "pt"}))
    for name, content in files.items():
        _write(folder / name, partial(_put, content))


def export_pt(model: Whisper, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a .pt that openai-whisper's load_model loads. float16 is what OpenAI publishes.

    The file appears whole or not at all.
    Raises ModelError if a weight does not fit into dtype, OutputError if the file cannot be written.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        state[name] = tensor.detach().cpu().to(dtype).contiguous()
        if not state[name].isfinite().all():
            raise ModelError(f"{name} does not fit into {dtype}; export with dtype=torch.float32 instead")
    content = {"dims": asdict(model.dims), "model_state_dict": state}
    _write(path, lambda part: torch.save(content, part))


def _check_exportable(dims: Dims, languages: Sequence[str]) -> None:
    if dims.n_audio_state != dims.n_text_state:
        raise ModelError(
            f"widths {dims.n_audio_state} and {dims.n_text_state} of encoder and decoder were given, transformers "
            "knows only one; export to .pt instead"
        )
    if dims.n_vocab < N_VOCAB:
        raise ModelError(f"{dims.n_vocab} tokens were given, {N_VOCAB} or more were expected; export to .pt instead")
    if languages and len(languages) < dims.n_languages:
        raise ModelError(f"{len(languages)} languages were given, {dims.n_languages} were expected; pass all, in order")


def _put(content: bytes, part: Path) -> None:
    part.write_bytes(content)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as e:  # torch wraps what the disk says in a RuntimeError
        raise _unwritable(path, e) from e
    finally:
        part.unlink(missing_ok=True)


def _unwritable(path: Path, e: Exception) -> OutputError:
    reason = str(e).split("\n", 1)[0]
    return OutputError(f"{path}: it cannot be written ({reason}); give a folder that exists, is writable and has room")


def _config(dims: Dims, dtype: str) -> dict[str, Any]:
    eot = _end_of_text(dims)
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        **{theirs: getattr(dims, ours) for ours, theirs in DIMS.items()},
        "num_hidden_layers": dims.n_audio_layer,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "activation_function": "gelu",
        "is_encoder_decoder": True,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "bos_token_id": eot,
        "eos_token_id": eot,
        "pad_token_id": eot,
        "decoder_start_token_id": eot + 1,
        "torch_dtype": dtype,
    }


def _generation(
    model: Whisper, languages: Sequence[str], suppress: Sequence[int], suppress_first: Sequence[int]
) -> dict[str, Any]:
    dims = model.dims
    eot = _end_of_text(dims)
    sot = eot + 1
    translate = sot + 1 + dims.n_languages  # then transcribe, startoflm, startofprev, nospeech, notimestamps
    values: dict[str, Any] = {
        "alignment_heads": [list(pair) for pair in model.alignment_heads],
        "bos_token_id": eot,
        "eos_token_id": eot,
        "pad_token_id": eot,
        "decoder_start_token_id": sot,
        "prev_sot_token_id": translate + 3,
        "no_timestamps_token_id": translate + N_TASKS - 1,
        "max_initial_timestamp_index": MAX_INITIAL,
        "max_length": dims.n_text_ctx,
        "is_multilingual": dims.is_multilingual,
        "return_timestamps": False,
    }
    if suppress:
        values["suppress_tokens"] = list(suppress)
    if suppress_first:
        values["begin_suppress_tokens"] = list(suppress_first)
    if dims.is_multilingual:
        values["task_to_id"] = {"transcribe": translate + 1, "translate": translate}
        if languages:
            values["lang_to_id"] = {f"<|{languages[i]}|>": sot + 1 + i for i in range(dims.n_languages)}
    else:
        values["forced_decoder_ids"] = [[1, translate + N_TASKS - 1]]
    return values


def _preprocessor(dims: Dims) -> dict[str, Any]:
    # the recipe of audio.mel; openai/whisper audio.py
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": dims.n_mels,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 480_000,
        "nb_max_frames": 3_000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _end_of_text(dims: Dims) -> int:
    """Id of <|endoftext|>: the languages, tasks and timestamps follow it, after <|startoftranscript|>."""
    return dims.n_vocab - N_TIMESTAMPS - N_TASKS - dims.n_languages - 2
