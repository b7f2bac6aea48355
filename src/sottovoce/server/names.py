"""Which model a request means: an alias, the served one, or one on this disk. No name of a client's opens a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from sottovoce.config import Config
from sottovoce.model import hub, networks
from sottovoce.server.failures import Kind, RequestError
from sottovoce.serving import Serving

# 423 and not 409: clients try that again at once, and whoever holds a model holds it for longer
IN_USE = Kind(423, code="model_in_use")
UNKNOWN = Kind(404, code="model_not_found")


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that means a model. model: as it is loaded."""

    name: str
    model: str


def aliases(config: Config, serving: Serving) -> list[Alias]:
    """The names that mean another, in the order in which they are configured."""
    names = [text.strip().partition("=")[0] for text in serving.aliases.split(",") if text.strip()]
    return [Alias(name, serving.model_of(name, config.model)) for name in dict.fromkeys(names)]


def resolved(name: str, config: Config, serving: Serving) -> str:
    """The model that a name means, as it is loaded; "" is the served one. Reads manifests on this disk.

    Raises RequestError (404) for what is neither an alias, nor the served model, nor on this disk.
    """
    if not name or same(name, config.model) or name == shown(config.model):
        return config.model
    targets = {alias.name: alias.model for alias in aliases(config, serving)}
    if name in targets:
        return targets[name]
    if name in targets.values():
        return name
    there = {line.name for line in stored(config)}
    card = hub.find(name) or next((card for card in hub.CATALOGUE if name in (card.hub, card.hub_ct2)), None)
    found = card.name if card else name
    if found in there:
        return found
    known = ", ".join(sorted({*there, *targets}))
    remedy = "or have it fetched by `sottovoce models pull` where the service runs"
    raise RequestError(f"model: {name[:80]!r} was given, one of {known} was expected; {remedy}", UNKNOWN, "model")


def stored(config: Config) -> list[hub.OnDisk]:
    """The Whisper models on this disk; other networks are none."""
    return [line for line in hub.listing(config) if networks.find(line.name) is None]


def shown(model: str) -> str:
    """What clients are told of a model's name: of a path on this machine its last part."""
    is_path = hub.find(model) is None and (model.startswith((".", "~")) or PurePath(model).is_absolute())
    return PurePath(model).name if is_path else model


def same(a: str, b: str) -> bool:
    """Do two names mean one model, by the catalogue?"""
    return a == b or (hub.find(a) is not None and hub.find(a) is hub.find(b))
