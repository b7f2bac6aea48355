"""Beside openai-whisper, with the same weights in float32: the same text, tokens and times? (python -m bench.parity)

Each clip is decoded by both; every field is compared exactly, and every difference is traced to its cause.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.compare import differences
from bench.data import Clip, added, commit, names, read
from bench.explain import Explainer
from bench.findings import Cause, Result, differing, summary
from bench.peer import Peer, PeerError

from sottovoce.api import Whisper
from sottovoce.audio import decode
from sottovoce.errors import SottovoceError
from sottovoce.flow.drive import Done
from sottovoce.model import export, modules
from sottovoce.text.formats import Transcript
from sottovoce.types import Strategy

SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Case:
    """One way of decoding. ladder: the default temperatures instead of 0 alone, fallback included."""

    model: str
    beam_size: int
    ladder: bool = False
    words: bool = False

    @property
    def name(self) -> str:
        beam = "greedy" if self.beam_size == 1 else f"beam {self.beam_size}"
        return ", ".join([self.model, beam, *["ladder"] * self.ladder, *["words"] * self.words])

    def options(self) -> dict[str, Any]:
        """For Whisper.transcribe."""
        given: dict[str, Any] = {"beam_size": self.beam_size, "word_timestamps": self.words}
        given["strategy"] = Strategy.SEQUENTIAL
        return given if self.ladder else {**given, "temperature": (0.0,)}

    def their_options(self) -> dict[str, Any]:
        """For whisper.transcribe, of the same meaning."""
        given: dict[str, Any] = {"word_timestamps": self.words, "fp16": False, "verbose": None, "best_of": 5}
        if self.beam_size > 1:
            given["beam_size"] = self.beam_size
        return given if self.ladder else {**given, "temperature": [0.0]}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A clip with the samples that each side hears. d_samples: how far the two loaders differ; None if not asked."""

    clip: Clip
    ours: np.ndarray
    theirs: np.ndarray
    d_samples: float | None


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    clips = read(args.data, args.sets, args.limit) if args.data else []
    clips += [added(text) for text in args.add]
    results = _earlier(args.out, _cases(args))
    n_earlier = len(results)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with Peer(args.peer_python, work, args.cache, args.threads) as peer:
            heard, broken = _load_all(clips, peer, args.loader)
            for model in args.models:
                for result in _run_model(model, [c for c in _cases(args) if c.model == model], heard, peer, work, args):
                    results.append(result)
                    _write(args.out, results, broken, peer.about)
    print(summary(results))
    failed = [r for r in results[n_earlier:] if r.error or (r.cause not in (None, Cause.TIE.value))]
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="bench.parity", description=__doc__)
    p.add_argument("--data", type=Path, help="folder with manifest.jsonl")
    p.add_argument("--add", action="append", default=[], metavar="PATH[@SECONDS]", help="a recording beside the data")
    p.add_argument("--peer-python", required=True, help="python of an environment with openai-whisper==20250625")
    p.add_argument("--sets", type=names, default=["english", "multilingual", "longform"], help="of the data, by comma")
    p.add_argument("--models", type=names, default=["tiny.en", "base"], help="by comma")
    p.add_argument("--beams", type=names, default=["1", "5"], help="beam sizes by comma; 1 is greedy")
    p.add_argument("--limit", type=int, help="clips of each set")
    p.add_argument("--ladder", action="store_true", help="the default temperatures; clips that fell back are set apart")
    p.add_argument("--words", action="store_true", help="with word times")
    p.add_argument("--loader", choices=("same", "own"), default="same", help="own: each side reads the file itself")
    p.add_argument("--alone", type=int, default=4, help="clips of each set decoded once more alone, beside the batch")
    p.add_argument("--threads", type=int, default=1, help="of either side")
    p.add_argument("--cache", type=Path, default=Path("bench/out/parity-cache"), help="folder of the peer's answers")
    p.add_argument("--out", type=Path, help="results as JSON, a table beside it; other cases in it stay")
    return p


def _cases(args: argparse.Namespace) -> list[Case]:
    return [Case(m, int(b), args.ladder, args.words) for m in args.models for b in args.beams]


def _load_all(clips: Sequence[Clip], peer: Peer, loader: str) -> tuple[list[Loaded], list[str]]:
    """Decode the files; those that we or the peer cannot read are named."""
    heard, broken = [], []
    for clip in clips:
        try:
            ours = decode.load(str(clip.path), end_s=clip.end_s)
            theirs, d = ours, None
            if loader == "own":
                out = str(peer.work / "loaded.npy")
                peer.ask("load_audio", audio=str(clip.path), out=out)
                theirs = np.load(out)[: None if clip.end_s is None else round(clip.end_s * SAMPLE_RATE)]
                d = float(np.abs(ours - theirs).max()) if len(ours) == len(theirs) else float("inf")
            heard.append(Loaded(clip, ours, theirs, d))
        except (SottovoceError, PeerError) as e:
            broken.append(f"{clip.name}: {str(e).strip().splitlines()[-1]}")
    return heard, broken


def _run_model(
    model: str, cases: Sequence[Case], heard: Sequence[Loaded], peer: Peer, work: Path, args: argparse.Namespace
) -> Iterator[Result]:
    with Whisper(model, device="cpu", compute="float32", threads=args.threads) as whisper:
        path = _exported(whisper, work / f"{model}.pt")
        peer.use(path, model, hashlib.sha256(path.read_bytes()).hexdigest())
        explainer = Explainer(whisper, peer)
        for case in cases:
            for group in dict.fromkeys(loaded.clip.set for loaded in heard):
                here = [loaded for loaded in heard if loaded.clip.set == group]
                yield from _run_set(case, here, whisper, peer, explainer, args.alone)


def _run_set(
    case: Case, heard: Sequence[Loaded], whisper: Whisper, peer: Peer, explainer: Explainer, n_alone: int
) -> Iterator[Result]:
    began = time.monotonic()
    ours = _ours(whisper, case, heard)
    _say(f"{case.name}: ours done in {time.monotonic() - began:.0f} s")
    for i, loaded in enumerate(heard):
        said = ours[loaded.clip.name]
        result = _compare(case, loaded, said, peer, explainer)
        if isinstance(said, Transcript) and i < n_alone:
            alone = whisper.transcribe(loaded.ours, **case.options())
            result.alone_equal = not differences(alone.to_dict(), said.to_dict())
        if result.differences or result.error or result.alone_equal is False:
            _say(f"{case.name}: {loaded.clip.name}: {result.cause} {result.explanation} {result.error or ''}")
        yield result


def _exported(whisper: Whisper, path: Path) -> Path:
    """Our weights as the peer's .pt: the file itself if it is one."""
    if whisper.files.path.suffix == ".pt":
        return whisper.files.path
    export.export_pt(modules.load(whisper.files.path), path)  # float16, as the file holds them
    return path


def _ours(whisper: Whisper, case: Case, heard: Sequence[Loaded]) -> dict[str, Transcript | Exception]:
    """All clips through one batch."""
    found: dict[str, Transcript | Exception] = {}
    sources = ((loaded.clip.name, loaded.ours) for loaded in heard)
    for name, said in whisper.transcribe_each(sources, **case.options()):
        if isinstance(said, Done):
            answer = said.error if said.error is not None else said.transcript
            assert answer is not None, "a recording ends with its transcript or an error"
            found[name] = answer
    return found


def _compare(case: Case, loaded: Loaded, said: Transcript | Exception, peer: Peer, explainer: Explainer) -> Result:
    clip = loaded.clip
    result = Result(case.name, clip.name, clip.set, len(loaded.ours) / SAMPLE_RATE, commit=commit())
    try:
        theirs = peer.transcribe(loaded.theirs, case.their_options())
    except PeerError as e:
        result.error = f"peer: {str(e).strip().splitlines()[-1]}"
        return result
    if isinstance(said, Exception):
        result.error = f"{type(said).__name__}: {said}"
        return result
    result.n_segments = len(theirs["segments"])
    result.n_tokens = sum(len(s["tokens"]) for s in theirs["segments"])
    result.fell_back = any(step["temperature"] > 0 for step in theirs["steps"])
    ours = json.loads(json.dumps(said.to_dict()))
    found = differences(ours, theirs)
    result.differences = [str(d) for d in found[:6]]
    if not found or result.fell_back:
        return result  # what was drawn by chance cannot be compared
    if loaded.d_samples is not None and loaded.d_samples > 0:
        result.explanation = f"samples differ by {loaded.d_samples:.1e}; "
    explained = explainer.explain(loaded.ours, case.options(), case.their_options())
    result.cause, result.explanation = explained.cause.value, result.explanation + explained.text
    return result


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(out: Path | None, results: Sequence[Result], broken: Sequence[str], about: dict[str, str]) -> None:
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"peer": about, "broken": list(broken), "results": [asdict(r) for r in results]}
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    out.with_suffix(".md").write_text(f"{summary(results)}\n\n{differing(results)}\n", "utf-8")


def _earlier(out: Path | None, cases: Sequence[Case]) -> list[Result]:
    """What an earlier run left in the file, of cases that this run leaves alone."""
    if out is None or not out.is_file():
        return []
    kept = [Result(**line) for line in json.loads(out.read_text("utf-8"))["results"]]
    return [r for r in kept if r.case not in {case.name for case in cases}]


if __name__ == "__main__":
    sys.exit(main())
