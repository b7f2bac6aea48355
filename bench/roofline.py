"""Where the time of each stage stands against what this machine can do: python -m bench.roofline.

Measures the machine's own matrix rate and memory bandwidth, counts what the model must compute and move, times the
stages of our engine, and prints how near they come to the machine's limits.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from bench import busy, costs, plot, rates, report, stages
from bench.costs import Part
from bench.rounds import MAX_OTHERS_CPUS

from sottovoce.engine.device import choose
from sottovoce.model.dims import Dims
from sottovoce.model.modules import DTYPES
from sottovoce.threads import n_threads

TITLE = "Roofline"
WINDOW_S = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    choice = choose(args.device, args.compute)
    dtype, device = DTYPES[choice.dtype], torch.device(choice.device)
    threads = args.threads or n_threads()
    name = args.name or f"{args.model}, {choice.compute}, {device}, {threads} threads, {args.rows} rows"
    run = report.begun("roofline", name, args, argv, versions={"torch": torch.__version__})
    before = busy.now(os.getpid())
    torch.set_num_threads(threads)
    given = stages.bed(args.model, dtype, str(device), args.rows, threads, args.windows, not args.random)
    dims = given.runner.dims
    size = dtype.itemsize
    near = sum(p.n_bytes for p in costs.decode(dims, args.rows, size, args.tokens // 2))
    run |= {
        "dims": asdict(dims), "itemsize": size, "rows": args.rows, "windows": args.windows, "tokens": args.tokens,
        "prompt": len(given.prompt), "flops": rates.matrix_rate(device, dtype),
        "bytes_s": rates.read_bandwidth(device, int(near)), "far_bytes_s": rates.read_bandwidth(device),
        "near_bytes": int(near), "measured": asdict(stages.measure(given, args.tokens)),
    }  # fmt: skip
    run["others_cpus"] = busy.others(before, busy.now(os.getpid()))
    report.illustrate(args.out, run, draw(run))
    report.keep(args.out, run, section, TITLE)
    print(section(run))
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.roofline", description=__doc__)
    p.add_argument("--model", default="base")
    p.add_argument("--random", action="store_true", help="random weights of the model's dimensions; needs no file")
    p.add_argument("--device", default="auto")
    p.add_argument("--compute", default="auto", help="precision: auto, float32, bfloat16, float16")
    p.add_argument("--threads", type=int, default=0, help="0: as many as this process may use")
    p.add_argument("--rows", type=int, default=16, help="rows decoded together")
    p.add_argument("--windows", type=int, default=4, help="windows encoded together")
    p.add_argument("--tokens", type=int, default=100, help="tokens of a window")
    p.add_argument("--name", help="of this run in the results; it replaces one of the same name")
    p.add_argument("--out", type=Path, help="results as JSON; the page and a plot are written beside it")
    return p


def stage_parts(run: dict[str, Any]) -> dict[str, tuple[list[Part], float, str]]:
    """By stage: what it must do, the seconds it took, and of how much."""
    dims, size, rows, windows = Dims(**run["dims"]), run["itemsize"], run["rows"], run["windows"]
    m = stages.Measured(**run["measured"])
    position = round(m.position)
    return {
        "log-mel": ([], m.mel, _n(windows, "window")),
        "encoder": (costs.encoder(dims, windows, size), m.encoder, _n(windows, "window")),
        "cross keys and values": (costs.cross_kv(dims, windows, size), m.cross, _n(windows, "window")),
        "prefill": (
            costs.decode(dims, rows, size, 0, n_new=run["prompt"], n_logits=2),
            m.prefill,
            f"{_n(rows, 'row')}, {run['prompt']} tokens",
        ),
        "decode": (costs.decode(dims, rows, size, position), m.decode, f"{_n(rows, 'row')}, a token each"),
        "rules and sampling": ([], m.sample, f"{_n(rows, 'row')}, a token each"),
        "decode, alone": (costs.decode(dims, 1, size, position), m.decode_one, "1 row, a token"),
    }


def window_seconds(run: dict[str, Any]) -> tuple[float, float]:
    """Seconds of one window of a long recording: as the stages took, and at the machine's limits."""
    rate, bandwidth = run["flops"], run["bytes_s"]
    per_window = {"log-mel": run["windows"], "encoder": run["windows"], "cross keys and values": run["windows"]}
    per_window |= {"prefill": run["rows"]}
    per_token = {"decode": run["rows"], "rules and sampling": run["rows"]}
    took = bound = 0.0
    for name, (parts, seconds, _) in stage_parts(run).items():
        share = 1 / per_window[name] if name in per_window else run["tokens"] / per_token.get(name, float("inf"))
        took += share * seconds
        bound += share * costs.bound_s(parts, rate, bandwidth)
    return took, bound


def section(run: report.Run) -> str:
    rate, bandwidth = run["flops"], run["bytes_s"]
    found = stage_parts(run)
    took, bound = window_seconds(run)
    lines = []
    if run["others_cpus"] > MAX_OTHERS_CPUS:
        lines += [f"No claim: others used {run['others_cpus']:.1f} CPUs meanwhile.", ""]
    lines += [
        f"The machine: {rate / 1e12:.2f} T operations/s in matrix products of this precision, "
        f"{bandwidth / 1e9:.1f} GB/s read from {run['near_bytes'] / 1e6:.0f} MB, what a step of {run['rows']} rows "
        f"reads ({run['far_bytes_s'] / 1e9:.1f} GB/s from 1 GiB).",
        "",
        "| stage | of | took | at the machine's limits | reached |",
        "|---|---|---|---|---|",
    ]
    for name, (parts, seconds, of) in found.items():
        least = costs.bound_s(parts, rate, bandwidth)
        cells = [
            name,
            of,
            _ms(seconds),
            _ms(least) if parts else "-",
            f"{100 * least / seconds:.0f} %" if parts else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"A window of {WINDOW_S:.0f} s with {run['tokens']} tokens: {_ms(took)} by these stages, {_ms(bound)} at the "
        f"machine's limits: {WINDOW_S / took:.0f} and {WINDOW_S / bound:.0f} times real time; "
        f"{100 * bound / took:.0f} % reached.",
        "",
        "| part | of | G operations | MB | operations a byte | at the limits | bound by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("encoder", "cross keys and values", "decode"):
        for part in found[name][0]:
            by = "matrix rate" if part.intensity > rate / bandwidth else "memory"
            cells = [part.name, found[name][2], f"{part.operations / 1e9:.2f}", f"{part.n_bytes / 1e6:.1f}"]
            cells += [f"{part.intensity:.1f}", _ms(part.bound_s(rate, bandwidth)), by]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(run: report.Run) -> str:
    points = []
    for name, (parts, seconds, of) in stage_parts(run).items():
        if parts:
            whole = costs.total(name, parts)
            points.append(plot.Point(f"{name} ({of})", whole.intensity, whole.operations / seconds))
    return plot.roofline(run["name"], run["flops"], run["bytes_s"], points)


def _n(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
