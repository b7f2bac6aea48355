"""openai-whisper at work, in an environment of its own: reads jobs, one JSON line each, and answers with one JSON line.

Run by bench/peer.py with the Python that has openai-whisper; it imports nothing of ours. Arrays travel as .npy files.
The jobs are the methods of Worker: {"do": name, ...arguments} -> {"ok": result} or {"error": text}.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback

import numpy as np
import torch
import whisper
import whisper.normalizers
import whisper.version


class Worker:
    """Keeps one model loaded."""

    def about(self) -> dict:
        return {"openai-whisper": whisper.version.__version__, "torch": torch.__version__}

    def load_model(self, path: str, name: str, threads: int) -> dict:
        """name: as published; it decides which heads words are aligned with."""
        torch.set_num_threads(threads)
        self.model = whisper.load_model(path, device="cpu")
        if name in whisper._ALIGNMENT_HEADS:
            self.model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
        return {"n_parameters": sum(p.numel() for p in self.model.parameters())}

    def load_audio(self, audio: str, out: str) -> dict:
        samples = whisper.load_audio(audio)
        np.save(out, samples)
        return {"n_samples": len(samples)}

    def log_mel(self, samples: str, n_mels: int, out: str) -> dict:
        """The log-mel of a recording and of 30 s of silence after it, as transcribe sees it: (n_mels, F)."""
        np.save(out, whisper.log_mel_spectrogram(np.load(samples), n_mels, padding=whisper.audio.N_SAMPLES).numpy())
        return {}

    def transcribe(self, samples: str, options: dict, mels: str | None = None) -> dict:
        """The dictionary of whisper.transcribe, with "steps": every call of decode, in order. mels: where to keep each
        step's log-mel, as a (n_steps, M, 3000) array."""
        steps: list[dict] = []
        kept: list[np.ndarray] = []
        decode = self.model.decode

        def recording_decode(mel, given):
            result = decode(mel, given)
            fields = ("tokens", "avg_logprob", "no_speech_prob", "temperature")
            steps.append({"prompt": list(given.prompt or []), **{f: getattr(result, f) for f in fields}})
            if mels is not None:
                kept.append(mel.numpy().copy())
            return result

        self.model.decode = recording_decode
        began = time.perf_counter()
        try:
            result = whisper.transcribe(self.model, np.load(samples), **_tuples(options))
        finally:
            del self.model.decode
        if mels is not None:
            np.save(mels, np.stack(kept))
        return {**result, "steps": steps, "seconds": time.perf_counter() - began}

    def logits(self, mel: str, tokens: list[int], out: str, features: str) -> dict:
        """Scores after each of the tokens, all at once: (T, V), and the encoder's output (1500, C)."""
        with torch.no_grad():
            encoded = self.model.encoder(torch.from_numpy(np.load(mel))[None])
            scores = self.model.decoder(torch.tensor([tokens]), encoded)
        np.save(out, scores[0].numpy())
        np.save(features, encoded[0].numpy())
        return {}

    def shaken(self, mel: str, language: str, prompt: list[int], options: dict, step: float, n: int) -> list[list[int]]:
        """What decode gives if the log-mel is moved by up to `step`, n times: does rounding decide?"""
        true = np.load(mel)
        given = whisper.DecodingOptions(language=language, prompt=prompt, fp16=False, temperature=0.0, **options)
        found = []
        for seed in range(n):
            noise = np.random.default_rng(seed).uniform(-step, step, true.shape).astype(np.float32)
            found.append(self.model.decode(torch.from_numpy(true + noise), given).tokens)
        return found

    def normalise(self, language: str, texts: list[str]) -> list[str]:
        """Texts as OpenAI compares them: English by its own rules, all others by the basic ones."""
        kind = (
            whisper.normalizers.EnglishTextNormalizer if language == "en" else whisper.normalizers.BasicTextNormalizer
        )
        normal = kind()
        return [normal(text) for text in texts]


def _tuples(options: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    worker = Worker()
    for line in sys.stdin:
        job = json.loads(line)
        do = job.pop("do")
        try:
            answer = {"ok": getattr(worker, do)(**job)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
