"""What an engine has to do, what it has done, and how long a window took: plain numbers. Knows no lock, no clock."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Load:
    """An engine after one of its steps. rows, slots, running, waiting: at that moment; the rest since it was made.

    running and waiting are windows. busy_s: seconds in steps, encode_s: those of them in the encoder.
    """

    n_rows: int = 0
    n_rows_used: int = 0
    n_slots: int = 0
    n_slots_used: int = 0
    n_running: int = 0
    n_waiting: int = 0
    n_steps: int = 0
    busy_s: float = 0.0
    encode_s: float = 0.0
    n_answered: int = 0
    n_failed: int = 0
    n_withdrawn: int = 0

    def __add__(self, other: Load) -> Load:
        """Of two engines together."""
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Timing:
    """One window's way. waited_s: until it was admitted; encode_s: until its sound was encoded, with those beside it;
    decode_s: from there to its answer. cold: whether its sound had to be encoded. n_tokens: that were sampled."""

    waited_s: float
    encode_s: float
    decode_s: float
    cold: bool
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Presence:
    """A model's place in a pool. state: loading, awake or leaving. n_held: who holds it, or waits for it."""

    name: str
    state: str
    n_held: int
    n_bytes: int
    devices: tuple[str, ...]
    load: Load


@dataclass(frozen=True, slots=True)
class Change:
    """A pool's model has changed. what: loaded, failed (to load) or unloaded. took_s: of the load."""

    name: str
    what: str
    took_s: float = 0.0
