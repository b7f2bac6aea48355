"""OpenVINO GenAI's WhisperPipeline at work. See lines.py."""

from __future__ import annotations

import numpy as np
import openvino_genai
from lines import Side, serve


class OpenVino(Side):
    PACKAGES = ("openvino", "openvino-genai", "openvino-tokenizers")

    def load(self, model: str, threads: int, compute: str = "bf16") -> None:
        hints = {"INFERENCE_PRECISION_HINT": compute, "INFERENCE_NUM_THREADS": threads}
        self.pipeline = openvino_genai.WhisperPipeline(model, "CPU", **hints)
        self.is_multilingual = self.pipeline.get_generation_config().is_multilingual

    def text_of(self, samples: np.ndarray, language: str = "en", beam_size: int = 1, timestamps: bool = True) -> str:
        config = self.pipeline.get_generation_config()
        config.return_timestamps = timestamps
        config.num_beams = beam_size
        if self.is_multilingual:
            config.language, config.task = f"<|{language}|>", "transcribe"
        return str(self.pipeline.generate(samples, config))


if __name__ == "__main__":
    serve(OpenVino())
