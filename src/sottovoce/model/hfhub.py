"""The Hugging Face hub by its own library: its cache, token, mirror and offline switch are the user's own.

`huggingface_hub` is imported where it is used: a model that is stored already must not wait for an HTTP stack.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sottovoce.errors import DownloadError, ModelError
from sottovoce.model import download, forms, store
from sottovoce.model.networks import Network

log = logging.getLogger(__name__)

REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
HASH = re.compile(r"[0-9a-f]{64}")
ANSWER_S = 10  # for one question about a repository
SETTING = "HF_HOME"
COMPANIONS = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json")
MORE = ("merges.txt", "added_tokens.json", "normalizer.json", "vocabulary.json", "vocabulary.txt")


def is_repo_id(name: str) -> bool:
    """Does this look like org/name?"""
    return REPO_ID.fullmatch(name) is not None


def is_offline() -> bool:
    """Has the user switched the hub off? Read as huggingface_hub reads it, without importing it."""
    given = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return given.upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """The hub, or the mirror that stands for it."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def fetch(
    name: str,
    repos: tuple[str, ...],
    folder: Path,
    revision: str | None,
    offline: bool,
    on_progress: store.Progress | None,
) -> store.Manifest:
    """The manifest of files in the hub's own cache, brought there if need be, from the first repository that serves.

    Raises DownloadError if none does.
    """
    why_not = "offline, and not in the hub's cache" if offline else download.unreachable(endpoint())
    reasons = []
    for repo in repos:
        try:
            if why_not is None:
                return _fetch(name, repo, folder, revision, on_progress)
            if found := _cached(name, repo, folder, revision):
                return found
        except DownloadError as e:
            log.info("%s: %s did not serve it: %s", name, repo, e)
            reasons.append(f"{repo}: {e}")
    raise DownloadError("; ".join(reasons) or why_not or "the hub has no repository for it")


def fetch_network(network: Network, folder: Path, offline: bool, on_progress: store.Progress | None) -> store.Manifest:
    """The manifest of a network's file in the hub's own cache, as `fetch`; its hash is ours to know."""
    if not network.hub:
        raise DownloadError("the hub has no repository for it")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    transport: type[Exception] = HfHubHTTPError.__mro__[1]
    why_not = "offline, and not in the hub's cache" if offline else None
    reasons = []
    for repo, file in network.hub:
        try:
            cached = huggingface_hub.try_to_load_from_cache(repo, file)
            why_not = why_not or (None if isinstance(cached, str) else download.unreachable(endpoint()))
            if not isinstance(cached, str):
                if why_not:
                    raise DownloadError(why_not)
                with store.writing(Path(huggingface_hub.constants.HF_HUB_CACHE), SETTING):
                    cached = huggingface_hub.hf_hub_download(repo, file)
            path = Path(cached)
            held = _prove([path], folder, {path.name: network.sha256})
            if on_progress:
                on_progress(network.size_bytes, network.size_bytes, "hub")
            revision = path.parent.name
            return store.Manifest(network.name, network.form, f"hub {repo}", revision, str(path), store.now(), held)
        except (DownloadError, OSError, ValueError, RuntimeError, transport) as e:
            log.info("%s: %s did not serve it: %s", network.name, repo, e)
            reasons.append(f"{repo}: {e}")
    raise DownloadError("; ".join(reasons))


def _fetch(
    name: str, repo: str, folder: Path, revision: str | None, on_progress: store.Progress | None
) -> store.Manifest:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    # the root of errors of whichever HTTP library this huggingface_hub speaks
    transport: type[Exception] = HfHubHTTPError.__mro__[1]
    cache = Path(constants.HF_HUB_CACHE)
    try:
        with store.writing(cache, SETTING):
            info = HfApi().model_info(repo, revision=revision, timeout=ANSWER_S, files_metadata=True)
            return _bring(name, repo, info, folder, cache, revision, on_progress)
    except (OSError, ValueError, RuntimeError, transport) as e:
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        told = " ".join(lines[:2]) or type(e).__name__
        raise DownloadError(f"{told} (set HF_TOKEN if the repository is private or gated)") from e


def _bring(
    name: str, repo: str, info: Any, folder: Path, cache: Path, revision: str | None, on_progress: store.Progress | None
) -> store.Manifest:
    import huggingface_hub

    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings}
    hashes = {entry.rfilename: entry.lfs.sha256 for entry in info.siblings if entry.lfs}
    form, weights = _choose(repo, sizes)
    wanted = [*weights, *(file for file in (*COMPANIONS, *MORE) if file in sizes)]
    done = 0

    def report(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if on_progress:
            on_progress(done, sum(sizes[file] for file in wanted), "hub")

    options = {}
    if "tqdm_class" in inspect.signature(huggingface_hub.hf_hub_download).parameters:
        options["tqdm_class"] = _bar(report)

    def get(file: str) -> Path:
        # config.json by the name of the revision, so that the cache knows the name offline too; the rest by its commit
        at = revision if file == "config.json" else info.sha
        return Path(huggingface_hub.hf_hub_download(repo, file, revision=at, **options))

    if weights[0].endswith(".index.json"):
        shards = [path.name for path in forms.shards(get(weights[0]))]
        weights = tuple(shards)
        wanted = [*weights, *wanted]
        sizes = {file: 0 for file in shards} | sizes
    missing = [f for f in wanted if not huggingface_hub.try_to_load_from_cache(repo, f, revision=info.sha)]
    store.need(cache, sum(sizes[file] for file in missing), SETTING)
    paths = {file: get(file) for file in wanted}
    held = _prove([paths[file] for file in dict.fromkeys(wanted)], folder, hashes)
    at = paths[weights[0]] if form in ("pt", "ggml") else paths[weights[0]].parent
    return store.Manifest(name, form, f"hub {repo}", info.sha, str(at), store.now(), held)


def _choose(repo: str, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """(form, files of the weights) of what a repository offers; safetensors before all else."""
    there = set(names)
    for form, file in (
        ("safetensors", "model.safetensors"),
        ("safetensors", "model.safetensors.index.json"),
        ("ct2", "model.bin"),
    ):
        if file in there and "config.json" in there:
            return form, (file,)
    single = [f for f in there if "/" not in f and (f.endswith(".pt") or re.fullmatch(r"ggml.*\.bin", f))]
    if len(single) == 1:
        return ("pt" if single[0].endswith(".pt") else "ggml"), (single[0],)
    expected = "model.safetensors, model.bin (CTranslate2), or a single .pt or ggml file was expected"
    raise DownloadError(f"{repo} holds no weights in a known form; {expected}")


def _cached(name: str, repo: str, folder: Path, revision: str | None) -> store.Manifest | None:
    """What the hub's cache holds already, without asking anybody."""
    import huggingface_hub

    config = huggingface_hub.try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    try:
        form, at = forms.form_of(snapshot)
    except ModelError as e:
        raise DownloadError(f"the hub's cache holds it in part only: {e}") from e
    weights = forms.weights_of(at)
    if missing := [path.name for path in weights if not path.exists()]:
        raise DownloadError(f"the hub's cache holds it in part only: {', '.join(missing)} not there")
    others = [path for path in sorted(snapshot.iterdir()) if path.is_file() and path not in weights]
    held = _prove([*weights, *others], folder, {})
    return store.Manifest(name, form, f"hub {repo}", snapshot.name, str(at), store.now(), held)


def _prove(paths: Iterable[Path], folder: Path, hashes: dict[str, str]) -> tuple[store.Held, ...]:
    """Read every byte once, and compare with the hash that the hub gives: in its answer, or as the name of the blob."""
    held = []
    for path in paths:
        entry = store.hold(path, folder)
        blob = path.resolve().name
        expected = hashes.get(path.name) or (blob if HASH.fullmatch(blob) else None)
        if expected and entry.sha256 != expected:
            remedy = "it was left as it is; delete it from the hub's cache (hf cache rm) and run this again"
            raise DownloadError(f"{path}: SHA-256 is {entry.sha256}, the hub's is {expected}; {remedy}")
        held.append(entry)
    return tuple(held)


def _bar(report: Callable[[int], None]) -> Any:
    """A progress bar of the library's kind that draws nothing and reports bytes."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
        def __init__(self, *args: Any, **given: Any) -> None:
            given.pop("name", None)
            given["disable"] = True
            super().__init__(*args, **given)
            report(int(given.get("initial") or 0))

        def update(self, n: float | None = 1) -> bool | None:
            report(int(n or 0))
            return None

    return Bar
