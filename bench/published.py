"""Every measurement that docs/benchmarks shows, one after another: python -m bench.published.

Needs a machine that does nothing else, for about a quarter of an hour; a part that was measured beside others says so
in place of its claims. Parts replace what an earlier run left of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import latency, roofline, throughput
from bench.data import names

BEATEN = "sottovoce,faster-batched,openvino"
EVERYBODY = "sottovoce,faster-batched,faster-sequential,openvino,transformers,openai-whisper,whispercpp"
VARIANTS = "sottovoce,sottovoce:threads=1,sottovoce:rows=8,sottovoce:rows=32,sottovoce:compute=float32"
BATCHES = "faster-batched,faster-batched:batch_size=8,faster-batched:batch_size=24"
WORDS = "sottovoce,sottovoce:word_timestamps=true"
# every library that a side computes with has its own switch
AVX512 = "--env ONEDNN_MAX_CPU_ISA=AVX512_CORE --env MKL_ENABLE_INSTRUCTIONS=AVX512 --env CT2_FORCE_CPU_ISA=AVX512"
AVX2 = "--env ONEDNN_MAX_CPU_ISA=AVX2 --env MKL_ENABLE_INSTRUCTIONS=AVX2 --env CT2_FORCE_CPU_ISA=AVX2"
ROWS = {  # part: bench, its arguments
    "hour": ("throughput", f"--lengths 3600 --rounds 1 --sides {BEATEN} --name hour"),
    "lengths": ("throughput", f"--lengths 10,60,600 --longform --sides {BEATEN} --name lengths"),
    "tiny.en": ("throughput", f"--model tiny.en --lengths 600 --rounds 2 --sides {BEATEN} --name tiny.en"),
    "beam": ("throughput", "--beam 5 --lengths 600 --rounds 1 --sides sottovoce,faster-batched --name beam-5"),
    "latency": ("latency", "--rounds 5 --cold-rounds 2 --together-rounds 2 --mixed-clips 15 --name latency"),
    "roofline": ("roofline", "--name bfloat16"),
    "words": ("throughput", f"--lengths 600 --rounds 2 --sides {WORDS} --name words"),
    "variants": ("throughput", f"--lengths 600 --rounds 1 --sides {VARIANTS} --name variants"),
    "everybody": ("throughput", f"--lengths 60 --rounds 2 --sides {EVERYBODY} --name everybody"),
    "faster": ("throughput", f"--lengths 600 --rounds 1 --sides {BATCHES} --name faster-settings"),
    "avx512": ("throughput", f"--lengths 60 --rounds 2 --sides {BEATEN} {AVX512} --name avx512"),
    "avx2": ("throughput", f"--lengths 60 --rounds 2 --sides {BEATEN} {AVX2} --name avx2"),
}
MAINS = {"throughput": throughput.main, "latency": latency.main, "roofline": roofline.main}


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.published", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--peers", type=Path, required=True, help="folder that `scripts/bench environments` has filled")
    p.add_argument("--out", type=Path, required=True, help="folder of the results")
    p.add_argument("--parts", type=names, default=list(ROWS), help=f"by comma, of {', '.join(ROWS)}")
    args = p.parse_args(argv)
    worst = 0
    for part in args.parts:
        if part not in ROWS:
            raise SystemExit(f"{part!r} is not a part; known are {', '.join(ROWS)}")
        bench, given = ROWS[part]
        places = [] if bench == "roofline" else ["--data", str(args.data), "--peers", str(args.peers)]
        began = time.monotonic()
        worst = max(worst, MAINS[bench]([*given.split(), *places, "--out", str(args.out / f"{bench}.json")]))
        throughput.say(f"{part}: done in {time.monotonic() - began:.0f} s")
    return worst


if __name__ == "__main__":
    sys.exit(main())
