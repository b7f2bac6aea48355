"""The slow twin of the engine: one window at a time, everything recomputed at every token, rules as plain loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.model.dims import Dims
from sottovoce.model.whisper import Whisper
from sottovoce.types import Decode, Rules
from tests.plain_cache import PlainCache
from tests.plain_keywords import PlainKeywords

SOT = 101
VOCABULARY = Vocabulary(n_vocab=160, eot=100, timestamp_begin=110, no_timestamps=109, no_speech=108)
DIMS = Dims(80, 1500, 32, 2, 1, 160, 448, 32, 2, 2)


def a_model(seed: int = 0, scale: float = 0.4) -> Whisper:
    """A tiny network whose random weights are large enough that its opinions differ."""
    torch.manual_seed(seed)
    model = Whisper(DIMS).eval().requires_grad_(False)
    for name, p in model.named_parameters():
        if name.endswith("weight") and p.ndim > 1:
            torch.nn.init.normal_(p, std=scale)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=scale)
    return model


def next_logits(model: Whisper, features: Tensor, tokens: list[int]) -> Tensor:
    """(T, V) of every position, recomputed from the first."""
    positions = torch.arange(len(tokens))[None]
    x = model.decoder(torch.tensor([tokens]), positions, PlainCache(model, features))
    return model.decoder.logits(x)[0]


def filtered(logits: Tensor, sampled: list[int], rules: Rules, v: Vocabulary) -> Tensor:
    """The rules of openai/whisper decoding.py for one row, one token at a time."""
    out = logits.clone()
    banned = set(rules.suppress) | (set(rules.suppress_first) if not sampled else set())
    if rules.timestamps:
        banned.add(v.no_timestamps)
        times = range(v.timestamp_begin, v.n_vocab)
        last = bool(sampled) and sampled[-1] >= v.timestamp_begin
        before = len(sampled) < 2 or sampled[-2] >= v.timestamp_begin
        if last and before:
            banned |= set(times)
        elif last:
            banned |= set(range(v.eot))
        heard = [t for t in sampled if t >= v.timestamp_begin]
        if heard:
            floor = heard[-1] if last and not before else heard[-1] + 1
            banned |= set(range(v.timestamp_begin, floor))
        if not sampled:
            banned |= set(range(v.timestamp_begin))
            if rules.max_initial is not None:
                banned |= set(range(v.timestamp_begin + rules.max_initial + 1, v.n_vocab))
    for token in banned:
        out[token] = -math.inf
    if rules.timestamps:
        p = out.softmax(-1)
        if p[v.timestamp_begin :].sum() > p[: v.timestamp_begin].max():
            out[: v.timestamp_begin] = -math.inf
    return out


def decode(
    model: Whisper, features: Tensor, ask: Decode, v: Vocabulary = VOCABULARY, keywords: PlainKeywords | None = None
) -> tuple[list[int], float]:
    """(tokens, mean log-probability) by greedy or beam search. features: (1, S, C); keywords: those of the ask."""
    search = ask.search
    n_beams, n_wanted = search.beam_size, round(search.beam_size * search.patience)
    beams: list[tuple[list[int], float, float]] = [([], 0.0, 0.0)]  # tokens, score, what keywords add to it
    finished: list[tuple[list[int], float, float]] = []
    for _ in range(search.max_tokens):
        candidates: dict[tuple[int, ...], tuple[float, float]] = {}
        for sampled, score, won in beams:
            logits = next_logits(model, features, [*ask.prompt, *sampled])[-1]
            logprobs = filtered(logits, sampled, ask.rules, v).log_softmax(-1)
            gains = torch.zeros_like(logprobs)
            if keywords is not None:
                gains += torch.tensor(keywords.gains(sampled, v.n_vocab, n_beams > 1))
            _, tokens = (logprobs + gains).topk(n_beams + 1 if n_beams > 1 else 1)
            for token in tokens.tolist():
                candidates[(*sampled, token)] = score + float(logprobs[token]), won + float(gains[token])
        beams = []
        for hypothesis, (score, won) in sorted(candidates.items(), key=lambda c: -sum(c[1])):
            if hypothesis[-1] == v.eot:
                if len(finished) < n_wanted:
                    finished.append((list(hypothesis), score, won))
            else:
                beams.append((list(hypothesis), score, won))
            if len(beams) == n_beams:
                break
        if len(finished) >= n_wanted or not beams or len(ask.prompt) + len(beams[0][0]) > DIMS.n_text_ctx:
            break
    if len(finished) < n_beams:
        best = sorted(beams, key=lambda b: -b[1] - b[2])[: n_beams - len(finished)]
        finished += [([*b, v.eot], score, won) for b, score, won in best]
    cut = [(h[: h.index(v.eot)], score, won) for h, score, won in finished]

    def rank(hypothesis: tuple[list[int], float, float]) -> float:
        tokens, score, won = hypothesis
        if n_beams > 1:
            score += won
        if search.length_penalty is None:
            return score / max(len(tokens), 1e-9)
        return score / ((5 + len(tokens)) / 6) ** search.length_penalty

    tokens, score, _ = max(cut, key=rank)
    return tokens, score / (len(tokens) + 1)
