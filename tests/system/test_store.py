"""What a fetch leaves on this disk: noticed when it changes, read in full once, listed, and removed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from sottovoce.config import Config
from sottovoce.errors import DownloadError, ModelError
from sottovoce.model import hub, store

from .publisher import SHA256, WEIGHTS, Publisher, files_of


def test_damage_is_noticed_and_nothing_is_deleted(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    damaged = b"!" + WEIGHTS[1:]
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="sottovoce models remove tiny"):
        hub.fetch("tiny", config)
    with pytest.raises(ModelError, match=f"{SHA256} was expected"):
        hub.verify("tiny", config)
    assert path.read_bytes() == damaged


def test_damage_that_hides_behind_the_old_time_is_found_by_verify(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    stat = path.stat()
    path.write_bytes(b"!" + WEIGHTS[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ModelError, match=f"{SHA256} was expected"):
        hub.verify("tiny", config)


def test_a_touched_file_whose_hash_holds_is_still_good(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    os.utime(path)
    assert hub.fetch("tiny", config).path == path


def test_a_touched_file_is_read_in_full_once(
    publisher: Publisher, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of container images keep whole seconds: every start read every byte, 3 GB of large-v3, for ever."""
    path = hub.fetch("tiny", config, card=publisher.card).path
    read: list[Path] = []
    digest = store.digest
    monkeypatch.setattr(store, "digest", lambda path: read.append(path) or digest(path))
    os.utime(path, (1000, 1000))
    for _ in range(3):
        assert hub.fetch("tiny", config).path == path
    assert read == [path]
    manifest = store.read(path.parent)
    assert manifest and manifest.files[0].sha256 == SHA256
    path.write_bytes(b"!" + WEIGHTS[1:])
    with pytest.raises(ModelError, match="sottovoce models remove tiny"):
        hub.fetch("tiny", config)


def test_a_touched_file_in_a_store_that_cannot_be_written_is_still_good(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    os.utime(path)
    (path.parent / f".manifest.json.{os.getpid()}").mkdir()  # permissions would not stop a test that runs as root
    assert hub.fetch("tiny", config).path == path


def test_a_file_that_is_gone_is_fetched_again(publisher: Publisher, config: Config) -> None:
    path = hub.fetch("tiny", config, card=publisher.card).path
    path.unlink()
    assert hub.fetch("tiny", config, card=publisher.card).path.read_bytes() == WEIGHTS


def test_the_store_lists_shows_and_removes(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    assert hub.listing(config) == []
    hub.fetch("tiny", config, card=publisher.card)
    (line,) = hub.listing(config)
    assert (line.name, line.form, line.source, line.sha256) == ("tiny", "pt", "openai", SHA256)
    assert line.size_bytes == len(WEIGHTS)
    assert hub.show("tiny", config) == line == hub.verify("tiny", config)
    assert hub.remove("tiny", config) == line
    assert hub.listing(config) == [] and files_of(tmp_path) == []
    with pytest.raises(ModelError, match="sottovoce models pull tiny"):
        hub.show("tiny", config)


def test_last_use_moves_with_each_use(publisher: Publisher, config: Config, tmp_path: Path) -> None:
    hub.fetch("tiny", config, card=publisher.card)
    os.utime(tmp_path / "cache/sottovoce/models/tiny/manifest.json", (0, 0))
    assert hub.show("tiny", config).last_use.year == 1970
    hub.fetch("tiny", config)
    assert hub.show("tiny", config).last_use.year > 2000


def test_the_log_says_who_served_and_who_did_not(
    publisher: Publisher, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sottovoce")
    hub.fetch("tiny", config.with_(sources="folder,openai"), card=publisher.card)
    assert "tiny: folder did not serve it" in caplog.text and "tiny: served by openai" in caplog.text


def test_another_revision_than_openais_is_refused(publisher: Publisher, config: Config) -> None:
    with pytest.raises(DownloadError, match=r"at revision v9.*one revision only"):
        hub.fetch("tiny", config.with_(revision="v9"), card=publisher.card)
    assert hub.fetch("tiny", config.with_(revision=SHA256), card=publisher.card).path.read_bytes() == WEIGHTS
