"""What schemathesis sends as a recording: the known clip, parts of it, and noise."""

from __future__ import annotations

from pathlib import Path

import schemathesis
from hypothesis import strategies

CLIP = (Path(__file__).parents[2] / "src" / "sottovoce" / "audio" / "assets" / "known.ogg").read_bytes()

recordings = strategies.one_of(
    strategies.just(CLIP),
    strategies.integers(1, len(CLIP) - 1).map(lambda n: CLIP[:n]),
    strategies.binary(max_size=200),
)
schemathesis.openapi.format("binary", recordings)
