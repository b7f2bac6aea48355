"""What a device computes beside products: by Triton's kernels where there are any, else by their plain twins."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from sottovoce.engine import choices
from sottovoce.engine.align import Jumps, jumps
from sottovoce.engine.choices import Best
from sottovoce.engine.indirect import Attend, GatherAttend, Kept

log = logging.getLogger(__name__)

LEAST_CAPABILITY = (8, 0)  # of a CUDA device that Triton compiles for; triton-lang/triton README: supported hardware


@dataclass(frozen=True, slots=True)
class Fused:
    """attend: a step's attention; best: rules and choice; jumps: when the tokens of a text are spoken."""

    attend: Attend
    best: Best
    jumps: Jumps


PLAIN = Fused(GatherAttend(), choices.best_, jumps)


def fused(device: torch.device) -> Fused:
    """The fastest that there is for a CUDA device; what and why is logged once."""
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        log.info("%s is too old for Triton's kernels; torch computes attention of steps, rules and word times", device)
        return PLAIN
    try:
        found = kernels()
        _try(found, device)
    except Exception as e:  # of Triton, of the compilers that it calls, of the driver: nothing here is necessary
        log.warning(
            "Triton's kernels do not run (%s: %s); torch computes attention of steps, rules and word times, slower",
            *(type(e).__name__, e),
        )
        return PLAIN
    log.info("attention of steps, rules and word times are computed by Triton's kernels")
    return found


def _try(found: Fused, device: torch.device) -> None:
    """Compile and run one: Triton needs a C compiler besides itself."""
    kept = Kept.empty(1, 1, 16, 16, device, torch.float32, False)
    here = torch.zeros(1, dtype=torch.int64, device=device)
    with torch.cuda.device(device):
        found.attend(torch.zeros(1, 1, 16, device=device), kept, here, None, 16)
        torch.cuda.synchronize(device)


def kernels() -> Fused:
    """Triton's. Raises ImportError where it is not installed."""
    from sottovoce.engine import triton_align, triton_attention, triton_choose

    return Fused(triton_attention.TritonAttend(), triton_choose.best_, triton_align.jumps)
