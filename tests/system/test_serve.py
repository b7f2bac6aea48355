"""`sottovoce serve` as a person starts it: what it says, its file of settings, HTTPS, and how it fails to start."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sottovoce.cli.exits import Exit

from ..commands import KNOWN, run, start

FAST = ("--device", "cpu", "--port", "0", "--skip-warm-up")


@contextmanager
def serving(*arguments: object, cwd: Path) -> Iterator[tuple[str, str]]:
    """(the line that it greets with, its address); it is told to end."""
    process = start("serve", *FAST, *arguments, cwd=cwd)
    try:
        assert process.stderr is not None
        greeting = process.stderr.readline()
        found = re.search(r"https?://[^ ]+", greeting)
        assert found, greeting + process.stderr.read()
        yield greeting, found[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.weights
def test_it_greets_with_address_model_and_routes_when_it_may_be_asked(tmp_path: Path) -> None:
    """With a file of settings; its greeting is the first that it says, and then no request is too early."""
    (tmp_path / "settings.toml").write_text('model = "tiny.en"\n[serve]\napi_key = "a key of the file"\nqueue = 3\n')
    with serving("--config", "settings.toml", cwd=tmp_path) as (greeting, address):
        assert "serving tiny.en on http://127.0.0.1:" in greeting and f"{address}/docs" in greeting
        with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
            assert client.get("/ready").status_code == 200
            assert client.get("/docs").status_code == 200
            form = {"files": {"file": ("a.ogg", KNOWN.read_bytes())}, "data": {"model": "whisper-1"}}
            assert client.post("/v1/audio/transcriptions", **form).status_code == 401
            key = {"Authorization": "Bearer a key of the file"}
            assert client.post("/v1/audio/transcriptions", headers=key, **form).json()["text"]


@pytest.mark.weights
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate, and is not installed")
def test_it_speaks_https(tmp_path: Path) -> None:
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, *files, *subject], cwd=tmp_path, check=True, capture_output=True)
    flags = ("--model", "tiny.en", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    with serving(*flags, cwd=tmp_path) as (_, address):
        assert address.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        assert httpx.get(f"{address}/health", verify=trusted, trust_env=False).status_code == 200


def test_a_model_that_is_not_there_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = run("serve", *FAST, "--model", "no-such-model", "--offline", cwd=tmp_path)
    assert done.returncode == Exit.MODEL
    assert "no-such-model" in done.stderr and done.stderr.count("\n") == 1, done.stderr
