"""What a GPU makes of large models: python -m bench.device. Random weights of their dimensions, forced lengths.

Times real time by rows decoded together, through the engine; the encoder beside the device's own matrix rate; every
fused kernel beside its plain twin. `--ahead` drives a CPU as a GPU is driven: the same program, without its speed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import costs, rates, report, stages

from sottovoce.audio import mel
from sottovoce.engine import fused, memory
from sottovoce.engine.choices import RowState
from sottovoce.engine.cuda import CudaNetwork
from sottovoce.engine.device import choose
from sottovoce.engine.engine import Engine
from sottovoce.engine.fused import Fused
from sottovoce.engine.indirect import Kept
from sottovoce.engine.rules import RuleBook
from sottovoce.engine.runner import Runner
from sottovoce.engine.stream import PlainStream
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.model.dims import Dims
from sottovoce.model.modules import DTYPES
from sottovoce.types import Decode, Lane, Rules, Search, Sound, Window

TITLE = "GPU"
WINDOW_S = 30.0
N_SOUNDS = 8  # of noise, that windows share: a window of the same samples and another key is encoded again


@dataclass(frozen=True, slots=True)
class Rate:
    """Windows through the engine. n_bytes: the device's peak; 0 where it does not say. None: they did not fit."""

    rows: int
    n_windows: int
    seconds: float
    n_bytes: int

    @property
    def times_real_time(self) -> float:
        return WINDOW_S * self.n_windows / self.seconds


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of a fused kernel and of its plain twin."""

    name: str
    ours: float
    twin: float


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    choice = choose(args.device, args.compute)
    device, dtype = torch.device(choice.device), DTYPES[choice.dtype]
    parts = (PlainStream(device), fused.PLAIN) if args.ahead else None
    rate = rates.matrix_rate(device, dtype)
    for model in args.models.split(","):
        name = f"{model}, {choice.compute}, kv {args.kv}, {args.name or device}"
        run = report.begun("device", name, args, argv, versions={"torch": torch.__version__})
        found = []
        for rows in map(int, args.rows.split(",")):
            try:
                given = stages.bed(model, dtype, str(device), rows, 0, args.encode_windows, False, args.kv, parts)
                if isinstance(given.runner.network, CudaNetwork):
                    given.runner.network.graphs.enabled = not args.no_graphs
                found.append(asdict(throughput(given, args.rounds, args.tokens)))
            except Exception as e:
                if not memory.is_out_of_memory(e):
                    raise
                print(f"{model} with {rows} rows does not fit: {e}", file=sys.stderr)
            memory.give_back()
        given = stages.bed(
            model, dtype, str(device), args.encode_windows, 0, args.encode_windows, False, args.kv, parts
        )
        dims, measured = given.runner.dims, stages.measure(given, min(args.tokens, 20))
        work = sum(p.operations for p in costs.encoder(dims, args.encode_windows, dtype.itemsize))
        run |= {
            "dims": asdict(dims), "tokens": args.tokens, "flops": rate, "graphs": not args.no_graphs, "rates": found,
            "encode_windows": args.encode_windows, "encoder_s": measured.encoder, "encoder_operations": work,
            "kernels": [
                asdict(p)
                for p in pairs(of_device(given.runner), dims, device, dtype, args.kv, args.kernel_rows)
            ],
        }  # fmt: skip
        report.keep(args.out, run, section, TITLE)
        print(section(run))
    return 0


def of_device(runner: Runner) -> Fused:
    return runner.fused if isinstance(runner, TorchRunner) else fused.PLAIN


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.device", description=__doc__)
    p.add_argument("--models", default="large-v3,large-v3-turbo", help="names, separated by commas")
    p.add_argument("--device", default="cuda")
    p.add_argument("--compute", default="auto", help="precision: auto, float32, bfloat16, float16")
    p.add_argument("--kv", default="auto", help="keys and values of sound: auto, int8")
    p.add_argument("--rows", default="16,32,64,96,128", help="decoded together; each is tried")
    p.add_argument("--rounds", type=int, default=4, help="windows for each row")
    p.add_argument("--tokens", type=int, default=100, help="of every window")
    p.add_argument("--encode-windows", type=int, default=8, help="encoded together")
    p.add_argument("--kernel-rows", type=int, default=64, help="rows that kernels are timed with")
    p.add_argument("--no-graphs", action="store_true", help="launch every operator by itself")
    p.add_argument("--ahead", action="store_true", help="drive a CPU as a GPU is driven")
    p.add_argument("--name", help="of the machine in the results")
    p.add_argument("--out", type=Path, help="results as JSON; the page is written beside it")
    return p


def throughput(given: stages.Bed, n_rounds: int, n_tokens: int) -> Rate:
    """Windows of noise, each of exactly n_tokens tokens, all asked for at once."""
    engine = Engine(given.runner, given.tokenizer.sot, given.n_windows)
    engine.begin()
    draw = np.random.default_rng(0)
    noise = [draw.normal(0, 0.05, mel.N_SAMPLES + mel.MARGIN).astype(np.float32) for _ in range(N_SOUNDS)]
    rules = Rules(suppress=(given.tokenizer.eot,), timestamps=False)
    ask = Decode(given.prompt, search=Search(max_tokens=n_tokens), rules=rules)
    device, n = given.device, 0
    seconds = 0.0
    for n_windows in (given.n_rows, given.n_rows * n_rounds):  # the first time sizes are recorded, kernels compiled
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for _ in range(n_windows):
            sound = Sound(noise[n % N_SOUNDS], n_frames=mel.N_FRAMES)
            engine.add(Window(str(n), sound, ask), Lane.BATCH)
            n += 1
        rates.wait(device)
        began = time.perf_counter()
        while not engine.idle:
            for outcome in engine.step():
                if outcome.error is not None:
                    raise outcome.error.__cause__ or outcome.error
        rates.wait(device)
        seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Rate(given.n_rows, given.n_rows * n_rounds, seconds, peak)


def pairs(ours: Fused, dims: Dims, device: torch.device, dtype: torch.dtype, kv: str, n_rows: int) -> list[Pair]:
    """Each fused kernel beside its twin, on the sizes that a step of this model has."""
    heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
    q = torch.randn(n_rows, heads, width, device=device).to(dtype)
    line = torch.arange(n_rows, device=device)
    sound = Kept.empty(n_rows, heads, dims.n_audio_ctx, width, device, dtype, kv == "int8")
    text = Kept.empty(n_rows, heads, dims.n_text_ctx, width, device, dtype, False)
    lengths = torch.full_like(line, 64)
    logits = torch.randn(n_rows, dims.n_vocab, device=device)
    rules = RuleBook(stages.vocabulary_of(dims), n_rows + 1, dims.n_text_ctx, device)
    rules.reset_(range(n_rows), Decode((1,), rules=Rules(suppress=(1, 2, 3))))
    scores = torch.randn(10, 104, dims.n_audio_ctx, device=device)

    def best(which: Fused) -> None:
        state = [torch.zeros(n_rows + 1, dtype=torch.int64, device=device) for _ in range(3)]
        which.best(rules, logits, line, line, 1, RowState(*state, torch.ones_like(state[0], dtype=torch.bool)))

    works: dict[str, Any] = {
        "attention to sounds": lambda f: f.attend(q, sound, line, None, dims.n_audio_ctx),
        "attention to 64 tokens": lambda f: f.attend(q, text, line, lengths, 64 if not f.attend.any_length else 448),
        "rules and choice": best,
        "word times of 100 tokens": lambda f: f.jumps(scores, 3, dims.n_audio_ctx, 1.0, 7),
    }
    return [
        Pair(name, *(rates.fastest(lambda f=f, work=work: work(f), device) for f in (ours, fused.PLAIN)))
        for name, work in works.items()
    ]


def section(run: report.Run) -> str:
    lines = ["| rows | windows | x real time | peak memory |", "|---|---|---|---|"]
    found = [Rate(**r) for r in run["rates"]]
    for r in found:
        memory_gb = f"{r.n_bytes / 1e9:.1f} GB" if r.n_bytes else "-"
        lines.append(f"| {r.rows} | {r.n_windows} | {r.times_real_time:.1f} | {memory_gb} |")
    if found:
        best = max(found, key=lambda r: r.times_real_time)
        lines += ["", f"{run['tokens']} tokens a window. Best: {best.times_real_time:.0f} x with {best.rows} rows."]
    reached = run["encoder_operations"] / run["encoder_s"] / run["flops"]
    lines += [
        "",
        f"Encoder, {run['encode_windows']} windows: {1e3 * run['encoder_s']:.2f} ms, {100 * reached:.0f} % of the "
        f"measured matrix rate ({run['flops'] / 1e12:.1f} T operations/s).",
        "",
        "| kernel | took | its twin | times |",
        "|---|---|---|---|",
    ]
    for p in (Pair(**p) for p in run["kernels"]):
        lines.append(f"| {p.name} | {1e6 * p.ours:.0f} us | {1e6 * p.twin:.0f} us | {p.twin / p.ours:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
