"""One window being decoded: its host-side state. No tensor; the device's side lives in cache.py and rules.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from sottovoce.engine.load import Timing
from sottovoce.types import Answer, Decode, Lane, Window

Ended = tuple[float, float, tuple[float, ...]]  # a hypothesis: its score, what it won by keywords, its logprobs


class Status(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(slots=True, eq=False)
class Sequence:
    """A window with its place in the pools and what was sampled so far.

    slot: whose cross-attention keys and values it reads; -1 while waiting.
    rows: its lines in the batch, one per beam or candidate; empty unless it decodes.
    tokens, logprobs: per row, without the prompt. sums: (n_rows,) float32 cumulative log-probability per row; won:
    what beams have won by keywords beside it.
    n_ahead: tokens that the device has chosen and the host does not know yet (late.py).
    retried: whether it ran out of memory all alone, and began again.
    finished: complete hypotheses of beam search with their scores, in the order in which they ended.
    added_s, began_s, encoded_s, ended_s: the engine's clock when it came, was admitted, had its sound, and was dropped.
    """

    window: Window
    lane: Lane = Lane.REQUEST
    status: Status = Status.WAITING
    slot: int = -1
    cold: bool = False
    rows: list[int] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    logprobs: list[list[float]] = field(default_factory=list)
    sums: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    won: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    finished: dict[tuple[int, ...], Ended] = field(default_factory=dict)
    n_ahead: int = 0
    retried: bool = False
    no_speech_prob: float = float("nan")
    added_s: float = 0.0
    began_s: float = 0.0
    encoded_s: float = 0.0
    ended_s: float = 0.0

    @property
    def timing(self) -> Timing:
        """How long it took, once it has ended."""
        waited_s, encode_s, decode_s = (
            self.began_s - self.added_s,
            self.encoded_s - self.began_s,
            self.ended_s - self.encoded_s,
        )
        return Timing(waited_s, encode_s, decode_s, self.cold, self.n_sampled)

    @property
    def n_rows(self) -> int:
        """Rows that it needs while it runs."""
        return self.window.ask.search.n_rows if isinstance(self.window.ask, Decode) else 0

    @property
    def n_sampled(self) -> int:
        return len(self.tokens[0]) if self.tokens else 0

    @property
    def is_new(self) -> bool:
        """Whether its prompt has not been read yet."""
        return not self.n_sampled and not self.n_ahead

    @property
    def position(self) -> int:
        """Text position of the newest token: where its key and value will stand."""
        assert isinstance(self.window.ask, Decode)
        return len(self.window.ask.prompt) + self.n_sampled + self.n_ahead - 1

    def n_most(self, n_text_ctx: int) -> int:
        """Tokens that may be sampled: as many as were asked for, and as the context holds."""
        assert isinstance(self.window.ask, Decode)
        return max(1, min(self.window.ask.search.max_tokens, n_text_ctx + 1 - len(self.window.ask.prompt)))

    def draft(self, eot: int, n_text_ctx: int) -> tuple[int, ...]:
        """What of its draft may be verified: up to the end of text, and one token less than may be sampled."""
        ask = self.window.ask
        if not isinstance(ask, Decode) or ask.search.temperature > 0 or self.n_rows > 1:
            return ()
        n = ask.draft.index(eot) if eot in ask.draft else len(ask.draft)
        return ask.draft[: min(n, self.n_most(n_text_ctx) - 1)]

    def start(self) -> None:
        """Forget what was sampled; called when its rows have been given."""
        n = len(self.rows)
        self.tokens = [[] for _ in range(n)]
        self.logprobs = [[] for _ in range(n)]
        self.sums, self.won = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self.finished = {}
        self.n_ahead = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a window: exactly one of answer and error is set."""

    sequence: Sequence
    answer: Answer | None = None
    error: Exception | None = None
