"""From a name to a model that is awake: its files, what it takes, its engine, and whether its words are right.

The pool (engine/pool.py) knows when to do which; here is what it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import as_file, files

from sottovoce.audio import decode
from sottovoce.config import Config
from sottovoce.engine import memory, native
from sottovoce.engine.device import Choice, choose
from sottovoce.engine.engine import Engine
from sottovoce.engine.kernel_runner import KernelRunner
from sottovoce.engine.load import Change
from sottovoce.engine.permit import Permit, Place, Submit
from sottovoce.engine.pool import Pool
from sottovoce.engine.runner import Runner
from sottovoce.engine.vocabulary import Vocabulary
from sottovoce.errors import EngineError, ModelError
from sottovoce.flow import longform
from sottovoce.flow.drive import drive
from sottovoce.model import hub, networks, weights
from sottovoce.model.dims import Dims
from sottovoce.model.stored import Numbers
from sottovoce.options import Options
from sottovoce.text import known
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.threads import n_threads, one_thread
from sottovoce.types import Strategy

__all__ = ["Found", "Permit", "Place", "Pool", "hold", "key_of", "open_pool"]

log = logging.getLogger(__name__)

OnDownload = Callable[[int, int, str], None]
# settings that make no other model of it
NOT_OF_A_MODEL = ("memory_gb", "idle_s", "preload", "pins", "skip_warm_up", "log_level")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A model on this disk, not yet loaded. proves: decode the known clip before it serves.

    rows: decoded together, and windows, each of which is a row or as many as it has beams.
    """

    config: Config
    choice: Choice
    files: hub.Files
    dims: Dims
    tokenizer: Tokenizer
    rows: int
    windows: int
    proves: bool

    @property
    def name(self) -> str:
        return self.config.model

    @property
    def n_bytes(self) -> int:
        what = self.dims, self.choice.device, self.choice.dtype
        return memory.n_bytes(*what, self.rows, self.config.kv, self.windows)

    @property
    def devices(self) -> tuple[str, ...]:
        return self.choice.devices

    def n_together(self, n_beams: int) -> int:
        """Windows of so many beams that are decoded together."""
        return min(self.windows, self.rows // n_beams)

    @property
    def pinned(self) -> bool:
        return any(_same(self.name, pin) for pin in _names(self.config.pins))

    @property
    def checkpoint(self) -> longform.Checkpoint:
        """What a flow must know of it."""
        lag_s = self.files.card.lag_s if self.files.card else None
        return longform.Checkpoint(self.dims.n_mels, self.dims.n_vocab, self.dims.n_text_ctx, lag_s, self.rows)

    def build(self, device: str) -> Engine:
        """Load the weights on a device, and make an engine of them. Raises ModelError, EngineError."""
        t = self.tokenizer
        vocabulary = Vocabulary(self.dims.n_vocab, t.eot, t.timestamp_begin, t.no_timestamps, t.no_speech)
        try:
            runner = self._runner(device, vocabulary)
            memory.give_back()  # what weights were read and packed through
        except Exception as e:
            if not memory.is_out_of_memory(e):
                raise
            raise EngineError(
                f"{self.name} in {self.choice.compute} with {self.rows} rows was asked for, more than {device} has "
                "memory for; pass fewer --rows, a smaller model, or --device cpu"
            ) from e
        return Engine(runner, t.sot, self.config.encode_windows)

    def _runner(self, device: str, vocabulary: Vocabulary) -> Runner:
        """On kernels where they fit; torch is imported only where they do not."""
        config, choice, card = self.config, self.choice, self.files.card
        heads = card.alignment_heads if card else None
        n = config.threads or n_threads()
        if native.fits(self.dims, device, choice.dtype):
            given = weights.open_weights(self.files.path, alignment_heads=heads)
            how = n, config.kv, choice.weight_bits, self.windows

            def read(name: str) -> Numbers:
                given.forget()  # what was read before: memory holds the network, and of the file what is packed now
                return given.read(name)

            return KernelRunner(self.dims, read, given.alignment_heads, vocabulary, self.rows, *how)
        from sottovoce.engine.torch_runner import TorchRunner
        from sottovoce.model import modules

        with one_thread():  # only the engine's own thread has a pool of workers
            dtype = modules.DTYPES[choice.dtype]
            network = modules.load(self.files.path, device=device, dtype=dtype, alignment_heads=heads)
            return TorchRunner(network, vocabulary, self.rows, n, config.kv)

    def prove(self, submit: Submit) -> None:
        """Decode the known clip, if that is wanted. Raises EngineError if the words are wrong."""
        if not self.proves:
            return
        with as_file(files("sottovoce.audio") / "assets" / "known.ogg") as clip:
            samples = decode.load(clip)
        options = Options(language="en", temperature=(0.0,), strategy=Strategy.SEQUENTIAL)
        run = drive(longform.transcribe(samples, options, self.checkpoint, "known"), submit)
        while True:
            try:
                next(run)
            except StopIteration as end:
                heard: str = end.value.text.strip()
                break
        if not known.is_right(heard):
            raise EngineError(
                f"{self.name} on {self.choice.reason}: the known clip was heard as {heard!r}, {known.SPOKEN!r} was "
                "expected; run `sottovoce doctor`, or set skip_warm_up if this model need not know English"
            )

    def put_away(self) -> None:
        memory.give_back()


def open_pool(config: Config | None = None, on_change: Callable[[Change], None] | None = None) -> Pool[Found]:
    """A pool of models that several `Whisper`s share: `Whisper("base", pool=pool)`.

    Of config: memory_gb, idle_s, preload, pins and skip_warm_up. What is to be preloaded is awake when this returns.
    `close()` it (or leave its `with` block) to give the memory back. on_change: told of loads and unloads, as `Pool`.
    Raises ModelError, ConfigError, EngineError for what cannot be preloaded.
    """
    config = config or Config()
    pool: Pool[Found] = Pool(round(config.memory_gb * 1e9) or None, config.idle_s or None, on_change=on_change)
    try:
        for name in _names(config.preload):
            hold(pool, config.with_(model=name)).release()
    except BaseException:
        pool.close()
        raise
    return pool


def hold(
    pool: Pool[Found],
    config: Config,
    *,
    proves: bool | None = None,
    timeout_s: float = 0.0,
    on_download: OnDownload | None = None,
) -> Permit[Found]:
    """A permit for the model that config names, as `Pool.hold`. proves: None does as config says."""
    proves = not config.skip_warm_up if proves is None else proves

    def find() -> Found:
        if network := networks.find(config.model):
            raise ModelError(f"model: {network.name} tells {network.does}; a Whisper model was expected, such as base")
        choice = choose(config.device, config.compute)
        log.info("computing on %s", choice.reason)
        found = hub.fetch(config.model, config, on_download)
        dims = weights.dims_of(found.path)
        if choice.weight_bits == 8 and not native.fits(dims, choice.device, choice.dtype):
            choice = choose(config.device, config.compute, in_8_bits=False)
        rows = config.rows or memory.n_rows(
            *(dims, choice.devices, choice.dtype, config.kv, config.encode_windows),
            *(config.memory_share, config.memory_gb),
        )
        shares = not config.rows and native.fits(dims, choice.device, choice.dtype)
        windows = memory.DEFAULT_WINDOWS if shares else rows
        return Found(config, choice, found, dims, Tokenizer(dims.n_vocab), rows, windows, proves)

    return pool.hold(key_of(config), find, timeout_s)


def key_of(config: Config) -> Config:
    """What a pool knows the model by that config names: the same for every way to write it."""
    card = hub.find(config.model)
    defaults = {name: getattr(Config(), name) for name in NOT_OF_A_MODEL}
    return replace(config, model=card.name if card else config.model, **defaults)


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _same(a: str, b: str) -> bool:
    return a == b or (hub.find(a) is not None and hub.find(a) is hub.find(b))
