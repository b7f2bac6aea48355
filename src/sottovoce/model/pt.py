"""OpenAI's .pt checkpoints as the network's tensors. Knows no other form."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from sottovoce.errors import ModelError
from sottovoce.model.dims import Dims
from sottovoce.model.pickled import lazily, read_pickled
from sottovoce.model.stored import Stored, damaged


def open_pt(path: Path) -> Stored:
    """The .pt at path; it names no alignment heads. Raises ModelError if it is none of OpenAI's."""
    content, file = read_pickled(path)
    if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= set(content):
        raise ModelError(
            f"{path}: a torch file without dims and model_state_dict was given, a checkpoint of openai-whisper was "
            "expected; give the folder with its config.json if it comes from transformers"
        )
    given, state = content["dims"], content["model_state_dict"]
    known = [f.name for f in fields(Dims)]
    if not isinstance(given, dict) or not all(isinstance(given.get(name), int) for name in known):
        raise damaged(path, f"dims are {given!r}", f"whole numbers for {', '.join(known)}")
    dims = Dims(**{name: given[name] for name in known})
    return Stored("OpenAI .pt", dims, lazily(path, state), forget=file.forget)
