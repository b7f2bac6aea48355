"""The real command as a person starts it, and recordings to give it: good ones from the known clip, and broken ones."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import numpy as np

COMMAND = Path(sys.executable).with_name("sottovoce")
KNOWN = Path(str(files("sottovoce.audio") / "assets" / "known.ogg"))
FAST = ("--model", "tiny", "--device", "cpu", "--language", "en", "--beam_size", "1")
FAST += ("--temperature_increment_on_fallback", "None")  # repeated speech fails a gate, again and again
RATE = 16_000


def environ(**more: str) -> dict[str, str]:
    """This process's variables without its SOTTOVOCE_* ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SOTTOVOCE_")}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def run(
    *arguments: object, cwd: Path, stdin: Any = subprocess.DEVNULL, env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run `sottovoce` to its end."""
    command = [str(COMMAND), *(str(argument) for argument in arguments)]
    return subprocess.run(
        command, cwd=cwd, stdin=stdin, env=env or environ(), capture_output=True, text=True, timeout=300, **more
    )


def start(*arguments: object, cwd: Path, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
    """Start `sottovoce`; the caller ends it."""
    command = [str(COMMAND), *(str(argument) for argument in arguments)]
    return subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, env=env or environ(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=_heed_signals, **more,
    )  # fmt: skip


def _heed_signals() -> None:
    """A shell that runs the tests in the background has SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def samples() -> np.ndarray:
    """(N,) int16 of the known clip at RATE."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(KNOWN)) as container:
        pieces = [r.to_ndarray()[0] for frame in container.decode(audio=0) for r in resampler.resample(frame)]
    return np.concatenate(pieces)


def write_wav(path: Path, sound: np.ndarray) -> Path:
    """A mono WAV of int16 or float32 samples, also of none."""
    tag, width = (3, 4) if sound.dtype == np.float32 else (1, 2)
    data = sound.tobytes()
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, 1, RATE, RATE * width, width, width * 8)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    return path


def write_mp3(path: Path, sound: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


def write_silent_video(path: Path) -> Path:
    """A video with pictures and no audio stream."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path
