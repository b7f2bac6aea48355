"""Error rates of models and precisions on recordings with references, by Whisper's own text normalisation.

python -m bench.accuracy. Word error rate; character error rate where words have no spaces between them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from bench.data import Clip, commit, names, read
from bench.peer import Peer
from bench.scores import Case, Heard, Score, details, score, summary

from sottovoce.api import Whisper
from sottovoce.config import Config
from sottovoce.flow.drive import Done
from sottovoce.types import Strategy

SETS = ["english", "multilingual", "longform", "synthetic", "noise"]
RSS_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    clips = [c for c in read(args.data, args.sets, args.limit) if c.trusted or not c.language]
    heard, scores = [], []
    with tempfile.TemporaryDirectory() as folder, Peer(args.peer_python, Path(folder), Path(folder), 1) as peer:
        for case in _cases(args):
            heard.append(_in_fresh_process(case, clips))
            scores.append(score(heard[-1], clips, lambda language, texts: _normalised(peer, language, texts)))
            print(f"{case.name}: {heard[-1].seconds:.0f} s", file=sys.stderr, flush=True)
            _write(args.out, heard, scores, peer.about)
    print(summary(heard, scores))
    return 1 if any(h.failed for h in heard) else 0


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.accuracy", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--peer-python", required=True, help="python of an environment with openai-whisper: its normaliser")
    p.add_argument("--sets", type=names, default=SETS, help="of the data, by comma")
    p.add_argument("--models", type=names, default=["tiny.en", "base"], help="by comma")
    p.add_argument("--computes", type=names, default=["float32", "bfloat16"], help="precisions by comma")
    p.add_argument("--beams", type=names, default=["1", "5"], help="beam sizes by comma; 1 is greedy")
    p.add_argument("--strategies", type=names, default=list(Strategy), help="by comma")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0, help="0: as many as this process may use")
    p.add_argument("--rows", type=int, default=16, help="rows decoded together")
    p.add_argument("--limit", type=int, help="clips of each set")
    p.add_argument("--out", type=Path, help="results as JSON; the tables are written beside it")
    return p


def _cases(args: argparse.Namespace) -> list[Case]:
    return [
        Case(model, compute, int(beam), args.device, args.threads, args.rows, strategy)
        for strategy in args.strategies
        for model in args.models
        for beam in args.beams
        for compute in args.computes
    ]


def _in_fresh_process(case: Case, clips: Sequence[Clip]) -> Heard:
    """Peak memory is a process's; a new one has no other case's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(transcribe, case, list(clips)).result()


def transcribe(case: Case, clips: Sequence[Clip]) -> Heard:
    """What a case writes for each clip that its model knows the language of; clips of one language together."""
    heard = Heard(case)
    config = Config(rows=case.rows)
    with Whisper(
        case.model, device=case.device, compute=case.compute, threads=case.threads or None, config=config
    ) as whisper:
        known = [c for c in clips if not c.language or c.language in whisper.languages]
        began = time.perf_counter()
        for language in dict.fromkeys(c.language for c in known):
            group = [(c.name, str(c.path)) for c in known if c.language == language]
            options = {"beam_size": case.beam_size, "language": language or None, "strategy": case.strategy}
            for name, said in whisper.transcribe_each(group, **options):
                if isinstance(said, Done) and said.transcript is not None:
                    heard.texts[name] = said.transcript.text
                    heard.audio_s += said.transcript.duration
                elif isinstance(said, Done):
                    heard.failed[name] = str(said.error)
        heard.seconds = time.perf_counter() - began
    heard.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_BYTES
    return heard


def _normalised(peer: Peer, language: str, texts: list[str]) -> list[str]:
    normal: list[str] = peer.ask("normalise", language=language, texts=texts)
    return normal


def _write(out: Path | None, heard: Sequence[Heard], scores: Sequence[Sequence[Score]], about: dict[str, str]) -> None:
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(h), "scores": [asdict(s) for s in each]} for h, each in zip(heard, scores, strict=True)]
    content = {"normaliser": about, "commit": commit(), "cases": rows}
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    out.with_suffix(".md").write_text(f"{summary(heard, scores)}\n\n{details(heard, scores)}\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
