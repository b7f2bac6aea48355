"""The hub's protocol, spoken by huggingface_hub itself with a small hub on the loopback."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

COMMIT = "c" * 40
WEIGHTS = bytes(range(256)) * 8000  # 2 MB
CONFIG = b'{"model_type": "whisper"}'
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()

# huggingface_hub reads its environment once, when imported: each call has a process of its own
CHILD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sottovoce.config import Config
from sottovoce.model import hub
seen = []
try:
    files = hub.fetch(sys.argv[1], Config(**json.loads(sys.argv[2])), lambda *at: seen.append(at))
except Exception as e:
    print(json.dumps({"error": type(e).__name__, "text": str(e)}))
else:
    said = {"path": str(files.path), "form": files.form, "source": files.source, "revision": files.revision}
    print(json.dumps(said | {"sha256": files.sha256, "seen": seen[-1:]}))
"""


@dataclass
class Hub:
    """repos: files by repository; they are served at one commit, `main` and `v1`."""

    repos: dict[str, dict[str, bytes]]
    home: Path
    lies: bool = False
    cut: int | None = None
    token: str | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    port: int = 0

    def fetch(self, name: str, environ: dict[str, str] | None = None, **config: object) -> dict[str, object]:
        given = {"sources": "hub", "model_dir": str(self.home / "store")} | config
        settings = {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HOME": str(self.home / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        command = [sys.executable, "-c", CHILD, name, json.dumps(given)]
        environ = clean | settings | (environ or {})
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        said: dict[str, object] = json.loads(done.stdout)
        return said

    def gets(self) -> list[str]:
        return [path for verb, path, _ in self.asked if verb == "GET" and "/resolve/" in path]


class Answer(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_GET(self) -> None:
        self.answer("GET")

    def answer(self, verb: str) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append((verb, path, self.headers.get("Range")))
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.say(verb, 401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "access is restricted"})
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
            return self.model_info(verb, repo, revision)
        repo, file = "/".join(parts[:2]), "/".join(parts[4:])
        content = self.hub.repos.get(repo, {}).get(file)
        if content is None:
            return self.say(verb, 404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(content)}"', "X-Linked-Etag": f'"{digest(content)}"'}
        headers["X-Linked-Size"] = str(len(content))
        if self.hub.lies and file.endswith(".safetensors"):
            content = content[:-1] + b"!"
        return self.say(verb, 200, content, headers)

    def model_info(self, verb: str, repo: str, revision: str) -> None:
        if repo not in self.hub.repos:
            return self.say(verb, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", "v1", COMMIT):
            return self.say(verb, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {"rfilename": name, "size": len(content)}
            | (
                {"lfs": {"sha256": digest(content), "size": len(content), "pointerSize": 134}}
                if len(content) > 1000
                else {}
            )
            for name, content in self.hub.repos[repo].items()
        ]
        said = {"_id": "1", "id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "tags": []}
        return self.say(verb, 200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def say(self, verb: str, status: int, body: bytes, headers: dict[str, str]) -> None:
        start = 0
        if verb == "GET" and (asked := self.headers.get("Range")) and asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").split("-")[0] or 0)
            status = 206
            headers = headers | {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if verb == "GET":
            cut = self.hub.cut if self.hub.cut and len(body) > 100_000 else None
            if cut:
                self.hub.cut, self.close_connection = None, True
            self.wfile.write(body[start:cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    repos = {
        "openai/whisper-tiny": {
            "README.md": b"not wanted",
            "config.json": CONFIG,
            "generation_config.json": b"{}",
            "model.safetensors": WEIGHTS,
            "pytorch_model.bin": b"not wanted" * 1000,
        },
        "org/sharded": {
            "config.json": CONFIG,
            "model.safetensors.index.json": INDEX,
            "model-1.safetensors": WEIGHTS,
            "model-2.safetensors": WEIGHTS[:500_000],
        },
        "org/converted": {"config.json": CONFIG, "model.bin": WEIGHTS, "vocabulary.txt": b"a\nb\n"},
        "org/pickled": {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS},
    }
    served = Hub(repos, tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answer,), {"hub": served}))
    server.daemon_threads = True
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_name_of_the_catalogue_comes_as_safetensors(hub: Hub) -> None:
    said = hub.fetch("tiny")
    assert said["form"] == "safetensors" and said["source"] == "hub openai/whisper-tiny"
    assert said["revision"] == COMMIT and said["sha256"] == digest(WEIGHTS)
    path = Path(str(said["path"]))
    assert path.is_relative_to(hub.home / "hf/hub")  # the hub's own cache, where its other users find it
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "generation_config.json", "model.safetensors"]
    total = len(WEIGHTS) + len(CONFIG) + 2
    assert said["seen"] == [[total, total, "hub"]]


def test_what_is_stored_asks_the_hub_nothing(hub: Hub) -> None:
    first = hub.fetch("tiny")
    asked = len(hub.asked)
    assert hub.fetch("tiny")["path"] == first["path"]
    assert len(hub.asked) == asked


def test_any_repository_id_is_a_name_also_in_shards(hub: Hub) -> None:
    said = hub.fetch("org/sharded")
    assert said["form"] == "safetensors"
    path = Path(str(said["path"]))
    assert (path / "model-1.safetensors").read_bytes() == WEIGHTS
    assert (path / "model-2.safetensors").read_bytes() == WEIGHTS[:500_000]


def test_a_ctranslate2_repository_is_understood(hub: Hub) -> None:
    said = hub.fetch("org/converted")
    assert said["form"] == "ct2" and (Path(str(said["path"])) / "vocabulary.txt").exists()


def test_a_repository_without_known_weights_says_what_was_expected(hub: Hub) -> None:
    said = hub.fetch("org/pickled")
    assert said["error"] == "DownloadError" and "model.safetensors" in str(said["text"])
    assert not any("pytorch_model.bin" in path for path in hub.gets())


def test_a_revision_is_pinned_and_kept_apart(hub: Hub) -> None:
    hub.fetch("tiny")
    said = hub.fetch("tiny", revision="v1")
    assert said["revision"] == COMMIT
    assert {p.name for p in (hub.home / "store/models").iterdir() if p.is_dir()} == {"tiny", "tiny@v1"}
    assert "at revision v9" in str(hub.fetch("tiny", revision="v9")["text"])


def test_the_hubs_hash_is_checked_and_nothing_is_deleted(hub: Hub) -> None:
    hub.lies = True
    said = hub.fetch("tiny")
    assert said["error"] == "DownloadError" and f"the hub's is {digest(WEIGHTS)}" in str(said["text"])
    assert "hf cache rm" in str(said["text"])
    assert not list((hub.home / "store").rglob("manifest.json"))
    assert list((hub.home / "hf").rglob("model.safetensors"))


def test_a_cut_download_is_resumed(hub: Hub) -> None:
    large = WEIGHTS * 12  # the library writes 10 MB at a time, and resumes after the last that is whole
    hub.repos["openai/whisper-tiny"]["model.safetensors"] = large
    hub.cut = 15_000_000
    assert hub.fetch("tiny")["sha256"] == digest(large)
    assert any(asked for _, path, asked in hub.asked if path.endswith("model.safetensors"))


def test_what_the_hubs_cache_holds_serves_offline(hub: Hub, tmp_path: Path) -> None:
    hub.fetch("tiny")
    asked = len(hub.asked)
    other_store = str(tmp_path / "another")
    for environ, config in (({"HF_HUB_OFFLINE": "1"}, {}), ({}, {"offline": True})):
        said = hub.fetch("tiny", environ, model_dir=other_store + str(len(config)), **config)
        assert said["sha256"] == digest(WEIGHTS) and said["revision"] == COMMIT
    assert len(hub.asked) == asked


def test_what_the_hubs_cache_holds_serves_when_the_hub_is_down(hub: Hub, tmp_path: Path) -> None:
    hub.fetch("tiny")
    said = hub.fetch("tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, model_dir=str(tmp_path / "another"))
    assert said["sha256"] == digest(WEIGHTS)


def test_offline_names_the_switch(hub: Hub) -> None:
    said = hub.fetch("tiny", {"HF_HUB_OFFLINE": "1"})
    assert said["error"] == "DownloadError" and "HF_HUB_OFFLINE" in str(said["text"])
    assert hub.asked == []


def test_the_users_token_is_used_and_its_lack_is_named(hub: Hub) -> None:
    hub.token = "hf_secret"
    said = hub.fetch("tiny")
    assert said["error"] == "DownloadError" and "HF_TOKEN" in str(said["text"])
    assert hub.fetch("tiny", {"HF_TOKEN": "hf_secret"})["sha256"] == digest(WEIGHTS)


def test_a_repository_that_is_not_there_is_named(hub: Hub) -> None:
    said = hub.fetch("org/nothing")
    assert said["error"] == "DownloadError" and "org/nothing" in str(said["text"])
