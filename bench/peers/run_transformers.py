"""transformers' pipeline at work: chunks of 30 s that overlap, in batches. See lines.py."""

from __future__ import annotations

import numpy as np
import torch
from lines import Side, serve
from transformers import pipeline


class Transformers(Side):
    PACKAGES = ("transformers", "torch")

    def load(self, model: str, threads: int, compute: str = "bfloat16") -> None:
        torch.set_num_threads(threads)
        dtype = getattr(torch, compute)
        self.pipeline = pipeline("automatic-speech-recognition", model=model, dtype=dtype, chunk_length_s=30)
        self.is_multilingual = self.pipeline.model.generation_config.is_multilingual

    def text_of(self, samples: np.ndarray, language: str = "en", beam_size: int = 1, batch_size: int = 16) -> str:
        given = {"num_beams": beam_size}
        if self.is_multilingual:
            given |= {"language": language, "task": "transcribe"}
        return str(self.pipeline(samples, batch_size=batch_size, return_timestamps=True, generate_kwargs=given)["text"])


if __name__ == "__main__":
    serve(Transformers())
