"""sottovoce at work, beside its peers: the same jobs, the same clock. See lines.py."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from bench.mixed import clips_beside
from lines import Side, serve

from sottovoce.api import Whisper
from sottovoce.config import Config


class Sottovoce(Side):
    PACKAGES = ("sottovoce", "torch")
    OWN = ("beside",)

    def load(self, model: str, threads: int, compute: str = "auto", rows: int = 0, encode_windows: int = 0) -> None:
        """rows, encode_windows: 0 leaves the default."""
        given = {"rows": rows or None, "encode_windows": encode_windows or None, "offline": True}
        self.whisper = Whisper(model, device="cpu", compute=compute, threads=threads, config=Config().with_(**given))

    def text_of(self, samples: np.ndarray, **options: object) -> str:
        return self.whisper.transcribe(samples, **options).text

    def beside(self, clip: str, long: str | None, n_clips: int, every_s: float, options: dict) -> dict:
        """A clip every every_s seconds beside a long recording, or alone: the fields of bench.mixed.Mixed."""
        behind = np.load(long) if long else None
        return asdict(clips_beside(self.whisper, np.load(clip), behind, n_clips, every_s, options))


if __name__ == "__main__":
    serve(Sottovoce())
