"""A real server: who has no key stays out, who has one gets what it allows, and pages of elsewhere get nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sottovoce.server.keys import KeyFile, made
from sottovoce.serving import Serving

from ..commands import KNOWN
from ..inhouse import Inhouse, served, wait_until

pytestmark = pytest.mark.weights
ROUTE = "/v1/audio/transcriptions"
KNOWN_S = 3.0  # it is longer


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.toml")
    file.add(made("first", datetime.now(UTC))[1])
    return file


@pytest.fixture(scope="module")
def guarded(file: KeyFile) -> Iterator[Inhouse]:
    with served(Serving(keys=str(file.path), slots=1, queue=1)) as service:
        yield service


@pytest.fixture(scope="module")
def open_() -> Iterator[Inhouse]:
    with served(Serving(cors_origins="https://talk.example")) as service:
        yield service


def key_of(file: KeyFile, name: str, **limits: Any) -> str:
    secret, key = made(name, datetime.now(UTC), **limits)
    file.add(key)
    return secret


def post(client: httpx.Client, model: str = "whisper-1", **more: Any) -> httpx.Response:
    headers = {"Cache-Control": "no-store"} | more.pop("headers", {})  # each is work of its own
    files = {"file": ("a.ogg", KNOWN.read_bytes())}
    return client.post(ROUTE, files=files, data={"model": model}, headers=headers, **more)


def told(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["type"], error["code"]


def test_without_a_key_one_learns_only_that_it_is_alive(guarded: Inhouse) -> None:
    with guarded.client() as client:
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        for method, path in (("POST", ROUTE), ("GET", "/metrics"), ("GET", "/v1/models"), ("GET", "/no/such/route")):
            answer = client.request(method, path)
            assert told(answer) == (401, "invalid_request_error", "invalid_api_key")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    with guarded.client("sk-wrong") as client:
        assert told(post(client)) == (401, "invalid_request_error", "invalid_api_key")


def test_a_large_upload_without_a_key_is_answered_before_it_is_read(guarded: Inhouse) -> None:
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guarded.port), 10) as connection:
        connection.sendall(head.encode() + b"x" * 100)
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_the_official_client_is_let_in_and_kept_out(guarded: Inhouse, file: KeyFile) -> None:
    key = key_of(file, "official", requests_per_minute=2)
    with openai.OpenAI(api_key=key, base_url=f"{guarded.url}/v1", max_retries=0) as client:
        assert client.audio.transcriptions.create(model="whisper-1", file=KNOWN).text
        raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=KNOWN)
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as limited:
            client.audio.transcriptions.create(model="whisper-1", file=KNOWN)
        assert limited.value.code == "rate_limit_exceeded"
        assert 0 < int(limited.value.response.headers["Retry-After"]) <= 30
    with openai.OpenAI(api_key="sk-wrong", base_url=f"{guarded.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            client.audio.transcriptions.create(model="whisper-1", file=KNOWN)
        assert unknown.value.code == "invalid_api_key"


def test_the_official_client_asks_again_when_it_may(guarded: Inhouse, file: KeyFile) -> None:
    """It obeys Retry-After; 120 a minute, so that the second comes half a second later."""
    key = key_of(file, "patient", requests_per_minute=120)
    with openai.OpenAI(api_key=key, base_url=f"{guarded.url}/v1", max_retries=2) as client:
        client.audio.transcriptions.create(model="whisper-1", file=KNOWN)
        caller = guarded.app.state.callers._callers["patient"]
        guarded.call(lambda: setattr(caller, "_n_left", -1.0))  # as if it had asked 120 times
        assert client.audio.transcriptions.create(model="whisper-1", file=KNOWN).text


def test_a_key_is_for_its_models(guarded: Inhouse, file: KeyFile) -> None:
    with guarded.client(key_of(file, "narrow", models=("tiny",))) as client:
        answer = post(client)
        assert told(answer) == (403, "invalid_request_error", "permission_denied")
        assert answer.json()["error"]["param"] == "model"
    with guarded.client(key_of(file, "by-alias", models=("whisper-1",))) as client:
        assert post(client).status_code == 200
    with guarded.client(key_of(file, "by-name", models=("base", "tiny.en"))) as client:
        assert post(client).status_code == 200


def test_models_are_managed_by_admins(guarded: Inhouse, file: KeyFile) -> None:
    with guarded.client(key_of(file, "user")) as client:
        for method, path in (("DELETE", "/v1/models/base"), ("POST", "/v1/models/org/name/unload")):
            assert told(client.request(method, path)) == (403, "invalid_request_error", "permission_denied")
    with guarded.client(key_of(file, "admin", admin=True)) as client:
        answer = client.post("/v1/models/no/such/unload")  # what the service itself allows is another setting
        assert "admin may not" not in answer.text


def test_the_sound_of_a_day_has_an_end(guarded: Inhouse, file: KeyFile) -> None:
    with guarded.client(key_of(file, "short", audio_s_per_day=1.5 * KNOWN_S + 3)) as client:
        first = post(client)
        assert first.status_code == 200
        assert float(first.headers["x-ratelimit-limit-audio-seconds"]) == 1.5 * KNOWN_S + 3
        for _ in range(4):
            answer = post(client)
            if answer.status_code != 200:
                break
        assert told(answer) == (429, "insufficient_quota", "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["Retry-After"]) > 0


def test_a_key_that_is_disabled_is_refused_at_once(guarded: Inhouse, file: KeyFile) -> None:
    with guarded.client(key_of(file, "gone")) as client:
        assert post(client).status_code == 200
        file.change("gone", disabled=True)
        assert told(post(client)) == (401, "invalid_request_error", "invalid_api_key")


def test_a_full_house_says_when_to_come_again(guarded: Inhouse, file: KeyFile) -> None:
    """One in work, one waits (slots=1, queue=1); the third is told, and its key's own limit is another matter."""
    key, other = key_of(file, "many"), key_of(file, "single", concurrency=1)
    turnstile = guarded.house.turnstile
    answers: list[httpx.Response] = []

    def ask(secret: str) -> threading.Thread:
        def run() -> None:
            with guarded.client(secret) as client:
                answers.append(post(client))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    held = turnstile.n_slots
    threads = []
    try:
        guarded.call(lambda: setattr(turnstile, "n_slots", 0))  # as if they were taken
        threads.append(ask(other))
        wait_until(lambda: turnstile.n_waiting == 1)
        with guarded.client(other) as client:
            assert told(post(client)) == (429, "rate_limit_error", "concurrency_exceeded")
        with guarded.client(key) as client:
            answer = post(client)
            assert told(answer) == (503, "server_error", "queue_full")
            assert int(answer.headers["Retry-After"]) >= 1
    finally:
        guarded.call(lambda: setattr(turnstile, "n_slots", held))
        for thread in threads:
            thread.join(60)
    assert [answer.status_code for answer in answers] == [200]
    turnstile.check()


# --- without keys ---------------------------------------------------------------------------------------------------


def test_this_machine_needs_no_key(open_: Inhouse) -> None:
    with open_.client() as client:
        assert post(client).status_code == 200
    with open_.client("sk-whatever") as client:
        assert post(client).status_code == 200, "clients insist on having one"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:8000"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_a_web_page_of_elsewhere_may_not_ask(open_: Inhouse, headers: dict[str, str]) -> None:
    """A page that is open in a browser on this machine reaches 127.0.0.1 too, if need be by a DNS name of its own."""
    with open_.client() as client:
        assert told(post(client, headers=headers)) == (403, "invalid_request_error", "permission_denied")


def test_a_web_page_that_was_told_of_may_ask(open_: Inhouse) -> None:
    page = {"Origin": "https://talk.example"}
    with open_.client() as client:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        may = client.options(ROUTE, headers=page | asks)
        assert may.status_code == 200
        assert may.headers["access-control-allow-origin"] == "https://talk.example"
        answer = post(client, headers=page)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://talk.example")
        own = post(client, headers={"Origin": open_.url})
        assert own.status_code == 200
        refused = client.options(ROUTE, headers={"Origin": "https://evil.example"} | asks)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


def test_who_asks_from_elsewhere_names_no_file_and_no_expression(
    guarded: Inhouse, file: KeyFile, tmp_path: Path
) -> None:
    """A path among the options of our own route would have been read, and its first line told in the error."""
    (tmp_path / "secret").write_text("a word that nobody may see\n")
    sound = {"file": ("a.ogg", KNOWN.read_bytes())}
    with guarded.client(key_of(file, "reader")) as client:
        options = json.dumps({"replacements": str(tmp_path / "secret")})
        answer = client.post("/v1/transcripts", files=sound, data={"options": options})
        assert answer.status_code == 400 and "nobody may see" not in answer.text
        options = json.dumps({"replacements": ["/(a+)+$/=x"]})
        answer = client.post("/v1/transcripts", files=sound, data={"options": options})
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "replacements"
        data = {"model": "whisper-1", "replacements[]": "/(a+)+$/=x"}
        assert client.post(ROUTE, files=sound, data=data).json()["error"]["param"] == "replacements"
        assert client.post(ROUTE, files=sound, data=data | {"replacements[]": "old house=castle"}).status_code == 200
