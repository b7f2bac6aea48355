"""Rules, log-softmax, the best k and what a choice changes, by one Triton program a row. Plain twin: choices.py.

The same on compiled CPU kernels: cpp/choose.cpp. A row's logits are looked at twice for one token, once more for each
further one; nothing is written to them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sottovoce.engine.choices import RowState
from sottovoce.engine.rules import RuleBook

BLOCK, WARPS = 8192, 16  # logits in registers at once: 16 a thread
STATE = (  # of RuleBook.tensors(), in the order of _choose
    "table", "always", "first", "max_initial", "n_sampled", "last_time", "timestamps", "last_is_time", "before_is_time",
)  # fmt: skip


@triton.jit
def _bounds(rules, row, fresh, opening, closing, n_vocab, eot, time_begin):
    """Ids [from, to) that the grammar of timestamps leaves, text and times apart."""
    max_initial, last_time, timestamps = rules
    timed = tl.load(timestamps + row) != 0
    floor = tl.maximum(tl.load(last_time + row) + tl.where(opening, 0, 1), time_begin)
    time_from = tl.where(timed, tl.where(closing, n_vocab, floor), time_begin)
    time_to = tl.where(timed & fresh, tl.minimum(tl.load(max_initial + row) + 1, n_vocab), n_vocab)
    text_from = tl.where(timed & opening, eot, 0)
    text_to = tl.where(timed & fresh, 0, time_begin)
    return text_from, text_to, time_from, time_to, timed


@triton.jit
def _open(line, bounds, start, n_vocab, no_timestamps, time_begin, BLOCK: tl.constexpr):
    """A block of ids, which are times, and their logits: -inf where the rules close them."""
    logits, mask = line
    text_from, text_to, time_from, time_to, timed = bounds
    i = start + tl.arange(0, BLOCK)
    there = i < n_vocab
    is_time = i >= time_begin
    is_open = tl.where(is_time, (i >= time_from) & (i < time_to), (i >= text_from) & (i < text_to))
    is_open &= (tl.load(mask + i, mask=there, other=1) == 0) & ((i != no_timestamps) | (timed == 0))
    x = tl.load(logits + i, mask=there, other=float("-inf"))
    return i, is_time, tl.where(is_open & there, x, float("-inf"))


@triton.jit
def _tops(line, bounds, n_vocab, no_timestamps, time_begin, BLOCK: tl.constexpr):
    """The best text token and the best time, with their ids, the lowest of equals."""
    text_top = tl.full((BLOCK,), float("-inf"), tl.float32)
    time_top = tl.full((BLOCK,), float("-inf"), tl.float32)
    text_at = tl.zeros((BLOCK,), tl.int32)
    time_at = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, n_vocab, BLOCK):
        i, is_time, x = _open(line, bounds, start, n_vocab, no_timestamps, time_begin, BLOCK)
        better = (x > text_top) & (is_time == 0)
        text_top, text_at = tl.where(better, x, text_top), tl.where(better, i, text_at)
        better = (x > time_top) & is_time
        time_top, time_at = tl.where(better, x, time_top), tl.where(better, i, time_at)
    of_text, of_time = tl.max(text_top, axis=0), tl.max(time_top, axis=0)
    text_id = tl.min(tl.where(text_top == of_text, text_at, n_vocab), axis=0)
    time_id = tl.min(tl.where(time_top == of_time, time_at, n_vocab), axis=0)
    return of_text, text_id, of_time, time_id


@triton.jit
def _sums(line, bounds, top, n_vocab, no_timestamps, time_begin, BLOCK: tl.constexpr):
    """exp(logit - top), summed over text and over times."""
    text_sum = tl.zeros((BLOCK,), tl.float32)
    time_sum = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n_vocab, BLOCK):
        _i, is_time, x = _open(line, bounds, start, n_vocab, no_timestamps, time_begin, BLOCK)
        e = tl.exp(x - top)
        text_sum += tl.where(is_time, 0.0, e)
        time_sum += tl.where(is_time, e, 0.0)
    return tl.sum(text_sum, axis=0), tl.sum(time_sum, axis=0)


@triton.jit
def _next(line, bounds, value, token, must, n_vocab, no_timestamps, time_begin, BLOCK: tl.constexpr):
    """The best that comes after a token: less probable, or as probable with a higher id."""
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    at = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, n_vocab, BLOCK):
        i, is_time, x = _open(line, bounds, start, n_vocab, no_timestamps, time_begin, BLOCK)
        behind = (x < value) | ((x == value) & (i > token))
        better = behind & ((must == 0) | is_time) & (x > best)
        best, at = tl.where(better, x, best), tl.where(better, i, at)
    found = tl.max(best, axis=0)
    return found, tl.min(tl.where(best == found, at, n_vocab), axis=0)


@triton.jit
def _choose(
    logits, lines, rows, table, always, first, max_initial, n_sampled, last_time, timestamps, last_is_time,
    before_is_time, history, state_tokens, positions, left, ended, tokens, logprobs, stride, n_vocab, eot, time_begin,
    no_timestamps, n_history, K: tl.constexpr, FEEDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    row = tl.load(rows + program)
    n, last, before = tl.load(n_sampled + row), tl.load(last_is_time + row) != 0, tl.load(before_is_time + row) != 0
    fresh = n == 0
    mask = table + tl.where(fresh, tl.load(first + row), tl.load(always + row)) * n_vocab
    line = (logits + tl.load(lines + program) * stride, mask)
    rules = (max_initial, last_time, timestamps)
    bounds = _bounds(rules, row, fresh, last & (before == 0), last & before, n_vocab, eot, time_begin)

    of_text, text_id, of_time, time_id = _tops(line, bounds, n_vocab, no_timestamps, time_begin, BLOCK)
    top = tl.maximum(of_text, of_time)
    all_text, all_time = _sums(line, bounds, top, n_vocab, no_timestamps, time_begin, BLOCK)
    # if all timestamps together are more probable than any text token, it must be a timestamp
    must = bounds[4] & (tl.log(all_time) > of_text - top)
    norm = top + tl.log(tl.where(must, all_time, all_text + all_time))

    is_time = must | (of_time > of_text)
    value, token = tl.where(is_time, of_time, of_text), tl.where(is_time, time_id, text_id)
    for k in range(K):
        if k > 0:
            value, token = _next(line, bounds, value, token, must, n_vocab, no_timestamps, time_begin, BLOCK)
        possible = value > float("-inf")  # fewer than K may be allowed
        token = tl.where(possible, token, eot)
        tl.store(tokens + program * K + k, token.to(tl.int64))
        tl.store(logprobs + program * K + k, tl.where(possible, value - norm, float("-inf")))
    if FEEDS:
        _feed(
            row, token, n, last, history, n_sampled, last_time, last_is_time, before_is_time,
            state_tokens, positions, left, ended, eot, time_begin, n_history,
        )  # fmt: skip


@triton.jit
def _feed(
    row, token, n, last, history, n_sampled, last_time, last_is_time, before_is_time, state_tokens,
    positions, left, ended, eot, time_begin, n_history,
):  # fmt: skip
    """What choices.py:_feed_ does, for one row."""
    was_ended = tl.load(ended + row) != 0
    remain = tl.load(left + row) - 1
    over = was_ended | (token == eot) | (remain <= 0)
    live = was_ended == 0
    is_time = token >= time_begin
    tl.store(history + row * n_history + tl.minimum(n, n_history - 1), token.to(tl.int64), mask=live)
    tl.store(before_is_time + row, ((n == 0) | last).to(tl.uint8), mask=live)
    tl.store(last_is_time + row, is_time.to(tl.uint8), mask=live)
    tl.store(last_time + row, token.to(tl.int64), mask=live & is_time)
    tl.store(n_sampled + row, n + 1, mask=live)
    tl.store(left + row, remain)
    tl.store(ended + row, over.to(tl.uint8))
    tl.store(state_tokens + row, token.to(tl.int64), mask=over == 0)
    tl.store(positions + row, tl.load(positions + row) + 1, mask=over == 0)


def best_(
    rules: RuleBook, logits: Tensor, lines: Tensor, rows: Tensor, k: int, feeds: RowState | None
) -> tuple[Tensor, Tensor]:
    """As choices.Best. Where two tokens are as probable, the lower id comes first."""
    n, n_vocab = len(lines), logits.shape[1]
    tokens = torch.empty(n, k, dtype=torch.int64, device=logits.device)
    logprobs = torch.empty(n, k, device=logits.device)
    state, v = rules.tensors(), rules.vocabulary
    assert feeds is None or k == 1, "a row goes on with one token"
    fed = (feeds.tokens, feeds.positions, feeds.left, feeds.ended) if feeds is not None else (rows,) * 4
    _choose[n,](
        *(logits, lines, rows),
        *(_bytes(state[name]) for name in STATE),
        *(rules.history, *(_bytes(t) for t in fed), tokens, logprobs),
        *(logits.stride(0), n_vocab, v.eot, v.timestamp_begin, v.no_timestamps, rules.history.shape[1]),
        K=k, FEEDS=feeds is not None, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    return tokens, logprobs


def _bytes(tensor: Tensor) -> Tensor:
    """What is true or false, as bytes: a pointer to bool is a pointer to single bits in some kernels."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor
