"""Watching a real server: it counts what was sent, and nothing of what was said or asked is written anywhere."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sottovoce.cli.exits import Exit
from sottovoce.text.known import SPOKEN

from ..commands import COMMAND, KNOWN, environ, run
from .receiver import Receiver

pytestmark = pytest.mark.weights

SECRET_NAME, SECRET_PROMPT, SECRET_KEY = "Mustermann-Diagnose.ogg", "Zanzibar marmalade", "sk-marzipan-4711"
BOUNDARY = "a-boundary"


@dataclass(frozen=True)
class Server:
    url: str
    log: Path
    receiver: Receiver

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of an answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.headers, e.read()

    def transcribe(self, sound: bytes, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        fields = {"model": "whisper-1", "prompt": SECRET_PROMPT}
        parts = [f'Content-Disposition: form-data; name="{n}"\r\n\r\n{v}'.encode() for n, v in fields.items()]
        parts.append(f'Content-Disposition: form-data; name="file"; filename="{SECRET_NAME}"\r\n\r\n'.encode() + sound)
        body = b"".join(f"--{BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts)
        headers["Content_Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        headers["Authorization"] = f"Bearer {SECRET_KEY}"
        return self.ask("/v1/audio/transcriptions", body + f"--{BOUNDARY}--\r\n".encode(), **headers)

    def stats(self) -> dict[str, Any]:
        status, _, body = self.ask("/v1/stats")
        assert status == 200
        return dict(json.loads(body))

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        status, headers, body = self.ask("/metrics")
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        families = text_string_to_metric_families(body.decode())
        return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}

    def value(self, name: str, **labels: str) -> float:
        return sum(v for (n, of), v in self.metrics().items() if n == name and labels.items() <= dict(of).items())

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """What the log says about a request; its line is written after its answer."""
        deadline_s = time.monotonic() + 10
        while True:
            told = [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]
            found = [line for line in told if line.get("http.request.id") == request_id]
            if any(line["log.logger"] == "sottovoce.access" for line in found) or time.monotonic() > deadline_s:
                return found
            time.sleep(0.02)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
    thread.start()
    yield receiver
    receiver.shutdown()
    receiver.server_close()
    thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("watching")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [COMMAND, "serve", "--port", str(port), "--model", "tiny.en", "--otlp", receiver.url, "--cache", "memory"]
    # a batch of spans is sent when it is half a second old
    env = environ(NO_PROXY="127.0.0.1", OTEL_BSP_SCHEDULE_DELAY="500")
    with (folder / "log").open("wb") as log, subprocess.Popen(command, env=env, stderr=log, stdout=log) as process:
        server = Server(f"http://127.0.0.1:{port}", folder / "log", receiver)
        deadline_s = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline_s, server.log.read_text("utf-8")
            try:
                if server.ask("/ready")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        yield server
        process.terminate()
        process.wait(30)


def test_what_is_counted_is_what_was_sent(server: Server) -> None:
    before, counted = server.stats(), server.metrics()
    duration_s = 0.0
    for _ in range(3):
        status, _, body = server.transcribe(KNOWN.read_bytes())
        assert (status, json.loads(body)["text"].split()[0]) == (200, "The")
        duration_s += 3.8201875
    assert server.transcribe(b"no recording at all")[0] == 400
    assert server.ask("/v1/nothing/here")[0] == 404
    after, now = server.stats(), server.metrics()
    grown = {name: after["totals"][name] - n for name, n in before["totals"].items()}
    assert grown["recordings"] == 3
    assert grown["audio_s"] == pytest.approx(duration_s, abs=0.01)
    assert (grown["rejected"], grown["failures"]) == (2, 0)
    assert grown["requests"] == 5 + 2, "and /metrics and /v1/stats themselves"
    assert grown["windows"] + grown["cache_hits"] == 3
    assert after["last_minute"]["rtf"] > 0
    assert 0 < after["last_minute"]["first_segment_s"]["p50"] <= after["last_minute"]["answer_s"]["worst"]
    assert after["last_minute"]["loop_lag_s"]["p99"] >= 0
    assert (after["in_flight"], after["running"], after["waiting"]) == (1, 0, 0)
    assert after["process"]["memory_bytes"] > 50e6
    (model,) = after["models"]
    assert (model["name"], model["state"], model["rows_used"], model["slots_used"]) == ("tiny.en", "awake", 0, 0)
    assert model["windows_answered"] > before["models"][0]["windows_answered"]

    def grew(name: str, **labels: str) -> float:
        wanted = labels.items()
        return sum(v - counted.get(k, 0) for k, v in now.items() if k[0] == name and wanted <= dict(k[1]).items())

    route = "/v1/audio/transcriptions"
    assert grew("sottovoce_requests_total", route=route, status="2xx", method="POST", model="tiny.en") == 3
    assert grew("sottovoce_requests_total", route=route, status="4xx") == 1
    assert grew("sottovoce_requests_total", route="unmatched", status="4xx") == 1
    assert grew("sottovoce_request_seconds_count", route=route) == 4
    assert grew("sottovoce_recordings_total", model="tiny.en", outcome="answered") == 3
    assert grew("sottovoce_recordings_total", outcome="failed") == 1
    assert grew("sottovoce_audio_seconds_total", model="tiny.en") == pytest.approx(duration_s, abs=0.01)
    assert grew("sottovoce_rejected_total", reason="invalid_audio") == 1
    assert grew("sottovoce_loop_lag_seconds_count") > 0
    assert now["sottovoce_ready", frozenset()] == 1
    assert now["sottovoce_models_awake", frozenset()] == 1
    assert server.value("sottovoce_model_loads_total", model="tiny.en", outcome="loaded") == 1
    assert server.value("sottovoce_rows", model="tiny.en") == model["rows"] > 0
    assert server.value("sottovoce_tokens_total", model="tiny.en") > 5


def test_a_request_has_a_name_everywhere(server: Server) -> None:
    status, headers, _ = server.transcribe(KNOWN.read_bytes(), X_Request_Id="order-66/a")
    assert (status, headers["x-request-id"]) == (200, "order-66/a")
    assert int(headers["openai-processing-ms"]) > 0
    (line,) = server.lines("order-66/a")
    assert line["log.logger"] == "sottovoce.access"
    assert (line["http.route"], line["http.response.status_code"]) == ("/v1/audio/transcriptions", 200)
    assert (line["sottovoce.model"], line["sottovoce.audio_s"]) == ("tiny.en", 3.82)
    assert line["event.duration"] > 0
    assert "sottovoce.text" not in line


@pytest.mark.parametrize("given", ["", "a b", "é", "x" * 129, '"};drop'])
def test_a_name_that_is_none_is_replaced(server: Server, given: str) -> None:
    status, headers, _ = server.ask("/v1/nix", X_Request_Id=given.encode().decode("latin-1"))
    assert status == 404
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
    (line,) = server.lines(headers["x-request-id"])
    assert (line["http.route"], line["error.code"]) == ("unmatched", "not_found")


def test_every_line_of_the_log_is_json(server: Server) -> None:
    server.ask("/health")
    server.ask("/v1/x\n{}".replace("\n", "%0a"))
    for line in server.log.read_text("utf-8").splitlines():
        told = json.loads(line)
        assert {"@timestamp", "log.level", "message", "log.logger", "service.name", "ecs.version"} <= told.keys()
    assert '"/health"' not in server.log.read_text("utf-8"), "who looks every second has no lines"


def test_a_trace_tells_the_way_of_a_request(server: Server) -> None:
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    sound = KNOWN.read_bytes() + b"\0"  # another recording than before, should answers be kept
    assert server.transcribe(sound, traceparent=f"00-{trace_id}-{parent_id}-01", X_Request_Id="traced")[0] == 200
    spans = server.receiver.wait_for(trace_id, "request")
    assert set(server.receiver.paths) == {"/v1/traces"}
    by_name = {s.name: s for s in spans}
    assert {"request", "load", "read", "transcribe", "window", "format"} <= by_name.keys()
    root, within = by_name["request"], by_name["transcribe"]
    assert root.parent_span_id.hex() == parent_id
    for name in ("load", "read", "transcribe", "format"):
        assert by_name[name].parent_span_id == root.span_id, name
        assert root.start_time_unix_nano <= by_name[name].start_time_unix_nano
        assert by_name[name].end_time_unix_nano <= root.end_time_unix_nano
    window = by_name["window"]
    assert window.parent_span_id == within.span_id
    told = {a.key: a.value for a in window.attributes}
    assert told["sottovoce.window.kind"].string_value == "decode"
    assert told["sottovoce.window.tokens"].int_value > 5
    assert told["sottovoce.window.encode_s"].double_value > 0
    told = {a.key: a.value for a in root.attributes}
    assert told["http.route"].string_value == "/v1/audio/transcriptions"
    assert told["http.response.status_code"].int_value == 200
    (line,) = server.lines("traced")
    assert line["trace.id"] == trace_id, "who has the line finds the trace"


def test_nothing_that_was_said_or_asked_is_written_down(server: Server) -> None:
    """Words of the recording, the prompt, the file's name and the key: in no log, metric, statistic or trace."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    heard = json.loads(server.transcribe(KNOWN.read_bytes() + b"\1", X_Request_Id="discreet", **headers)[2])["text"]
    assert heard.split()[1] == SPOKEN.split()[1], "the words are known, so that they can be looked for"
    server.transcribe(b"broken", X_Request_Id="discreet-and-broken", **headers)
    assert server.lines("discreet")
    assert server.lines("discreet-and-broken")
    server.receiver.wait_for(trace_id, "request")
    written = {
        "log": server.log.read_text("utf-8"),
        "metrics": "".join(f"{name} {sorted(labels)}" for name, labels in server.metrics()),
        "stats": server.ask("/v1/stats")[2].decode(),
        "traces": b"".join(server.receiver.bodies).decode("latin-1"),
    }
    own = [w for w in re.findall(r"\w+", SPOKEN) if len(w) > 4 and w.lower() != "whispers"]
    assert len(own) >= 2
    for where, text in written.items():
        assert len(text) > 100, where
        for word in (*own, *SECRET_PROMPT.split(), SECRET_NAME.split(".")[0], SECRET_KEY, "marzipan"):
            assert word.lower() not in text.lower(), f"{word!r} is in the {where}"


def test_promtool_takes_what_a_server_says(server: Server) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian's package prometheus) is not on PATH")
    text = server.ask("/metrics")[2]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    said = [line for line in (done.stdout + done.stderr).decode().splitlines() if "sottovoce" in line]
    assert (done.returncode, said) == (0, [])


def test_top_shows_a_real_server(server: Server, tmp_path: Path) -> None:
    server.transcribe(KNOWN.read_bytes() + b"\2")
    done = run("top", server.url, cwd=tmp_path, env=environ(NO_PROXY="127.0.0.1"))
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert said["computes"].startswith("tiny.en on cpu in ")
    assert said["model"].startswith("tiny.en\tawake\t")
    assert " ms" in said["answer"] or " s" in said["answer"]


def test_top_lives_in_a_terminal_until_it_is_stopped(server: Server, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [COMMAND, "top", server.url, "--interval", "0.1"]
    env = environ(NO_PROXY="127.0.0.1", TERM="xterm", COLUMNS="100", LINES="40")
    shown = b""
    with subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as top:
        os.close(theirs)
        while shown.count(b"loop lag") < 3:
            shown += os.read(ours, 4096)
        assert top.poll() is None
        top.send_signal(signal.SIGINT)
        with suppress(OSError):  # the terminal ends with its last writer
            while piece := os.read(ours, 4096):
                shown += piece
        assert top.wait(20) == Exit.INTERRUPTED
    os.close(ours)
    assert b"tiny.en" in shown
    assert b"\x1b[?1049h" in shown and b"\x1b[?1049l" in shown, "the screen is given back as it was"
