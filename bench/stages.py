"""How long each stage of the engine takes, through the methods by which the engine itself runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from bench.rates import fastest, wait

from sottovoce.audio import mel, mel_torch
from sottovoce.config import Config
from sottovoce.engine import mel_native, native
from sottovoce.engine.fused import Fused
from sottovoce.engine.kernel_runner import KernelRunner
from sottovoce.engine.runner import Runner
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.stream import Stream
from sottovoce.engine.torch_runner import TorchRunner
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.model import catalogue, hub, modules
from sottovoce.model.dims import Dims
from sottovoce.model.whisper import Whisper
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Rules, Sound, Window

T = TypeVar("T")
FIRST_STEPS = 4  # not counted: they find their memory


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds: mel, encoder and cross of all windows together, prefill, decode and sample of all rows, a step each.

    decode_one: a step of one row. position: of the token that an average step decoded.
    """

    mel: float
    encoder: float
    cross: float
    prefill: float
    decode: float
    sample: float
    decode_one: float
    position: float


@dataclass(frozen=True, slots=True)
class Bed:
    """A runner, and what it is asked. n_windows are encoded together, n_rows decoded together."""

    runner: Runner
    tokenizer: Tokenizer
    n_windows: int
    n_rows: int

    @property
    def device(self) -> torch.device:
        return self.runner.device if isinstance(self.runner, TorchRunner) else torch.device("cpu")

    @property
    def prompt(self) -> tuple[int, ...]:
        """A prompt of n ids, as long as one without previous text is."""
        t = self.tokenizer
        return tuple(t.sot_sequence)

    def sequences(self, n: int) -> list[Sequence]:
        """n windows of noise, each in a slot and a row of its own, that never end."""
        t = self.tokenizer
        draw = np.random.default_rng(0)
        found = []
        for i in range(n):
            samples = draw.normal(0, 0.05, mel.N_SAMPLES + mel.MARGIN).astype(np.float32)
            ask = Decode(self.prompt, rules=Rules(suppress=(t.eot,), timestamps=False))
            sequence = Sequence(Window(str(i), Sound(samples, n_frames=mel.N_FRAMES), ask), slot=i, rows=[i])
            sequence.start()
            found.append(sequence)
        return found


def bed(
    model: str,
    dtype: torch.dtype,
    device: str,
    n_rows: int,
    n_threads: int,
    n_windows: int,
    known: bool,
    kv: str = "auto",
    parts: tuple[Stream, Fused] | None = None,
) -> Bed:
    """known: with the checkpoint's weights; else with random ones of its dimensions, which need no file.

    parts: as TorchRunner takes them.
    """
    if known:
        files = hub.fetch(model, Config())
        network = modules.load(files.path, device=torch.device(device), dtype=dtype)
    else:
        card = catalogue.find(model)
        if card is None:
            raise SystemExit(
                f"{model!r} is not in the catalogue; known are {', '.join(c.name for c in catalogue.CATALOGUE)}"
            )
        torch.manual_seed(0)
        network = Whisper(card.dims).to(torch.device(device), dtype)
        torch.nn.init.normal_(network.decoder.positional_embedding, std=0.02)
    t, vocabulary = Tokenizer(network.dims.n_vocab), vocabulary_of(network.dims)
    network.eval().requires_grad_(False)
    runner: Runner
    if parts is None and native.fits(network.dims, device, str(dtype).removeprefix("torch.")):
        read, heads = modules.numbers_of(network), network.alignment_heads
        runner = KernelRunner(network.dims, read, heads, vocabulary, n_rows, n_threads, kv)
    else:
        runner = TorchRunner(network, vocabulary, n_rows, n_threads, kv, parts)
    runner.begin()
    return Bed(runner, t, n_windows, n_rows)


def vocabulary_of(dims: Dims) -> Vocabulary:
    t = Tokenizer(dims.n_vocab)
    return Vocabulary(dims.n_vocab, t.eot, t.timestamp_begin, t.no_timestamps, t.no_speech)


def measure(given: Bed, n_steps: int) -> Measured:
    """Times of every stage. n_steps: tokens decoded for each row."""
    runner, device = given.runner, given.device
    some = given.sequences(given.n_windows)
    sounds = [s.window.sound for s in some]
    heard = fastest(partial(_heard, runner, sounds), device)
    features = fastest(lambda: runner.features(sounds), device)
    encoded = fastest(lambda: runner.encode(some), device)
    rows = given.sequences(given.n_rows)
    with torch.inference_mode():
        for i in range(0, given.n_rows, given.n_windows):
            runner.encode(rows[i : i + given.n_windows])
    prefilled = fastest(lambda: runner.prefill(rows), device)
    decoded, sampled, position = _steps(runner, rows, n_steps, device)
    decoded_one, _, _ = _steps(runner, given.sequences(1), n_steps, device)
    return Measured(
        heard, features - heard, encoded - features, prefilled, decoded, sampled, decoded_one, position
    )  # fmt: skip


def _heard(runner: Runner, sounds: list[Sound]) -> object:
    """Their log-mel, as the runner computes it."""
    n_mels = runner.dims.n_mels
    if isinstance(runner, KernelRunner):
        return mel_native.batch(sounds, n_mels, runner.n_threads)
    assert isinstance(runner, TorchRunner)
    return mel_torch.batch(sounds, n_mels, runner.device)


def _steps(runner: Runner, rows: list[Sequence], n_steps: int, device: torch.device) -> tuple[float, float, float]:
    """Median seconds of decode and of sample, and the mean position."""
    decoded, sampled, positions = [], [], []
    with torch.inference_mode():
        runner.sample(rows, runner.prefill(rows))
        for i in range(max(n_steps, FIRST_STEPS + 2)):
            positions.append(rows[0].position)
            seconds, logits = _timed(lambda: runner.decode(rows), device)
            decoded.append(seconds)
            seconds, _ = _timed(lambda logits=logits: runner.sample(rows, logits), device)  # type: ignore[misc]
            sampled.append(seconds)
            if i == FIRST_STEPS:
                decoded.clear()
                sampled.clear()
    return median(decoded), median(sampled), sum(positions) / len(positions)


def _timed(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    wait(device)
    began = time.perf_counter()
    found = work()
    wait(device)
    return time.perf_counter() - began, found
