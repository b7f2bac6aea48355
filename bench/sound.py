"""Beside openai-whisper: do both sides hear the same samples and the same log-mel? (python -m bench.sound)

Samples of every file from our loader and from the peer's, which calls ffmpeg; log-mel windows of the same samples, ours
window by window as the engine computes them, theirs of the whole recording.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from bench.data import Clip, commit, names, read
from bench.peer import Peer, PeerError

from sottovoce.audio import decode, mel
from sottovoce.errors import SottovoceError
from sottovoce.types import Sound

N_MELS = 80
MEL_BAR = 1e-4  # how far the log-mel of the same samples may differ


@dataclass(frozen=True, slots=True)
class Heard:
    """One file. n_ours, n_theirs: samples; d_samples, d_mel: largest differences, None where they cannot be had.

    d_samples is over the samples that both have. ours, theirs: the error of a side that could not read it.
    """

    clip: str
    set: str
    n_ours: int = 0
    n_theirs: int = 0
    d_samples: float | None = None
    d_mel: float | None = None
    ours: str = ""
    theirs: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="bench.sound", description=__doc__)
    p.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    p.add_argument("--peer-python", required=True, help="python of an environment with openai-whisper==20250625")
    p.add_argument("--sets", type=names, default=[], help="of the data, by comma; default: all")
    p.add_argument("--limit", type=int, help="clips of each set")
    p.add_argument("--out", type=Path, help="results as JSON; the table is written beside it")
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, Peer(args.peer_python, Path(folder), Path(folder), 1) as peer:
        heard = [hear(clip, peer) for clip in read(args.data, args.sets, args.limit)]
        about = peer.about
    text = f"{summary(heard)}\n\n{differing(heard)}"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        content = {"peer": about, "commit": commit(), "files": [asdict(h) for h in heard]}
        args.out.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        args.out.with_suffix(".md").write_text(text + "\n", "utf-8")
    return 1 if any(h.d_mel is not None and h.d_mel > MEL_BAR for h in heard) else 0


def hear(clip: Clip, peer: Peer) -> Heard:
    """Open a file on both sides, and compare."""
    our_error = their_error = ""
    ours = theirs = np.zeros(0, np.float32)
    try:
        ours = decode.load(str(clip.path))
    except SottovoceError as e:
        our_error = str(e)
    out = str(peer.work / "loaded.npy")
    try:
        peer.ask("load_audio", audio=str(clip.path), out=out)
        theirs = np.load(out)
        their_error = "" if len(theirs) else "0 samples"  # it gives an empty array where we refuse
    except PeerError as e:
        their_error = str(e).strip().splitlines()[-1]
    n = min(len(ours), len(theirs))
    d_samples = float(np.abs(ours[:n] - theirs[:n]).max()) if n else None
    d_mel = mel_difference(ours, peer) if len(ours) >= mel.HOP else None
    here = (clip.path.parent.as_posix() + "/", "")  # messages name the file in full; the report names the clip
    errors = [text.replace(*here) for text in (our_error, their_error)]
    return Heard(clip.name, clip.set, len(ours), len(theirs), d_samples, d_mel, *errors)


def mel_difference(samples: np.ndarray, peer: Peer) -> float:
    """Largest difference of the log-mel over all windows of a recording."""
    out = str(peer.work / "mel.npy")
    peer.ask("log_mel", samples=peer.save("samples", samples), n_mels=N_MELS, out=out)
    theirs = np.load(out)
    peak, n_frames, worst = mel.peak(samples, N_MELS), len(samples) // mel.HOP, 0.0
    for start in range(0, n_frames, mel.N_FRAMES):
        size = min(mel.N_FRAMES, n_frames - start)
        sound = Sound(mel.cut(samples, start, size), peak=peak, n_frames=size)
        ours = mel.batch([sound], N_MELS)[0, :, :size]
        worst = max(worst, float(np.abs(ours - theirs[:, start : start + size]).max()))
    return worst


def summary(heard: Sequence[Heard]) -> str:
    """A Markdown table: per set how many files give the same samples and log-mel."""
    lines = [
        "| set | files | read by both | same samples | largest difference | other length | log-mel, largest difference "
        "| only we read | only they read | neither |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(h.set for h in heard):
        rows = [h for h in heard if h.set == name]
        both = [h for h in rows if not h.ours and not h.theirs]
        cells = [
            name,
            len(rows),
            len(both),
            sum(h.n_ours == h.n_theirs and not h.d_samples for h in both),
            f"{max((h.d_samples or 0 for h in both), default=0):.1e}",
            sum(h.n_ours != h.n_theirs for h in both),
            f"{max((h.d_mel or 0 for h in rows), default=0):.1e}",
            sum(bool(h.theirs) and not h.ours for h in rows),
            sum(bool(h.ours) and not h.theirs for h in rows),
            sum(bool(h.ours) and bool(h.theirs) for h in rows),
        ]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def differing(heard: Sequence[Heard]) -> str:
    """A Markdown list of the files that are not the same."""
    lines = []
    for h in heard:
        if h.ours or h.theirs:
            lines.append(f"* {h.clip}: ours: {h.ours or 'reads it'}; theirs: {h.theirs or 'reads it'}")
        elif h.n_ours != h.n_theirs or h.d_samples:
            lines.append(f"* {h.clip}: {h.n_ours} samples against {h.n_theirs}; they differ by {h.d_samples or 0:.1e}")
    return "\n".join(lines) or "No file differs."


if __name__ == "__main__":
    sys.exit(main())
