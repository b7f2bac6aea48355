"""The words of recordings with their times, by one of the peers: prints one JSON line for each recording.

    python word_times.py openai-whisper|faster-whisper MODEL NAME    and jobs on standard input: {"audio", "language"}

Runs in the peer's own environment and imports nothing of ours. MODEL: its .pt, or the folder of its CTranslate2 form.
NAME: as published; it decides which heads openai-whisper aligns words with. Greedy; all else is the peer's default.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np


def openai_whisper(model: str, name: str):
    import whisper

    loaded = whisper.load_model(model, device="cpu")
    loaded.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])

    def words(samples: np.ndarray, language: str) -> list:
        found = loaded.transcribe(samples, language=language, word_timestamps=True, fp16=False)
        return [[w["word"], w["start"], w["end"]] for s in found["segments"] for w in s["words"]]

    return words


def faster_whisper(model: str, name: str):
    from faster_whisper import WhisperModel

    loaded = WhisperModel(model, device="cpu", compute_type="float32", local_files_only=True)

    def words(samples: np.ndarray, language: str) -> list:
        segments, _ = loaded.transcribe(samples, language=language, word_timestamps=True, beam_size=1)
        return [[w.word, w.start, w.end] for s in segments for w in s.words or ()]

    return words


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    side = {"openai-whisper": openai_whisper, "faster-whisper": faster_whisper}[sys.argv[1]](*sys.argv[2:4])
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(side(np.load(job["audio"]), job["language"])), file=answers, flush=True)
