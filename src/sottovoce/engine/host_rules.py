"""Whisper's rules about the next token on the host, for rows that kernels compute. Twin: rules.py, on torch.

State is per row, in numpy arrays of length n_rows that kernels read where they lie (cpp/choose.cpp), written in place.
Source: openai/whisper decoding.py (SuppressBlank, SuppressTokens, ApplyTimestampRules).
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np

from sottovoce.engine.boosts import Boosts
from sottovoce.engine.standing import Standing
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.types import Decode


class HostRules(Standing):
    """The rules in force on each row, and what they must remember of it."""

    def __init__(self, vocabulary: Vocabulary, n_rows: int, n_text_ctx: int) -> None:
        super().__init__()
        self.vocabulary = v = vocabulary
        self._table = np.zeros((0, v.n_vocab), np.bool_)
        self._always, self._first = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
        self._max_initial = np.zeros(n_rows, np.int64)
        self._n_sampled, self._last_time = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
        self._timestamps, self._last_is_time = np.zeros(n_rows, np.bool_), np.zeros(n_rows, np.bool_)
        self._before_is_time = np.ones(n_rows, np.bool_)
        self._history = np.zeros((n_rows, n_text_ctx), np.int64)
        self._penalty, self._ngram = np.ones(n_rows, np.float32), np.zeros(n_rows, np.int64)
        self._boosts = Boosts(n_rows)

    def reset_(self, rows: Seq[int], ask: Decode) -> None:
        """These rows begin a new sequence under the rules of `ask`."""
        r, v = list(rows), self.vocabulary
        self._always[r], self._first[r] = self._note(r, ask)
        limit = ask.rules.max_initial  # None: one that limits nothing
        self._timestamps[r] = ask.rules.timestamps
        self._max_initial[r] = v.n_vocab if limit is None else v.timestamp_begin + limit
        self._n_sampled[r], self._last_is_time[r], self._before_is_time[r] = 0, False, True
        self._last_time[r] = v.timestamp_begin - 1
        self._penalty[r], self._ngram[r] = ask.search.repetition_penalty, ask.search.no_repeat_ngram_size
        self._boosts.reset_(r, ask)
        for token in ask.rules.begun:
            self.update_(np.full(len(r), token), np.asarray(r))

    def pointers(self) -> dict[str, int]:
        """Where the table of suppressed ids and the state of the rows lie, by the names of cpp/choose.cpp:Rules."""
        grammar = ("timestamps", "last_is_time", "before_is_time")
        names = ("table", "always", "first", "max_initial", "n_sampled", "last_time", *grammar)
        where = {name: getattr(self, f"_{name}").ctypes.data for name in names}
        return where | {name: getattr(self._boosts, name).ctypes.data for name in ("trees", "nodes", "returns")}

    def release(self, rows: Seq[int]) -> None:
        super().release(rows)
        self._boosts.release(rows)

    def boosts(self, rows: Seq[int]) -> bool:
        """Whether one of these rows has keywords."""
        return self._boosts.on(rows)

    def gains(self, rows: Seq[int]) -> np.ndarray | None:
        """(R, V) float32: what each token gains by keywords; None where no row has any."""
        if not self._boosts.on(rows):
            return None
        return np.stack([self._boosts.of(row, self.vocabulary.n_vocab) for row in rows])

    def apply_(self, logits: np.ndarray, rows: np.ndarray) -> None:
        """Set what may not follow to -inf. logits: (R, V) float32; rows: (R,) which row each line is."""
        for line, row in zip(logits, rows.tolist(), strict=True):
            if row in self._repeating:
                self._apply_repeats_(line, row)
            self._mask_(line, row)

    def update_(self, tokens: np.ndarray, rows: np.ndarray) -> None:
        """Remember what was sampled. tokens, rows: (R,) int64."""
        n = self._n_sampled[rows]
        is_time = tokens >= self.vocabulary.timestamp_begin
        self._history[rows, np.minimum(n, self._history.shape[1] - 1)] = tokens
        self._before_is_time[rows] = (n == 0) | self._last_is_time[rows]
        self._last_is_time[rows] = is_time
        self._last_time[rows] = np.where(is_time, tokens, self._last_time[rows])
        self._n_sampled[rows] = n + 1
        self._boosts.update_(tokens.tolist(), rows.tolist())

    def copy_rows_(self, targets: Seq[int], sources: Seq[int]) -> None:
        """Row targets[i] continues the sequence of row sources[i]."""
        if list(targets) == list(sources):
            return
        to, of = list(targets), list(sources)
        for state in (self._n_sampled, self._last_is_time, self._before_is_time, self._last_time, self._history):
            state[to] = state[of]
        self._boosts.copy_rows_(to, of)

    def _mask_(self, line: np.ndarray, row: int) -> None:
        """line: (V,) float32, the logits of a row."""
        v, fresh = self.vocabulary, self._n_sampled[row] == 0
        text, time = line[: v.timestamp_begin], line[v.timestamp_begin :]  # views
        line[self._table[self._first[row] if fresh else self._always[row]]] = -np.inf
        if not self._timestamps[row]:
            return
        # the grammar of timestamps: pairs, never backwards, first of all and not too late
        line[v.no_timestamps] = -np.inf
        last, before = self._last_is_time[row], self._before_is_time[row]
        if last and before:
            time[:] = -np.inf
        elif last:
            line[: v.eot] = -np.inf
        # times do not decrease, and a segment that is being closed has a length
        time[: max(0, int(self._last_time[row]) + (0 if last and not before else 1) - v.timestamp_begin)] = -np.inf
        if fresh:
            text[:] = -np.inf
            line[int(self._max_initial[row]) + 1 :] = -np.inf
        # if all timestamps together are more probable than any text token, it must be a timestamp
        top = time.max(initial=-np.inf)
        if top > -np.inf and top + np.log(np.exp(time - top).sum()) > text.max():
            text[:] = -np.inf

    def _apply_repeats_(self, line: np.ndarray, row: int) -> None:
        n = min(int(self._n_sampled[row]), self._history.shape[1])
        seen, size = self._history[row, :n], int(self._ngram[row])
        # a repeated token's score is divided where positive, multiplied where negative (Keskar et al. 2019)
        ids, penalty = np.unique(seen), self._penalty[row]
        line[ids] = np.where(line[ids] > 0, line[ids] / penalty, line[ids] * penalty)
        if size and n >= size:  # what would complete an n-gram for the second time is banned
            grams = np.lib.stride_tricks.sliding_window_view(seen, size)
            line[grams[(grams[:, :-1] == seen[n - size + 1 :]).all(axis=1), -1]] = -np.inf

    def _with_mask(self, ids: tuple[int, ...]) -> np.ndarray:
        line = np.zeros((1, self.vocabulary.n_vocab), np.bool_)
        line[0, list(ids)] = True
        return np.concatenate([self._table, line])
