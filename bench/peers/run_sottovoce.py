"""sottovoce at work, beside its peers: the same jobs, the same clock. See lines.py."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from lines import Side, serve

from sottovoce.api import Whisper
from sottovoce.config import Config
from sottovoce.types import Options


class Sottovoce(Side):
    PACKAGES = ("sottovoce", "torch")

    def load(self, model: str, threads: int, compute: str = "auto", rows: int = 0, encode_windows: int = 0) -> None:
        """rows, encode_windows: 0 leaves the default."""
        given = {"rows": rows or None, "encode_windows": encode_windows or None, "offline": True}
        self.whisper = Whisper(model, device="cpu", compute=compute, threads=threads, config=Config().with_(**given))

    def text_of(self, samples: np.ndarray, **options: object) -> str:
        known = {f.name for f in fields(Options)}
        given = {name: value for name, value in options.items() if name != "strategy" or name in known}
        return self.whisper.transcribe(samples, **given).text


if __name__ == "__main__":
    serve(Sottovoce())
