"""OpenAI's own clients, in every major line, work with a real server as it is: each check of conformance/ is a test.

The server serves tiny, and takes what OpenAI takes (25 MiB); the clients run beside each other.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from .clients import node_home, python_with
from .service import Service, serving

HERE = Path(__file__).parent / "conformance"
SOUND = Path(__file__).parents[2] / "src" / "sottovoce" / "audio" / "assets" / "known.ogg"
KEY = "sk-of-these-tests-0123456789abcdef0123456789abcdef"
PATIENCE_S = 300
CLIENTS = ("1-sync", "1-async", "2-sync", "2-async", "3-sync", "3-async", "node")
CHECKS = {"sync": 19, "async": 8, "node": 16}  # so many at least, or a file was not read
# who names requests is a file of its own
EXPECTS = ["request_id"] if find_spec("sottovoce.server.identity") else []

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    flags = "--model=tiny", "--max-upload-mb=26.2144", "--manage-models=always"
    env = {"SOTTOVOCE_SERVE_API_KEY": KEY}
    with serving(tmp_path_factory.mktemp("service"), *flags, env=env) as service:
        yield service


@pytest.fixture(scope="module")
def told(service: Service) -> Iterator[dict[str, Future[dict[str, str]]]]:
    """What each client says, by its name; two of them run at a time."""
    with ThreadPoolExecutor(2) as threads:
        yield {name: threads.submit(asked, name, service.url) for name in CLIENTS}


def asked(name: str, url: str) -> dict[str, str]:
    """What a client has found, by check."""
    if name == "node":
        node, home = node_home()
        command = [node, str(HERE / "checks.mjs"), str(home), url, str(SOUND), KEY, *EXPECTS]
    else:
        line, _, kind = name.partition("-")
        command = [str(python_with(int(line))), str(HERE / "checks.py"), url, str(SOUND), kind, KEY, *EXPECTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_of_openai_finds_what_it_expects(name: str, told: dict[str, Future[dict[str, str]]]) -> None:
    found = told[name].result()
    version = found.pop("client")
    assert name == "node" or version.startswith(name[0])
    assert len(found) >= CHECKS[name.split("-")[-1]]
    failed = {check: what for check, what in found.items() if what != "ok"}
    assert not failed, f"client {version}:\n" + "\n".join(f"{check}: {what}" for check, what in failed.items())
