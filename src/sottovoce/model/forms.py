"""Which form a file or folder of weights has, by names and first bytes. Knows no tensor, and does without torch."""

from __future__ import annotations

import json
from pathlib import Path

from sottovoce.errors import ModelError

FORMS = "OpenAI .pt, Hugging Face safetensors or pytorch_model.bin, CTranslate2 model.bin or whisper.cpp ggml"
INDEX = ".index.json"  # how the name of a list of shards ends
FILES = {  # what a folder may hold, best first
    "model.safetensors": "safetensors",
    "model.safetensors" + INDEX: "safetensors",
    "pytorch_model.bin": "pytorch",
    "pytorch_model.bin" + INDEX: "pytorch",
    "model.bin": "ct2",
}


def form_of(path: Path) -> tuple[str, Path]:
    """(form, what a loader opens) of a file or folder of weights: the path itself, or the one checkpoint in it.

    form: pt, safetensors, pytorch (transformers' pickle), ct2 or ggml. Raises ModelError if it is none of these.
    """
    file = file_of(path)
    known = FILES.get(file.name) if path.is_dir() else None
    if known is None:
        return _form_of_file(file), file
    weights_of(path)  # so that an index which cannot be read is named now
    return known, path


def file_of(path: Path) -> Path:
    """The file to open for a file or a folder: its weights, or the index of its shards. Raises ModelError if none."""
    if not path.is_dir():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    single = sorted(p for p in path.iterdir() if p.is_file() and (p.suffix == ".pt" or p.name.startswith("ggml")))
    if len(single) == 1:
        return single[0]
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{path}: an adapter was given, a whole model was expected; merge it into its base model first"
        )
    given = f"{len(single)} checkpoints ({single[0].name}, ...)" if single else "a folder without weights"
    raise ModelError(
        f"{path}: {given} was given, one of {', '.join(FILES)}, one .pt or one ggml file was expected; name the file"
    )


def weights_of(path: Path) -> tuple[Path, ...]:
    """The files that hold a model's numbers, there or not, first to last."""
    file = file_of(path)
    return shards(file) if file.name.endswith(INDEX) else (file,)


def shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, in its own folder. Raises ModelError if it is no index."""
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError(f"file names without a folder were expected, {names} were given")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as e:
        raise ModelError(f"{index}: not an index of shards ({e}); fetch the model again") from e
    return tuple(index.parent / name for name in names)


def _form_of_file(file: Path) -> str:
    if file.name.endswith(INDEX):
        return "pytorch" if file.name.startswith("pytorch") else "safetensors"
    try:
        with file.open("rb") as f:
            head = f.read(32)
    except OSError as e:
        remedy = "a file or folder with weights was expected; run `sottovoce models list`"
        raise ModelError(f"{file}: {e.strerror or e}; {remedy}") from e
    if head[:4] == b"lmgg":  # 0x67676d6c, little-endian
        return "ggml"
    if len(head) >= 17 and head[1:4] == b"\0\0\0" and head[6:17] == b"WhisperSpec":
        return "ct2"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:  # the header's length, then JSON
        return "safetensors"
    if head[:4] == b"PK\x03\x04" or head[:2] == b"\x80\x02":  # torch.save: a zip archive; a pickle before torch 1.6
        return "pytorch" if file.suffix == ".bin" else "pt"
    if head[:4] == b"GGUF":
        raise ModelError(f"{file}: a GGUF file was given, {FORMS} was expected; whisper.cpp's own ggml files will do")
    raise ModelError(f"{file}: holds no weights in a known form; an {FORMS} was expected; it begins with {head[:8]!r}")
