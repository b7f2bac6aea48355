"""The ids of a vocabulary that rules and searches need. Knows no text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """timestamps begin at `timestamp_begin` and reach to the end."""

    n_vocab: int
    eot: int
    timestamp_begin: int
    no_timestamps: int
    no_speech: int
