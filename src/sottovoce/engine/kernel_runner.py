"""A runner on compiled kernels: CPUs that they know, without torch. Arrays are numpy's, bfloat16 kept as uint16."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np

from sottovoce.engine import align_native, mel_native, sampler
from sottovoce.engine.host_rules import HostRules
from sottovoce.engine.kernels import from_bfloat16, to_bfloat16
from sottovoce.engine.native import NativeChooser, NativeNetwork
from sottovoce.engine.packing import Read
from sottovoce.engine.runner import Runner
from sottovoce.engine.sampler import Proposal
from sottovoce.engine.sequence import Sequence
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.model.dims import Dims
from sottovoce.types import Encoded, Search, Sound


class KernelRunner(Runner):
    """One model on this CPU, with its slots and rows.

    read: gives a tensor of the checkpoint by its name. heads: (layer, head) pairs that word times are read from.
    kv: bfloat16 keeps keys and values of sound whole, else they are of 8 bits. weight_bits: 16, or 8, and then what
    weights are multiplied with is too.
    """

    def __init__(
        self,
        dims: Dims,
        read: Read,
        heads: Seq[tuple[int, int]],
        vocabulary: Vocabulary,
        n_rows: int,
        n_threads: int,
        kv: str = "auto",
        weight_bits: int = 16,
        n_windows: int | None = None,
    ) -> None:
        super().__init__(dims, vocabulary, n_rows, n_windows)
        self.heads = tuple(heads)
        self.n_threads = n_threads
        rules = HostRules(vocabulary, n_rows + 1, dims.n_text_ctx)
        bits = 16 if kv == "bfloat16" else 8, weight_bits, weight_bits
        self.network = NativeNetwork(dims, read, self.n_slots, n_rows, n_threads, *bits)
        self.rules, self.chooser = rules, NativeChooser(rules, n_threads)

    def put(self, values: object) -> np.ndarray:
        return np.asarray(values, np.int64)

    def join(self, parts: Seq[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)

    def softmax(self, logits: np.ndarray) -> np.ndarray:
        parts = np.exp(logits - logits.max(axis=-1, keepdims=True))
        found: np.ndarray = parts / parts.sum(axis=-1, keepdims=True)
        return found

    def features(self, sounds: Seq[Sound]) -> np.ndarray:
        given = [s.features for s in sounds]
        if all(f is not None for f in given):
            return to_bfloat16(np.stack([f for f in given if f is not None]))
        heard = mel_native.batch(sounds, self.dims.n_mels, self.n_threads)
        encoded: np.ndarray = self.network.features(heard)
        return encoded

    def encoded(self, sequence: Sequence) -> Encoded:
        return Encoded(from_bfloat16(self.features([sequence.window.sound])[0]))

    def jumps(
        self, scores: np.ndarray, n_sot: int, n_positions: int, qk_scale: float, medfilt_width: int
    ) -> np.ndarray:
        return align_native.jumps(scores, n_sot, n_positions, qk_scale, medfilt_width, self.n_threads)

    def generator(self, seed: int) -> np.random.Generator:
        return np.random.default_rng(seed)

    def propose(
        self,
        logits: np.ndarray,
        groups: Seq[tuple[Search, int]],
        generators: Seq[np.random.Generator | None],
        gains: np.ndarray | None,
    ) -> Proposal:
        return sampler.propose(logits, groups, generators, gains)
