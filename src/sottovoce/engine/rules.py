"""Whisper's rules about the next token, as masks over (rows, vocabulary), on torch. Knows ids, not text;
never loops over rows.

State is per row and lives on the device: int64 and bool tensors of length n_rows, written in place.
Source: openai/whisper decoding.py (SuppressBlank, SuppressTokens, ApplyTimestampRules).

On the host: host_rules.py. Slow twin: tests/cpu/plain_engine.py.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch
from torch import Tensor

from sottovoce.engine.device_boosts import DeviceBoosts
from sottovoce.engine.standing import Standing
from sottovoce.engine.stream import PlainStream, Stream
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.types import Decode


class RuleBook(Standing):
    """The rules in force on each row, and what they must remember of it."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        n_rows: int,
        n_text_ctx: int,
        device: torch.device,
        stream: Stream | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = v = vocabulary
        self.device = device
        self._stream = stream or PlainStream(device)
        self._table = torch.zeros(0, v.n_vocab, dtype=torch.bool, device=device)
        self._no_initial = v.n_vocab  # an initial limit that limits nothing
        self._always = self._rows(n_rows)
        self._first = self._rows(n_rows)
        self._timestamps = torch.zeros(n_rows, dtype=torch.bool, device=device)
        self._max_initial = self._rows(n_rows)
        self._n_sampled = self._rows(n_rows)
        self._last_is_time = torch.zeros(n_rows, dtype=torch.bool, device=device)
        self._before_is_time = torch.ones(n_rows, dtype=torch.bool, device=device)
        self._last_time = self._rows(n_rows)
        self._history = torch.zeros(n_rows, n_text_ctx, dtype=torch.int64, device=device)
        self._penalty = torch.ones(n_rows, device=device)
        self._ngram = self._rows(n_rows)
        self._ids = torch.arange(v.n_vocab, device=device)
        self._is_time = self._ids >= v.timestamp_begin
        self._boosts = DeviceBoosts(n_rows, v.n_vocab, device, self._stream)

    def _rows(self, n_rows: int) -> Tensor:
        return torch.zeros(n_rows, dtype=torch.int64, device=self.device)

    def reset_(self, rows: Seq[int], ask: Decode) -> None:
        """These rows begin a new sequence under the rules of `ask`."""
        r, v = list(rows), self.vocabulary
        always, first = self._note(r, ask)
        where = self._stream.put(r)
        limit = ask.rules.max_initial
        fresh = (
            (self._always, always), (self._first, first),
            (self._timestamps, ask.rules.timestamps),
            (self._max_initial, self._no_initial if limit is None else v.timestamp_begin + limit),
            (self._n_sampled, 0), (self._last_is_time, False), (self._before_is_time, True),
            (self._last_time, v.timestamp_begin - 1),
            (self._penalty, ask.search.repetition_penalty), (self._ngram, ask.search.no_repeat_ngram_size),
        )  # fmt: skip
        for state, value in fresh:
            state.index_fill_(0, where, value)
        self._boosts.reset_(r, where, ask)
        for token in ask.rules.begun:
            self.update_(torch.full((len(r),), token, device=self.device), where)

    def tensors(self) -> dict[str, Tensor]:
        """The table of suppressed ids and the state of the rows, as kernels read them (cpp/, triton_choose.py)."""
        return {
            "table": self._table, "always": self._always, "first": self._first, "max_initial": self._max_initial,
            "n_sampled": self._n_sampled, "last_time": self._last_time, "timestamps": self._timestamps,
            "last_is_time": self._last_is_time, "before_is_time": self._before_is_time,
        }  # fmt: skip

    @property
    def history(self) -> Tensor:
        """(n_rows, T) int64 tokens that were sampled."""
        return self._history

    def release(self, rows: Seq[int]) -> None:
        super().release(rows)
        self._boosts.release(rows)

    def boosts(self, rows: Seq[int]) -> bool:
        """Whether one of these rows has keywords; the host knows."""
        return self._boosts.on(rows)

    def gains(self, rows: Seq[int]) -> Tensor | None:
        """(R, V) float32: what each token gains by keywords; None where no row has any."""
        return self._boosts.of(self._stream.put(list(rows))) if self._boosts.on(rows) else None

    def gains_at(self, rows: Tensor) -> Tensor:
        """As gains, of rows (R,) int64 on the device."""
        return self._boosts.of(rows)

    def apply_(self, logits: Tensor, rows: Tensor) -> None:
        """Set what may not follow to -inf. logits: (R, V) float32; rows: (R,) int64, which row each line is."""
        if self._repeating:
            self._apply_repeats_(logits, rows)
        self.mask_(logits, rows)

    def mask_(self, logits: Tensor, rows: Tensor) -> None:
        """As apply_, for rows without a rule about repetition."""
        fresh = self._n_sampled[rows] == 0
        which = torch.where(fresh, self._first[rows], self._always[rows])
        banned = self._table[which]  # (R, V)
        timed = self._timestamps[rows]
        banned |= timed[:, None] & self._banned_by_grammar(rows, fresh)
        logits.masked_fill_(banned, -torch.inf)
        # if all timestamps together are more probable than any text token, it must be a timestamp
        logprobs = torch.log_softmax(logits, dim=-1)
        begin = self.vocabulary.timestamp_begin
        time = logprobs[:, begin:].logsumexp(dim=-1)
        must = timed & (time > logprobs[:, :begin].amax(dim=-1))
        logits[:, :begin].masked_fill_(must[:, None], -torch.inf)

    def update_(self, tokens: Tensor, rows: Tensor) -> None:
        """Remember what was sampled. tokens, rows: (R,) int64."""
        n = self._n_sampled[rows]
        is_time = tokens >= self.vocabulary.timestamp_begin
        self._history[rows, n.clamp(max=self._history.shape[1] - 1)] = tokens  # the row of nobody never begins again
        self._before_is_time[rows] = torch.where(n == 0, True, self._last_is_time[rows])
        self._last_is_time[rows] = is_time
        self._last_time[rows] = torch.where(is_time, tokens, self._last_time[rows])
        self._n_sampled[rows] = n + 1
        self._boosts.update_(tokens, rows)

    def copy_rows_(self, targets: Seq[int], sources: Seq[int]) -> None:
        """Row targets[i] continues the sequence of row sources[i]."""
        if list(targets) == list(sources):
            return
        to, of = self._stream.put([list(targets), list(sources)])
        for state in (self._n_sampled, self._last_is_time, self._before_is_time, self._last_time, self._history):
            state[to] = state[of]
        self._boosts.copy_rows_(to, of)

    def _banned_by_grammar(self, rows: Tensor, fresh: Tensor) -> Tensor:
        """(R, V) of what the grammar of timestamps forbids: pairs, never backwards, first of all and not too late."""
        v = self.vocabulary
        last, before = self._last_is_time[rows][:, None], self._before_is_time[rows][:, None]
        banned = (self._ids == v.no_timestamps).expand(len(rows), -1) | (last & before & self._is_time)
        banned |= last & ~before & (self._ids < v.eot)
        # times do not decrease, and a segment that is being closed has a length
        floor = self._last_time[rows][:, None] + (~(last & ~before)).long()
        banned |= self._is_time & (self._ids < floor)
        banned |= fresh[:, None] & (~self._is_time | (self._ids > self._max_initial[rows][:, None]))
        return banned

    def _apply_repeats_(self, logits: Tensor, rows: Tensor) -> None:
        history, n = self._history[rows], self._n_sampled[rows]  # (R, T), (R,)
        seen = torch.arange(history.shape[1], device=self.device) < n[:, None]
        # a repeated token's score is divided where positive, multiplied where negative (Keskar et al. 2019)
        padded = torch.where(seen, history, self.vocabulary.n_vocab)
        mark = torch.zeros(len(rows), self.vocabulary.n_vocab + 1, dtype=torch.bool, device=self.device)
        mark = mark.scatter_(1, padded, True)[:, :-1]
        penalty = self._penalty[rows][:, None]
        logits.copy_(torch.where(mark, torch.where(logits > 0, logits / penalty, logits * penalty), logits))
        for size in set(self._ngram[rows].tolist()):  # sync: only where a caller asked for this rule
            if size:
                self._ban_ngrams_(logits, history, n, self._ngram[rows] == size, int(size))

    def _ban_ngrams_(self, logits: Tensor, history: Tensor, n: Tensor, on: Tensor, size: int) -> None:
        """A token that would complete an n-gram for the second time is banned on the rows where the rule is on."""
        tail_at = (n[:, None] - (size - 1) + torch.arange(size - 1, device=self.device)).clamp(min=0)
        tail = history.gather(1, tail_at)  # (R, size - 1)
        grams = history.unfold(1, size, 1)  # (R, T - size + 1, size)
        starts = torch.arange(grams.shape[1], device=self.device)
        whole = starts[None] + size <= n[:, None]
        hit = (grams[..., :-1] == tail[:, None]).all(-1) & whole & on[:, None]
        banned = torch.where(hit, grams[..., -1], self.vocabulary.n_vocab)
        mark = torch.zeros(len(n), self.vocabulary.n_vocab + 1, dtype=torch.bool, device=self.device)
        logits.masked_fill_(mark.scatter_(1, banned, True)[:, :-1], -torch.inf)

    def _with_mask(self, ids: tuple[int, ...]) -> Tensor:
        line = torch.zeros(1, self.vocabulary.n_vocab, dtype=torch.bool, device=self.device)
        line[0, list(ids)] = True
        return torch.cat([self._table, line])
