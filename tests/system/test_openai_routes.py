"""OpenAI's routes beyond what its clients look at: a model's life, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sottovoce.config import Config
from sottovoce.serving import Serving

from ..inhouse import Inhouse, served

pytestmark = pytest.mark.weights
KNOWN = Path(__file__).parents[2] / "src" / "sottovoce" / "audio" / "assets" / "known.ogg"
ROUTE = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def service() -> Iterator[Inhouse]:
    serving = Serving(unknown_fields="ignore", cache="none")
    with served(serving, Config(model="tiny", device="cpu", skip_warm_up=True)) as service:
        yield service


def ask(service: Inhouse, *, sound: bytes | None = None, **fields: str) -> httpx.Response:
    with service.client() as client:
        return client.post(ROUTE, files={"file": ("a", sound or KNOWN.read_bytes())}, data=fields)


def status(service: Inhouse, model: str) -> dict[str, Any]:
    with service.client() as client:
        found: dict[str, Any] = client.get(f"/v1/models/{model}/status").json()
        return found


def refused(answer: httpx.Response, status: int, code: str | None, param: str | None) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
    assert set(error) == {"message", "type", "param", "code"}


def events(lines: Iterator[str]) -> Iterator[Any]:
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def test_a_model_is_loaded_and_unloaded_with_events(service: Inhouse) -> None:
    with service.client() as client:
        assert status(service, "tiny.en")["state"] == "asleep"
        told = client.post("/v1/models/tiny.en/load", headers={"Accept": "text/event-stream"}).text
        kinds = [e["type"] for e in events(iter(told.splitlines()))]
        assert (kinds[0], kinds[-1]) == ("model.load.progress", "model.load.done")
        assert told.endswith("data: [DONE]\n\n")
        awake = status(service, "tiny.en")
        assert (awake["state"], awake["in_use"]) == ("awake", 0) and awake["memory_bytes"] > 0
        assert client.post("/v1/models/tiny.en/unload").json()["state"] == "asleep"
        assert client.post("/v1/models/tiny.en/pull").json()["disk_bytes"] > 0, "it is here already"


def test_the_served_model_may_sleep_and_is_woken_by_who_asks(service: Inhouse) -> None:
    with service.client() as client:
        assert client.post("/v1/models/whisper-1/unload").json()["state"] == "asleep"
        assert ask(service, model="whisper-1").status_code == 200
        assert client.post("/v1/models/tiny/load").json() | {"in_use": 0} == status(service, "tiny")
        refused(client.delete("/v1/models/tiny"), 423, "model_in_use", "model")


@pytest.mark.parametrize("name", ["no-such", "/etc/passwd", "..%2F..%2Fetc", "nobody/nothing", "~", "a%00b"])
def test_no_name_reaches_beyond_the_models_of_this_disk(service: Inhouse, name: str) -> None:
    with service.client() as client:
        refused(client.get(f"/v1/models/{name}"), 404, "model_not_found", "model")
        refused(client.delete(f"/v1/models/{name}"), 404, "model_not_found", "model")
        refused(client.post(f"/v1/models/{name}/load"), 404, "model_not_found", "model")
    refused(ask(service, model=name.replace("%00", "\0").replace("%2F", "/")), 404, "model_not_found", "model")


def test_models_are_left_alone_where_there_are_keys() -> None:
    assert Serving().manages_models
    assert not Serving(api_key="sk-" + "k" * 40).manages_models
    assert not Serving(host="0.0.0.0", open_to_all=True).manages_models
    assert Serving(api_key="sk-" + "k" * 40, manage_models="always").manages_models


def test_what_changes_nothing_is_named_in_a_header(service: Inhouse) -> None:
    answer = ask(
        service, colour="red", **{"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "1"}
    )
    assert answer.headers["x-sottovoce-ignored"] == "colour, chunking_strategy[threshold]"
    assert "x-sottovoce-ignored" not in ask(service).headers


def test_a_model_of_english_alone_refuses_to_translate(service: Inhouse) -> None:
    answer = ask(service, model="tiny.en", task="translate", stream="true")
    assert answer.status_code == 400 and "English only" in answer.json()["error"]["message"]


def test_json_and_missing_forms_are_refused_in_one_shape(service: Inhouse) -> None:
    with service.client() as client:
        for more in ({"json": {}}, {"content": b"abc"}, {"data": {"model": "tiny"}}, {"files": {"sound": b"abc"}}):
            answer = client.post(ROUTE, **more)
            assert answer.status_code in (400, 415), answer.text
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        for method in ("GET", "PUT", "OPTIONS", "DELETE"):
            refused(client.request(method, ROUTE), 405, "method_not_allowed", None)
        assert client.head(ROUTE).status_code == 405
