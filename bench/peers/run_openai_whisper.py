"""openai-whisper at work, for its speed; openai_whisper.py asks it for its words. See lines.py."""

from __future__ import annotations

import numpy as np
import torch
import whisper
from lines import Side, serve


class OpenAIWhisper(Side):
    PACKAGES = ("openai-whisper", "torch")

    def load(self, model: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = whisper.load_model(model, device="cpu")

    def text_of(self, samples: np.ndarray, language: str = "en", beam_size: int = 1) -> str:
        beams = {"beam_size": beam_size} if beam_size > 1 else {}
        return str(whisper.transcribe(self.model, samples, language=language, fp16=False, **beams)["text"])


if __name__ == "__main__":
    serve(OpenAIWhisper())
