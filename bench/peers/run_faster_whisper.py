"""faster-whisper at work, window after window or in batches. See lines.py."""

from __future__ import annotations

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from lines import Side, serve


class FasterWhisper(Side):
    PACKAGES = ("faster-whisper", "ctranslate2", "onnxruntime")

    def load(self, model: str, threads: int, compute: str = "int8", batched: bool = False) -> None:
        whisper = WhisperModel(model, device="cpu", compute_type=compute, cpu_threads=threads, local_files_only=True)
        self.model = BatchedInferencePipeline(whisper) if batched else whisper

    def text_of(self, samples: np.ndarray, **options: object) -> str:
        segments, _ = self.model.transcribe(samples, **options)
        return "".join(s.text for s in segments)


if __name__ == "__main__":
    serve(FasterWhisper())
