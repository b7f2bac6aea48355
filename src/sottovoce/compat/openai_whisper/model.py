"""openai-whisper's `whisper.model` over ours: a model that knows its device and builds an engine when it is asked.

An engine has one precision: what `fp16` says where a call has it (transcribe, decode), elsewhere the model's own, which
is float16 on a GPU until `float()` is called. So the surface keeps one engine per precision that was asked for, in a
pool, which loads each once however many threads ask; they share nothing. One that was loaded but never asked is spare:
it is closed when another is asked, so that the usual program holds one.
Source: openai/whisper model.py, __init__.py (20250625).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce import api
from sottovoce.compat.openai_whisper.decoding import HALF_ON_CPU, decode, detect_language, encoded
from sottovoce.compat.openai_whisper.published import Bar, available_models
from sottovoce.compat.openai_whisper.transcribe import transcribe
from sottovoce.config import Config
from sottovoce.engine.device import choose
from sottovoce.errors import ConfigError, DownloadError, ModelError, OptionError
from sottovoce.model.whisper import Whisper as Network
from sottovoce.waking import Found, Pool

__all__ = ["DeviceNotThere", "ModelDimensions", "ModelNotFound", "Whisper", "load_model"]

DTYPES = (torch.float32, torch.float16)


class ModelNotFound(ModelError, RuntimeError):
    """No such model; the reference raises RuntimeError, and programs catch it."""


class DeviceNotThere(ConfigError, RuntimeError):
    """The device cannot be had; the reference raises RuntimeError, on which programs go on with the CPU."""


@dataclass
class ModelDimensions:
    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int


def load_model(
    name: str | os.PathLike[str],
    device: str | int | torch.device | None = None,
    download_root: str | os.PathLike[str] | None = None,
    in_memory: bool = False,
) -> Whisper:
    """A model, ready to decode.

    name: of `available_models()`, a Hugging Face repository id, a folder or a file of any form that ours reads.
    device: cuda if it answers, else cpu. download_root: folder for models, ours if None.
    in_memory: weights are always copied into memory, so both values mean the same.
    Precision: float16 on a GPU, float32 on the CPU; `fp16=False` and `float()` ask for float32 there.
    Raises DeviceNotThere, ModelNotFound (both RuntimeErrors), ModelError, DownloadError.
    """
    where = "cuda" if device is None and torch.cuda.is_available() else "cpu" if device is None else device
    config = Config(
        model=os.fspath(name),
        model_dir=None if download_root is None else os.fspath(download_root),
        threads=torch.get_num_threads(),  # what the program has set, which is what the reference computes with
    )
    return Whisper(config, where)


class Whisper:
    """A Whisper model. Made by `load_model`."""

    def __init__(self, config: Config, device: str | int | torch.device = "cpu") -> None:
        if not isinstance(config, Config):
            raise OptionError(
                f"Whisper({type(config).__name__}) was called, but a model is trained already here; use load_model"
            )
        self._config = config
        self._device = _there(device)
        self._pool: Pool[Found] = Pool(idle_s=0.0)
        # what several threads do with these is one step each: to set a default, to take one out
        self._engines: dict[torch.dtype, api.Whisper] = {}
        self._spare: dict[torch.dtype, api.Whisper] = {}
        self._dtype = torch.float32 if self._device.type == "cpu" else torch.float16
        self.dims = ModelDimensions(**asdict(self._some(self._dtype).dims))

    # --- engines ----------------------------------------------------------------------------------------------------

    def engine(self, fp16: bool) -> api.Whisper:
        """The engine of a precision on the model's device, built if need be. The CPU computes float32 always."""
        dtype = torch.float16 if fp16 and self._device.type != "cpu" else torch.float32
        engine = self._engines.get(dtype)
        if engine is None:
            spare = self._taken(dtype)
            engine = _keep(self._engines, dtype, self._built(dtype) if spare is None else spare)
        for other in list(self._spare):
            if (spare := self._taken(other)) is not None:
                spare.close()
        return engine

    def _taken(self, dtype: torch.dtype) -> api.Whisper | None:
        """A spare engine, if there is one: it is the caller's now, and no other thread closes it."""
        try:
            return self._spare.pop(dtype)
        except KeyError:
            return None

    def _built(self, dtype: torch.dtype) -> api.Whisper:
        """An engine; several of one precision are one in the pool."""
        compute = str(dtype).removeprefix("torch.")
        config = self._config.with_(device=_named(self._device), compute=compute, skip_warm_up=True)
        with Bar() as bar:
            try:
                return api.Whisper(config=config, on_download=bar, pool=self._pool)
            except DownloadError:
                raise
            except ModelError as e:
                if os.path.exists(config.model) or config.model in available_models():
                    raise
                raise ModelNotFound(f"Model {config.model} not found: {e}") from e

    def _some(self, dtype: torch.dtype) -> api.Whisper:
        """An engine of this precision that is there, else a spare one."""
        engine = self._engines.get(dtype) or self._spare.get(dtype)
        return engine or _keep(self._spare, dtype, self._built(dtype))

    def _drop(self) -> None:
        for engines in (self._engines, self._spare):
            while engines:
                engines.popitem()[1].close()

    @property
    def _network(self) -> Network:
        return self._some(self._dtype).network

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def is_multilingual(self) -> bool:
        return self.dims.n_vocab >= 51865

    @property
    def num_languages(self) -> int:
        return self.dims.n_vocab - 51765 - int(self.is_multilingual)

    def parameters(self) -> Iterator[nn.Parameter]:
        """To be counted or looked at: the engine decodes with them."""
        return self._network.parameters()

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._network.named_parameters()

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._network.state_dict())

    @property
    def training(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise _absent("Whisper", name)

    # --- where it is ------------------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> Whisper:
        """The model, on another device or in another precision: to(device), to(dtype), to(device, dtype), to(tensor).

        Weights are loaded there at the next use. Raises DeviceNotThere (a RuntimeError), OptionError for a
        precision other than float32 and float16.
        """
        device: Any = None
        dtype: Any = None
        for given in (*args[:2], kwargs.get("device"), kwargs.get("dtype"), kwargs.get("other")):
            if isinstance(given, Tensor):
                device, dtype = given.device, given.dtype
            elif isinstance(given, torch.dtype):
                dtype = given
            elif given is not None and not isinstance(given, bool):
                device = given
        if device is not None:
            there = _there(device)
            if there != self._device:
                self._drop()
                self._device = there
        if dtype is not None:
            if dtype not in DTYPES:
                raise OptionError(
                    f"dtype: {dtype} was given, torch.float32 or torch.float16 was expected here; "
                    'for bfloat16 use sottovoce.Whisper(model, compute="bfloat16")'
                )
            if dtype == torch.float16 and self._device.type == "cpu":
                warnings.warn(HALF_ON_CPU, stacklevel=3)
            self._dtype = dtype
        if self._device.type == "cpu":
            self._dtype = torch.float32
        return self

    def cuda(self, device: int | str | torch.device | None = None) -> Whisper:
        return self.to("cuda" if device is None else device)

    def cpu(self) -> Whisper:
        return self.to("cpu")

    def half(self) -> Whisper:
        """float16 where a call has no `fp16` of its own; the CPU stays with float32 and says so."""
        return self.to(torch.float16)

    def float(self) -> Whisper:
        """float32 where a call has no `fp16` of its own."""
        return self.to(torch.float32)

    def eval(self) -> Whisper:
        return self

    def train(self, mode: bool = True) -> Whisper:
        if mode:
            raise OptionError("train() was called, but this engine only decodes; train with openai-whisper itself")
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Whisper:
        return self.train(requires_grad)

    # --- the network ------------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> Encoder:
        return Encoder(self)

    @property
    def decoder(self) -> Decoder:
        return Decoder(self)

    def embed_audio(self, mel: Tensor) -> Tensor:
        """(B, 1500, C) encoded sound of (B, n_mels, 3000) log-mel, in the log-mel's dtype."""
        return self.encoder(mel)

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """(B, T, V) float32 scores after each of tokens (B, T), given encoded sound (B, 1500, C)."""
        return self.decoder(tokens, audio_features)

    def forward(self, mel: Tensor, tokens: Tensor) -> Tensor:
        return self.logits(tokens, self.embed_audio(mel))

    __call__ = forward

    transcribe = transcribe
    decode = decode
    detect_language = detect_language


def _keep(engines: dict[torch.dtype, api.Whisper], dtype: torch.dtype, made: api.Whisper) -> api.Whisper:
    """The engine that was kept first; of two threads that made one each, the later closes its own."""
    kept = engines.setdefault(dtype, made)
    if kept is not made:
        made.close()
    return kept


class Encoder:
    """The encoder of a model, without gradients. Runs in the caller's thread."""

    def __init__(self, model: Whisper) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, mel: Tensor) -> Tensor:
        features = encoded(self._model.engine(self._model.dtype == torch.float16), mel)
        return features.to(mel.dtype)

    def parameters(self) -> Iterator[nn.Parameter]:
        return self._model._network.encoder.parameters()

    def __getattr__(self, name: str) -> Any:
        raise _absent("Encoder", name)


class Decoder:
    """The decoder of a model over whole texts, without gradients and without cache. Runs in the caller's thread."""

    def __init__(self, model: Whisper) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, x: Tensor, xa: Tensor, kv_cache: dict[Any, Any] | None = None) -> Tensor:
        """(B, T, V) float32 scores after each of tokens x (B, T), given encoded sound xa (B, 1500, C)."""
        if kv_cache:
            raise OptionError(
                "kv_cache was given, but caches are the engine's own here; pass whole texts, or use decode"
            )
        decoder = self._model.engine(self._model.dtype == torch.float16).network.decoder
        weight = decoder.token_embedding.weight
        tokens = x.to(weight.device)
        positions = torch.arange(tokens.shape[1], device=weight.device).expand_as(tokens)
        whole = _WholeText(decoder.cross_kv(xa.to(weight.device, weight.dtype)))
        return decoder.logits(decoder(tokens, positions, whole))

    def parameters(self) -> Iterator[nn.Parameter]:
        return self._model._network.decoder.parameters()

    def __getattr__(self, name: str) -> Any:
        raise _absent("Decoder", name)


class _WholeText:
    """The network's cache where nothing is cached: all positions of all rows at once."""

    def __init__(self, cross: list[tuple[Tensor, Tensor]]) -> None:
        self._cross = cross

    def attend_self(self, i_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _attend(q, k, v, is_causal=True)

    def attend_cross(self, i_layer: int, q: Tensor) -> Tensor:
        return _attend(q, *self._cross[i_layer], is_causal=False)


def _attend(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
    return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal).transpose(1, 2)


def _absent(kind: str, name: str) -> AttributeError:
    return AttributeError(
        f"{kind!r} has no attribute {name!r} here: the modules of openai-whisper are not rebuilt and cannot be hooked. "
        "A model has transcribe, decode, detect_language, embed_audio, encoder, decoder, logits, parameters, state_dict"
    )


def _there(given: str | int | torch.device) -> torch.device:
    """The device that is meant, with its number, if it is there. Raises DeviceNotThere."""
    try:
        device = torch.device(given)
    except RuntimeError as e:
        raise DeviceNotThere(f"device: {given!r} was given, cpu, cuda, cuda:N or mps was expected; try cpu") from e
    try:
        choose(_named(device), "float32")
    except ConfigError as e:
        raise DeviceNotThere(str(e)) from e
    if device.type == "cuda":
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    return torch.device(device.type)


def _named(device: torch.device) -> str:
    return str(device) if device.type == "cuda" else device.type
