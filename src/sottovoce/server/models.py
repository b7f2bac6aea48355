"""OpenAI's model routes, and beside them: load, unload, pull and status. Which names there are: names.py.

Source: openai-python resources/models.py, types/model.py, types/model_deleted.py (3.3.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from sottovoce.errors import DownloadError
from sottovoce.model import hub, networks
from sottovoce.server import document, failures, names, streaming
from sottovoce.server.failures import BY_STATUS, Kind, RequestError
from sottovoce.server.house import House
from sottovoce.server.names import Alias, resolved, shown, stored
from sottovoce.waking import key_of

router = APIRouter(prefix="/v1/models", tags=["models"])
LOOK_S = 0.5  # between two looks at how far a work has come
Report = Callable[[int, int, str], None]


class Model(BaseModel):
    """A model that may be asked for. created: when it came here, seconds since 1970. alias_of: what it means."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    alias_of: str | None = None


class ModelList(BaseModel):
    """Every model on this disk, and every alias."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(BaseModel):
    """A model that is on this disk no more."""

    id: str
    object: Literal["model"] = "model"
    deleted: bool = True


class ModelStatus(BaseModel):
    """How a model stands. memory_bytes: on each of its devices, while it is awake. in_use: by how many requests."""

    id: str
    object: Literal["model.status"] = "model.status"
    model: str
    state: Literal["absent", "asleep", "loading", "awake", "leaving"]
    disk_bytes: int | None = None
    memory_bytes: int | None = None
    devices: list[str] | None = None
    compute: str | None = None
    in_use: int = 0


@router.get("", response_model=ModelList, response_model_exclude_none=True)
async def list_models(request: Request) -> ModelList:
    """The models that may be asked for."""
    return ModelList(data=await asyncio.to_thread(_models, _house(request)))


@router.get("/{id:path}/status", response_model=ModelStatus, response_model_exclude_none=True)
async def status(request: Request, id: str) -> ModelStatus:
    """How a model stands: absent, asleep, loading, awake."""
    return await asyncio.to_thread(_status, _house(request), id)


@router.get("/{id:path}", response_model=Model, response_model_exclude_none=True)
async def retrieve(request: Request, id: str) -> Model:
    """One model."""
    house = _house(request)
    for model in await asyncio.to_thread(_models, house):
        if model.id == id:
            return model
    target = await house.named(id)  # another spelling, or 404
    return next(m for m in await asyncio.to_thread(_models, house) if m.id == shown(target))


@router.delete("/{id:path}", response_model=ModelDeleted)
async def delete(request: Request, id: str) -> ModelDeleted:
    """Take a model off this disk. The served one stays."""
    house = _managed(request)
    target = await house.named(id)
    if target == house.config.model:
        what = f"{id} was given, which is the model that is served; another was expected"
        raise RequestError(f"model: {what}", names.IN_USE, "model")
    if names.same(id, target):
        await house.unload(target)
        await asyncio.to_thread(hub.remove, target, house.config)
        return ModelDeleted(id=id)
    raise RequestError(f"model: {id} was given, an alias of {shown(target)}; delete that", Kind(400), "model")


@router.post("/{id:path}/load", response_model=ModelStatus, response_model_exclude_none=True, responses=document.EVENTS)
async def load(request: Request, id: str, stream: bool = False) -> Response:
    """Have a model awake. With stream, or where events are accepted: progress while it loads."""
    house = _house(request)
    target = await house.named(id)

    async def work(report: Report) -> None:
        await house.load(target)

    return await _worked(request, house, id, "load", work, stream)


@router.post("/{id:path}/unload", response_model=ModelStatus, response_model_exclude_none=True)
async def unload(request: Request, id: str) -> ModelStatus:
    """Put a model to sleep that nobody uses; 423 while somebody does. Who asks for it wakes it again."""
    house = _managed(request)
    await house.unload(id)
    return await asyncio.to_thread(_status, house, id)


@router.post("/{id:path}/pull", response_model=ModelStatus, response_model_exclude_none=True, responses=document.EVENTS)
async def pull(request: Request, id: str, stream: bool = False) -> Response:
    """Fetch a model that is published. With stream, or where events are accepted: progress in bytes."""
    house = _managed(request)
    if not is_published(id):
        what = f"{id[:80]!r} was given, a name of the catalogue or a hub repository was expected"
        raise RequestError(f"model: {what}; see `sottovoce models list --all`", names.UNKNOWN, "model")

    async def work(report: Report) -> None:
        def attentive(done: int, total: int, source: str) -> None:
            if house.closing:
                raise DownloadError("the service is stopping")
            report(done, total, source)

        await asyncio.get_running_loop().run_in_executor(house.fetcher, hub.fetch, id, house.config, attentive)

    return await _worked(request, house, id, "pull", work, stream)


def is_published(name: str) -> bool:
    """Does a name say where a model is published, and not where it lies on this machine?"""
    return hub.find(name) is not None or (networks.find(name) is None and hub.is_repo_id(name) and shown(name) == name)


# --- work that takes a while ----------------------------------------------------------------------------------------


async def _worked(
    request: Request, house: House, id: str, verb: str, work: Callable[[Report], Awaitable[None]], stream: bool
) -> Response:
    if stream or "text/event-stream" in request.headers.get("accept", ""):
        return streaming.EventStream(_progress(house, id, verb, work))
    await work(lambda done, total, source: None)
    made = await asyncio.to_thread(_status, house, id)
    return JSONResponse(made.model_dump(exclude_none=True))


async def _progress(
    house: House, id: str, verb: str, work: Callable[[Report], Awaitable[None]]
) -> AsyncGenerator[bytes, None]:
    """The events of a work: how far it has come, and at its end how the model stands, or what went wrong."""
    known: list[tuple[int, int, str]] = []
    n_told, silent_s = 0, 0.0
    task = asyncio.ensure_future(work(lambda done, total, source: known.append((done, total, source))))
    task.add_done_callback(lambda t: t.cancelled() or t.exception())  # it goes on when nobody listens any more
    yield streaming.event({"type": f"model.{verb}.progress", "id": id, "done_bytes": 0})
    while not task.done():
        await asyncio.wait({task}, timeout=LOOK_S)
        silent_s += LOOK_S
        if len(known) > n_told:
            n_told, silent_s = len(known), 0.0
            done, total, source = known[-1]
            told: dict[str, Any] = {"type": f"model.{verb}.progress", "id": id, "done_bytes": done, "source": source}
            yield streaming.event(told | ({"total_bytes": total} if total else {}))
        elif silent_s >= streaming.PING_S:
            silent_s = 0.0
            yield streaming.PING
    if (error := task.exception()) is not None:
        failures.log_if_bug(error)
        yield streaming.failed(error)
    else:
        made = await asyncio.to_thread(_status, house, id)
        yield streaming.event({"type": f"model.{verb}.done", "model": made.model_dump(exclude_none=True)})
    yield streaming.DONE


# --- what there is --------------------------------------------------------------------------------------------------


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _managed(request: Request) -> House:
    house = _house(request)
    if not house.serving.manages_models:
        what = "models are not managed over HTTP here; start the service with --manage-models always"
        raise RequestError(what, BY_STATUS[403])
    return house


def _models(house: House) -> list[Model]:
    """Those on this disk, the served one, and aliases, each once."""
    there = stored(house.config)
    created = {line.name: _seconds(line.fetched) for line in there}
    found = {name: Model(id=name, created=created[name], owned_by=_owner(name)) for name in created}
    served = shown(house.config.model)
    card = hub.find(served)
    if (card.name if card else served) not in found:
        found[served] = Model(id=served, created=house.since, owned_by=_owner(served))
    for alias in names.aliases(house.config, house.serving):
        if alias.name not in found:
            found[alias.name] = _alias(alias, created, house.since)
    return [found[name] for name in sorted(found)]


def _alias(alias: Alias, created: dict[str, int], since: int) -> Model:
    card = hub.find(alias.model)
    of = card.name if card else alias.model
    return Model(id=alias.name, created=created.get(of, since), owned_by="sottovoce", alias_of=shown(of))


def _owner(name: str) -> str:
    card = hub.find(name)
    repo = card.hub or name if card else name
    return repo.partition("/")[0] if "/" in repo else "openai" if card else "user"


def _seconds(fetched: str) -> int:
    try:
        return int(datetime.fromisoformat(fetched).timestamp())
    except ValueError:
        return 0


def _status(house: House, id: str) -> ModelStatus:
    """Raises RequestError (404) for a name that is neither here nor published."""
    try:
        target = resolved(id, house.config, house.serving)
    except RequestError:
        if hub.find(id) is None:
            raise
        return ModelStatus(id=id, model=id, state="absent")
    place = house.pool.place(key_of(house.config.with_(model=target)))
    card = hub.find(target)
    line = next((line for line in stored(house.config) if line.name == (card.name if card else target)), None)
    model = place.model
    return ModelStatus(
        id=id,
        model=shown(target),
        state=place.state,
        disk_bytes=line.size_bytes if line else None,
        memory_bytes=model.n_bytes if model else None,
        devices=list(model.devices) if model else None,
        compute=model.choice.compute if model else None,
        in_use=place.n_held - house.holds(target),
    )
