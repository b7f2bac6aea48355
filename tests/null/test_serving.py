"""Settings of the service: flags, variables and one file; who would be open to all by mistake does not start."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sottovoce.cli.app import run
from sottovoce.cli.exits import Exit
from sottovoce.config import Config
from sottovoce.errors import ConfigError
from sottovoce.serving import Serving, read_settings

FILE = """
model = "tiny"
threads = 2
idle_s = 60
sources = ["folder", "hub"]

[serve]
port = 9000
queue_wait_s = 5
cors_origins = ["https://a.example", "https://b.example"]
open_metrics = true
"""


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """The command takes over the logs of its process, which here is that of other tests."""
    loggers = [logging.getLogger(name) for name in ("", "sottovoce", "sottovoce.access", "uvicorn", "uvicorn.error")]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    yield
    logging.captureWarnings(False)
    for log, handlers, level, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    return path


def test_flags_win_over_variables_and_those_over_the_file(file: Path) -> None:
    given = {"config": str(file), "port": None, "slots": 3, "model": None}
    environ = {"SOTTOVOCE_SERVE_SLOTS": "7", "SOTTOVOCE_SERVE_QUEUE": "8", "SOTTOVOCE_THREADS": "1"}
    config, serving = read_settings(environ, given)
    assert (config.model, config.threads, config.idle_s, config.sources) == ("tiny", 1, 60.0, "folder,hub")
    assert (serving.port, serving.slots, serving.queue, serving.queue_wait_s) == (9000, 3, 8, 5.0)
    assert (serving.cors_origins, serving.open_metrics) == ("https://a.example,https://b.example", True)
    _, over = read_settings({"SOTTOVOCE_SERVE_CONFIG": str(file), "SOTTOVOCE_SERVE_PORT": "1"}, {"port": 2})
    assert over.port == 2
    assert read_settings({}, {}) == (Config(), Serving())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1\n", "prot: there is no such setting"),
        ("port = 1\n", r"below \[serve\]"),
        ("[serve]\nprot = 1\n", "prot: there is no such setting"),
        ("[serve]\nmodel = 'base'\n", "model: there is no such setting"),
        ("[serve]\nconfig = 'other.toml'\n", "config: there is no such setting"),
        ("serve = 1\n", r"write \[serve\]"),
        ("[other]\nport = 1\n", "other: there is no such setting"),
        ("[serve]\nport = '1'\n", "a whole number was expected"),
        ("[serve]\nport = 1.0\n", "a whole number was expected"),
        ("[serve]\nport = true\n", "a whole number was expected"),
        ("[serve]\nqueue_wait_s = true\n", "a number was expected"),
        ("[serve]\nopen_to_all = 1\n", "true or false was expected"),
        ("model = 1\n", "a text was expected"),
        ("model = [1]\n", "a text was expected"),
        ("[serve\n", "cannot be read"),
    ],
)
def test_what_a_file_says_wrongly_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_settings({}, {"config": str(path)})
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings({}, {"config": str(tmp_path / "none.toml")})


def test_no_setting_of_the_service_has_the_name_of_another() -> None:
    """Flags of both stand beside each other."""
    assert not {f.name for f in fields(Serving)} & {f.name for f in fields(Config)}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "", "talk.example", "fe80::1"])
def test_other_machines_are_answered_with_keys_only(host: str) -> None:
    with pytest.raises(ConfigError, match="sottovoce keys add"):
        Serving(host=host)
    assert Serving(host=host, keys="keys.toml").has_keys
    assert Serving(host=host, api_key="long enough").has_keys
    assert Serving(host=host, open_to_all=True).is_public


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert not Serving(host=host).is_public


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": "short"},
        {"slots": -1},
        {"queue": -1},
        {"queue_wait_s": float("nan")},
        {"tls_key": "key.pem"},
        {"cors_origins": "talk.example"},
        {"cors_origins": "https://talk.example/page"},
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))}: "):
        Serving(**wrong)


def test_a_key_does_not_stand_in_logs() -> None:
    assert "very secret" not in repr(Serving(api_key="very secret"))


# --- the command ----------------------------------------------------------------------------------------------------


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["serve", *arguments]) == Exit.USAGE
    err = capsys.readouterr().err
    assert "Traceback" not in err and err.count("\n") == 1
    return err


def test_what_keeps_it_from_starting_is_told_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "sottovoce keys add" in said_by(capsys, "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "another program has it" in said_by(capsys, "--port", port)
    assert "address of this machine" in said_by(capsys, "--host", "192.0.2.1", "--api-key", "x" * 20, "--port", "0")
    assert "no such file" in said_by(capsys, "--keys", str(tmp_path / "none.toml"), "--port", "0")
    assert "can be read" in said_by(capsys, "--tls-cert", str(tmp_path / "none.pem"), "--port", "0")
    (tmp_path / "no.pem").write_text("no certificate")
    assert "PEM was expected" in said_by(capsys, "--tls-cert", str(tmp_path / "no.pem"), "--port", "0")


@pytest.mark.parametrize(
    ("proxies", "client"), [("", "127.0.0.1"), ("127.0.0.1", "9.9.9.9"), ("10.0.0.1", "127.0.0.1")]
)
def test_only_proxies_that_were_told_say_who_asks(proxies: str, client: str) -> None:
    """uvicorn's own default believes whoever comes from this machine."""
    from sottovoce.cli.serve import _of_uvicorn

    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    loaded = _of_uvicorn(app, Config(), Serving(proxies=proxies)).loaded_app
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(b"x-forwarded-for", b"9.9.9.9")],
        "scheme": "http",
    }
    asyncio.run(loaded(scope, None, None))
    assert seen == [client]


def test_without_the_extra_the_command_says_how_to_get_it() -> None:
    """In a process of its own: in this one the server may be imported already."""
    program = "import sys; sys.modules['uvicorn'] = None; from sottovoce.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "serve", "--port", "0"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "pip install 'sottovoce[server]'" in done.stderr
