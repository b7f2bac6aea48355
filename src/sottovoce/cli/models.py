"""`sottovoce models`: what is published, what is on this disk, and what may be done with it. Asks model.hub."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sottovoce.cli.exits import Exit, exit_of, said, worst
from sottovoce.cli.options import ModelName, config_of, settings, start_log
from sottovoce.cli.screen import Screen
from sottovoce.cli.tables import print_json, print_table, size
from sottovoce.config import Config
from sottovoce.errors import SottovoceError

if TYPE_CHECKING:
    from sottovoce.model.hub import Card, OnDisk
    from sottovoce.model.networks import Network

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "normalizer.json",
    "special_tokens_map.json",
)

names = click.argument("names", nargs=-1, required=True, metavar="MODEL...", type=ModelName())
as_json = click.option("--json", "as_json", is_flag=True, help="for programs")


@click.group()
def models() -> None:
    """List, fetch, show, verify, remove and export models.

    MODEL is a name of `sottovoce models list --all`, a Hugging Face repository id, a folder or a file.
    """


@models.command("list")
@click.option("--all", "-a", "all_", is_flag=True, help="also what is published and not on this disk")
@as_json
@settings("model_dir", "log_level")
def list_(all_: bool, as_json: bool, **given: Any) -> None:
    """List the models on this disk."""
    from sottovoce.model.hub import CATALOGUE, listing
    from sottovoce.model.networks import NETWORKS

    _, config = _begin(given)
    stored = listing(config)
    there = {line.name for line in stored}
    cards = [card for card in CATALOGUE if all_ and card.name not in there]
    networks = [network for network in NETWORKS if all_ and network.name not in there]
    if as_json:
        published = [_card_json(card) for card in cards] + [_network_json(network) for network in networks]
        print_json([_stored_json(line) for line in stored] + published)
        return
    if not stored and not cards:
        click.echo("no model is on this disk; see: sottovoce models list --all", err=True)
        return
    heads = ("model", "size", "form", "revision", "source", "sha-256", "last use")
    rows = [
        (s.name, size(s.size_bytes), s.form, s.revision or "", s.source, s.sha256[:12], _ago(s.last_use))
        for s in stored
    ]
    sizes = [(c.name, c.size_bytes) for c in cards] + [(n.name, n.size_bytes) for n in networks]
    print_table(heads, rows + [(name, size(n_bytes), "", "", "", "", "not on this disk") for name, n_bytes in sizes])


@models.command()
@names
@settings("revision", "model_dir", "sources", "offline", "log_level")
def pull(names: tuple[str, ...], **given: Any) -> int:
    """Fetch models, verified, from the first source that serves them."""
    from sottovoce.model.hub import fetch

    screen, config = _begin(given)

    def one(name: str) -> str:
        with screen.fetching(name) as on_progress:
            files = fetch(name, config, on_progress)
        return f"{name}: {files.path} ({files.form} from {files.source})"

    return _each(screen, names, one)


@models.command()
@click.argument("name", metavar="MODEL", type=ModelName())
@as_json
@settings("revision", "model_dir", "log_level")
def show(name: str, as_json: bool, **given: Any) -> None:
    """Say all that is known of a model: as it is published, and as it is on this disk."""
    from sottovoce.model import hub, networks

    _, config = _begin(given)
    card, network = hub.find(name), networks.find(name)
    key = card.name if card else name
    published = _card_json(card) if card else _network_json(network) if network else {}
    if not published or key in {line.name for line in hub.listing(config)}:
        facts = _stored_json(hub.show(name, config)) | published | {"on_this_disk": True}
    else:
        facts = published
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        for i, text in enumerate(value if isinstance(value, list) else [value]):
            label = "" if i else key.replace("_", " ")
            click.echo(f"{label:16} {'-' if text is None else text}")


@models.command()
@click.argument("names", nargs=-1, metavar="[MODEL...]", type=ModelName())
@settings("revision", "model_dir", "log_level")
def verify(names: tuple[str, ...], **given: Any) -> int:
    """Read every byte of models on this disk again, and compare their hashes. Without a name: of all."""
    from sottovoce.model import hub

    screen, config = _begin(given)

    def one(name: str) -> str:
        line = hub.verify(name, config)
        return f"{name}: as it was published, {size(line.size_bytes)}, SHA-256 {line.sha256}"

    return _each(screen, names or tuple(line.name for line in hub.listing(config)), one)


@models.command()
@names
@settings("revision", "model_dir", "log_level")
def remove(names: tuple[str, ...], **given: Any) -> int:
    """Delete models that sottovoce fetched. Folders of your own and the hub's cache are left as they are."""
    from sottovoce.model import hub

    screen, config = _begin(given)

    def one(name: str) -> str:
        line = hub.remove(name, config)
        return f"{name}: removed ({size(line.size_bytes)} from {line.source})"

    return _each(screen, names, one)


@models.command()
@click.argument("name", metavar="MODEL", type=ModelName())
@click.argument("target", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["safetensors", "pt"]),
    default="safetensors",
    show_default=True,
    help="safetensors: a folder for transformers; pt: a file for openai-whisper",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="of the numbers in the file; float32 keeps every bit",
)
@settings("revision", "model_dir", "sources", "offline", "log_level")
def export(name: str, target: Path, to: str, precision: str, **given: Any) -> None:
    """Write a model's weights in a form that other programs load."""
    from sottovoce.model import export as exports
    from sottovoce.model import hub, modules
    from sottovoce.text.tokenizer import Tokenizer, suppressed

    screen, config = _begin(given)
    with screen.fetching(name) as on_progress:
        files = hub.fetch(name, config, on_progress)
    heads = files.card.alignment_heads if files.card else None
    network = modules.load(files.path, dtype=modules.DTYPES[precision], alignment_heads=heads)
    if to == "pt":
        exports.export_pt(network, target, modules.DTYPES[precision])
    else:
        tokenizer = Tokenizer(network.dims.n_vocab)
        exports.export_safetensors(
            network,
            target,
            languages=tokenizer.language_codes if tokenizer.multilingual else (),
            suppress=suppressed(tokenizer, (-1,)),
            suppress_first=(*tokenizer.encode(" "), tokenizer.eot),
            extra_files=_tokenizer_files(files.path),
        )
    click.echo(f"{name}: {target} ({to}, {precision})")


def _tokenizer_files(path: Path) -> dict[str, bytes]:
    """What lies beside the weights that a tokenizer of transformers is made of."""
    folder = path if path.is_dir() else path.parent
    return {name: (folder / name).read_bytes() for name in TOKENIZER if (folder / name).is_file()}


def _begin(given: dict[str, Any]) -> tuple[Screen, Config]:
    config = config_of(given)
    screen = Screen()
    start_log(config, screen.write)
    return screen, config


def _each(screen: Screen, names: tuple[str, ...], one: Any) -> int:
    """Do one thing with each model; one that fails does not stop the others."""
    exits: list[Exit] = []
    for name in names:
        try:
            click.echo(one(name))
        except SottovoceError as e:
            screen.error(said(e, name))
            exits.append(exit_of(e))
    return worst(exits)


def _stored_json(line: OnDisk) -> dict[str, Any]:
    return {
        "name": line.name,
        "on_this_disk": True,
        "path": str(line.path),
        "form": line.form,
        "revision": line.revision,
        "source": line.source,
        "sha256": line.sha256,
        "size_bytes": line.size_bytes,
        "fetched": line.fetched,
        "last_use": line.last_use.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _card_json(card: Card) -> dict[str, Any]:
    published = [f"hub {repo}" for repo in (card.hub, card.hub_ct2) if repo]
    published += [f"openai {card.url}"] if card.url else []
    return {
        "name": card.name,
        "on_this_disk": False,
        "aliases": list(card.aliases),
        "languages": card.n_languages,
        "parameters": card.n_parameters,
        "published_bytes": card.size_bytes,
        "published_at": published + [str(package) for package in card.packages],
    }


def _network_json(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "on_this_disk": False,
        "does": network.does,
        "license": network.license,
        "sha256": network.sha256,
        "published_bytes": network.size_bytes,
        "published_at": [f"hub {repo}" for repo, _ in network.hub] + [str(package) for package in network.packages],
    }


def _ago(when: datetime) -> str:
    s = (datetime.now(UTC) - when).total_seconds()
    for unit_s, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if s >= 2 * unit_s:
            return f"{s / unit_s:.0f} {name} ago"
    return "just now"
