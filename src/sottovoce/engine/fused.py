"""What a device computes beside products: by Triton's kernels where they are right, else by their plain twins."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from sottovoce.engine import choices
from sottovoce.engine.align import Jumps, jumps
from sottovoce.engine.choices import Best, RowState
from sottovoce.engine.indirect import Attend, GatherAttend, Kept
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.types import Decode, Rules

log = logging.getLogger(__name__)

LEAST_CAPABILITY = (8, 0)  # of a CUDA device that Triton compiles for; triton-lang/triton README: supported hardware
TRIED = Vocabulary(n_vocab=300, eot=200, timestamp_begin=240, no_timestamps=239, no_speech=238)


@dataclass(frozen=True, slots=True)
class Fused:
    """attend: a step's attention; best: rules and choice; jumps: when the tokens of a text are spoken."""

    attend: Attend
    best: Best
    jumps: Jumps


PLAIN = Fused(GatherAttend(), choices.best_, jumps)


def fused(device: torch.device, dtype: torch.dtype) -> Fused:
    """The fastest that there is for a CUDA device and a precision; what and why is logged."""
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        log.info("%s is too old for Triton's kernels; torch computes attention of steps, rules and word times", device)
        return PLAIN
    try:
        with torch.cuda.device(device), torch.inference_mode():
            found = kernels()
            wrong = differing(found, device, dtype)
    except Exception as e:  # of Triton, of the compilers that it calls, of the driver: nothing here is necessary
        wrong = [f"{type(e).__name__}: {e}"]
    if wrong:
        log.warning(
            "Triton's kernels do not run rightly (%s); torch computes attention of steps, rules and word times, slower",
            ", ".join(wrong),
        )
        return PLAIN
    log.info("attention of steps, rules and word times are computed by Triton's kernels, which agree with their twins")
    return found


def kernels() -> Fused:
    """Triton's. Raises ImportError where it is not installed."""
    from sottovoce.engine import triton_align, triton_attention, triton_choose

    return Fused(triton_attention.TritonAttend(), triton_choose.best_, triton_align.jumps)


def differing(found: Fused, device: torch.device, dtype: torch.dtype) -> list[str]:
    """What of it does not compute what its plain twin does, on a little of everything."""
    # coarse: a wrong kernel is wrong by far, and the twin rounds too
    attended = [_attended(which.attend, device, dtype) for which in (found, PLAIN)]
    chosen = [_chosen(which.best, device) for which in (found, PLAIN)]
    scores = _numbers(3, 12, 40, device=device) * 3
    spoken = [which.jumps(scores, 2, 37, 1.0, 7).tolist() for which in (found, PLAIN)]  # sync
    agree = {
        "attention": torch.allclose(attended[0], attended[1], atol=0.05),
        "choice": all(torch.equal(a, b) for a, b in zip(*chosen, strict=True)),
        "word times": spoken[0] == spoken[1],
    }
    return [f"{name} differs" for name, is_right in agree.items() if not is_right]


def _numbers(*shape: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(device)


def _attended(attend: Attend, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Whole sounds and parts of them, in the precision and in 8 bits."""
    index = torch.tensor([2, 0, 0], device=device)
    lengths = torch.tensor([300, 1, 257], device=device)
    q, found = _numbers(3, 2, 64, device=device).to(dtype), []
    for int8 in (False, True):
        kept = Kept.empty(3, 2, 300, 64, device, dtype, int8)
        kept.put_(torch.arange(3, device=device), *_numbers(2, 3, 2, 300, 64, device=device))
        found += [attend(q, kept, index, seen, 300) for seen in (None, lengths)]
    return torch.stack(found).float()


def _chosen(best: Best, device: torch.device) -> list[Tensor]:
    """Tokens of four steps of a few rows, and what they leave behind."""
    rules = RuleBook(TRIED, 5, 16, device)
    for row, timestamps in enumerate((True, True, False, True)):
        rules.reset_([row], Decode((1,), rules=Rules((3, 4, row), (TRIED.eot,), timestamps, 20)))
    left = torch.full((5,), 3, device=device)
    state = RowState(torch.zeros_like(left), left.clone(), left, torch.zeros_like(left, dtype=torch.bool))
    logits, line, found = _numbers(4, 4, TRIED.n_vocab, device=device) * 3, torch.arange(4, device=device), []
    for step in logits:
        tokens, _ = best(rules, step.clone(), line, line, 1, state)
        found += [tokens, state.tokens[:4].clone(), state.positions[:4].clone(), state.ended[:4].clone()]
    return [*found, best(rules, logits[0].clone(), line, line, 5, None)[0], rules.history[:4]]
