"""whisper.cpp at work, through pywhispercpp. See lines.py."""

from __future__ import annotations

import numpy as np
from lines import Side, serve
from pywhispercpp.model import Model

GREEDY, BEAM = 0, 1  # enum whisper_sampling_strategy


class WhisperCpp(Side):
    PACKAGES = ("pywhispercpp",)

    def load(self, model: str, threads: int) -> None:
        self.path, self.threads = model, threads
        self.models: dict[int, Model] = {}

    def text_of(self, samples: np.ndarray, language: str = "en", beam_size: int = 1) -> str:
        if beam_size not in self.models:  # the search is chosen when a model is made
            beams = {"params_sampling_strategy": BEAM, "beam_search": {"beam_size": beam_size, "patience": -1.0}}
            given = beams if beam_size > 1 else {"params_sampling_strategy": GREEDY, "greedy": {"best_of": 5}}
            self.models = {beam_size: Model(self.path, n_threads=self.threads, print_progress=False, **given)}
        said = self.models[beam_size].transcribe(samples, language=language)
        return " ".join(s.text for s in said)  # which come without the spaces around them


if __name__ == "__main__":
    serve(WhisperCpp())
