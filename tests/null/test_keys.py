"""API keys: kept by their hash, read again when they change, each with its limits; the command that gives them out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.cli.app import run
from sottovoce.cli.exits import Exit
from sottovoce.errors import AudioError, ConfigError, EngineError, OutputError
from sottovoce.server.callers import Caller, Callers, bearer, span
from sottovoce.server.failures import RequestError
from sottovoce.server.keys import FROM_SETTING, Key, KeyFile, digest, found, made

from .dolls import Clock

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class Day:
    """A wall clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.toml")


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_key_is_known_by_its_hash_alone(file: KeyFile) -> None:
    secret, key = made("team-a", NOW)
    file.add(key)
    assert secret not in file.path.read_text("utf-8")
    assert found(secret, file.read()) == key
    assert found(secret[:-1], file.read()) is None
    assert found("", file.read()) is None


def test_every_field_comes_back(file: KeyFile) -> None:
    _, key = made(
        "a.b_c@d-e",
        NOW,
        requests_per_minute=3,
        audio_s_per_day=7200.5,
        concurrency=2,
        models=("base", 'a"b\\c\n\x7fé😀'),
        admin=True,
        expires=NOW + timedelta(days=1),
    )
    file.add(key)
    file.change(key.name, disabled=True)
    (back,) = file.read()
    assert back == Key(**{f: getattr(key, f) for f in Key.__slots__ if f != "disabled"}, disabled=True)


@given(st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_text_is_written_as_toml(text: str) -> None:
    from sottovoce.server.keys import _text

    if all(not 0xD800 <= ord(c) < 0xE000 for c in text):
        assert tomllib.loads(f"x = {_text(text)}")["x"] == text


def test_only_its_owner_reads_the_file(file: KeyFile) -> None:
    old = os.umask(0)
    try:
        file.add(made("a", NOW)[1])
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.path.chmod(0o640)  # a group that the server is in
    file.add(made("b", NOW)[1])
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    assert [p.name for p in file.path.parent.iterdir() if p.name not in ("keys.toml", "keys.toml.lock")] == []


def test_writers_lose_nothing_of_each_other(file: KeyFile) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: KeyFile(file.path).add(made(f"k{i}", NOW)[1]), range(24)))
    assert {key.name for key in file.read()} == {f"k{i}" for i in range(24)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\n", "sha256 is missing"),
        ("[a]\nsha256 = 'short'\n", "64 hex digits"),
        (f"[a]\nsha256 = '{'0' * 64}'\nrate = 1\n", "no such field"),
        (f"[a]\nsha256 = '{'0' * 64}'\nconcurrency = true\n", "whole number"),
        (f"[a]\nsha256 = '{'0' * 64}'\naudio_s_per_day = -1\n", "no limit"),
        (f"[a]\nsha256 = '{'0' * 64}'\naudio_s_per_day = nan\n", "no limit"),
        (f"[a]\nsha256 = '{'0' * 64}'\nmodels = 'base'\n", "list of names"),
        (f"[a]\nsha256 = '{'0' * 64}'\nexpires = 'soon'\n", "a date"),
        (f"[a]\nsha256 = '{'0' * 64}'\ndisabled = 'no'\n", "true or false"),
        (f"['a b']\nsha256 = '{'0' * 64}'\n", "letters, digits"),
        (f"[a]\nsha256 = '{'0' * 64}'\n[b]\nsha256 = '{'0' * 64}'\n", "two names"),
        (f"[{FROM_SETTING}]\nsha256 = '{'0' * 64}'\n", "take another"),
        ("a = 1\n", "no table"),
        ("[a\n", "cannot be read"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(file: KeyFile, text: str, said: str) -> None:
    file.path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        file.read()
    with pytest.raises(ConfigError, match=said):
        file.add(made("new", NOW)[1])
    assert file.path.read_text() == text, "nobody's keys are written over"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        KeyFile(tmp_path / "no folder" / "keys.toml").add(made("a", NOW)[1])


# --- who asks -------------------------------------------------------------------------------------------------------


def callers(file: KeyFile | None, api_key: str = "", day: Day | None = None) -> Callers:
    return Callers(file, api_key, Clock(), day or Day())


def ask(known: Callers, secret: str) -> Caller:
    return asyncio.run(known.by_secret(secret))


def test_changes_of_the_file_hold_from_the_next_request_on(file: KeyFile) -> None:
    first, key = made("a", NOW)
    file.add(key)
    known = callers(file)
    caller = ask(known, first)
    second, other = made("b", NOW)
    file.add(other)
    assert ask(known, second).name == "b"
    assert ask(known, first) is caller, "what he has used is not forgotten"
    file.change("a", disabled=True)
    with pytest.raises(RequestError, match="disabled"):
        ask(known, first)
    file.change("a", disabled=False)
    file.remove("b")
    with pytest.raises(RequestError, match="Incorrect"):
        ask(known, second)
    assert ask(known, first).name == "a"


def test_a_file_that_breaks_neither_locks_out_nor_lets_in(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    secret, key = made("a", NOW)
    file.add(key)
    known = callers(file)
    for broken in ("[a\n", None):
        file.path.write_text(broken) if broken else file.path.unlink()
        assert ask(known, secret).name == "a"
        assert ask(known, secret).name == "a"
        with pytest.raises(RequestError):
            ask(known, "sk-other")
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 2, "each is told once"


def test_a_key_ends_at_its_time(file: KeyFile) -> None:
    secret, key = made("a", NOW, expires=NOW + timedelta(days=1))
    file.add(key)
    day = Day()
    known = callers(file, day=day)
    assert ask(known, secret).name == "a"
    day.now += timedelta(days=1)
    with pytest.raises(RequestError, match="expired on 2026-05-05"):
        ask(known, secret)


def test_the_key_of_the_settings_is_one_more(file: KeyFile) -> None:
    secret, key = made("a", NOW)
    file.add(key)
    known = callers(file, "a key of the settings")
    assert {ask(known, secret).name, ask(known, "a key of the settings").name} == {"a", FROM_SETTING}
    assert callers(None, "x" * 9).needed
    assert not callers(None).needed


def test_a_file_that_is_not_there_is_told_at_the_start(file: KeyFile) -> None:
    with pytest.raises(ConfigError, match="sottovoce keys add"):
        callers(file)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic dTpw", "sk-naked"])
def test_a_request_without_a_key_is_told_how(header: str | None) -> None:
    with pytest.raises(RequestError, match="Authorization: Bearer") as caught:
        bearer({} if header is None else {"authorization": header})
    assert caught.value.kind.status == 401
    assert bearer({"authorization": "bearer  sk-1 "}) == "sk-1"


# --- how much -------------------------------------------------------------------------------------------------------


def caller_of(clock: Clock | None = None, day: Day | None = None, **limits: object) -> Caller:
    return Caller(made("a", NOW, **limits)[1], None, clock or Clock(), day or Day())


def test_requests_of_a_minute_are_counted_and_come_back_evenly() -> None:
    clock = Clock()
    caller = caller_of(clock, requests_per_minute=6)
    for left in (5, 4, 3, 2, 1, 0):
        with caller.asking(counts=True):
            assert caller.headers["x-ratelimit-remaining-requests"] == str(left)
    with pytest.raises(RequestError, match="6 requests a minute") as caught, caller.asking(counts=True):
        pass
    assert (caught.value.kind.status, caught.value.kind.retry_after_s) == (429, 10)
    assert caught.value.headers["retry-after-ms"] == "10000"
    assert caught.value.headers["x-ratelimit-reset-requests"] == "1m0s"
    with caller.asking(counts=False):
        pass
    clock.now_s += 10.0
    with caller.asking(counts=True):
        pass
    with pytest.raises(RequestError), caller.asking(counts=True):
        pass


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_no_span_of_time_has_more_requests_than_its_minutes_allow(pauses_s: list[float], most: int) -> None:
    clock = Clock()
    caller = caller_of(clock, requests_per_minute=most)
    let_in: list[float] = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        try:
            with caller.asking(counts=True):
                let_in.append(clock.now_s)
        except RequestError:
            pass
    for i, first_s in enumerate(let_in):
        for j in range(i, len(let_in)):
            assert j - i + 1 <= most + (let_in[j] - first_s) * most / 60 + 1e-6


def test_as_many_at_once_as_allowed_and_each_end_makes_room() -> None:
    caller = caller_of(concurrency=2)
    with caller.asking(True):
        with caller.asking(True):
            with pytest.raises(RequestError, match="at most 2") as caught, caller.asking(True):
                pass
            assert (caught.value.kind.status, caught.value.kind.code) == (429, "concurrency_exceeded")
        with pytest.raises(ZeroDivisionError), caller.asking(True):
            _ = 1 // 0
        assert caller.n_asking == 1
    assert caller.n_asking == 0


def test_sound_is_counted_by_day() -> None:
    day = Day()
    caller = caller_of(day=day, audio_s_per_day=100.0)
    with caller.charged(60.0):
        pass
    with pytest.raises(RequestError, match=r"60\.0 s, and 40\.0 s are left") as caught, caller.charged(60.0):
        pass
    kind = caught.value.kind
    assert (kind.status, kind.type, kind.code) == (429, "insufficient_quota", "insufficient_quota")
    assert kind.retry_after_s == 12 * 3600
    assert caught.value.headers["x-should-retry"] == "false", "no client asks again all day"
    assert caller.used_s == 60.0
    day.now += timedelta(hours=12)
    with caller.charged(60.0):
        assert caller.headers["x-ratelimit-remaining-audio-seconds"] == "40.0"


def test_a_restart_renews_nobodys_quota(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    """Also of those who have not asked since; the next day does. A file that is broken is told, and counts as none."""
    day = Day()
    secrets = []
    for name in ("a", "b"):
        secret, key = made(name, NOW, audio_s_per_day=100.0)
        file.add(key)
        secrets.append(secret)
    known = callers(file, day=day)
    for secret in secrets:
        with ask(known, secret).charged(60.0):
            pass
    known.keep()
    for _ in range(2):
        again = callers(file, day=day)
        assert ask(again, secrets[0]).used_s == 60.0
        again.keep()
    assert ask(callers(file, day=day), secrets[1]).used_s == 60.0
    day.now += timedelta(days=1)
    assert ask(again, secrets[1]).used_s == 0.0
    assert ask(callers(file, day=day), secrets[0]).used_s == 0.0
    used = file.path.with_name("keys.toml.used")
    assert stat.S_IMODE(used.stat().st_mode) == 0o600
    for broken in ("{", "[]", '{"day": "2026-05-05", "used_s": {"a": "many"}}'):
        used.write_text(broken)
        caplog.clear()
        assert ask(callers(file, day=day), secrets[0]).used_s == 0.0
        assert "cannot be read" in caplog.text


def test_quotas_hold_where_nothing_can_be_written(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    secret, key = made("a", NOW, audio_s_per_day=100.0)
    file.add(key)
    file.path.with_name("keys.toml.used").mkdir()  # as on a disk that is read only
    caplog.clear()
    known = callers(file)
    with ask(known, secret).charged(60.0):
        pass
    known.keep()
    known.keep()
    assert ask(known, secret).used_s == 60.0
    assert caplog.text.count("cannot be written") == 1
    assert not [path for path in file.path.parent.iterdir() if path.name.startswith(".")]


def test_what_the_engine_fails_at_costs_nothing() -> None:
    caller = caller_of(audio_s_per_day=100.0)
    with pytest.raises(EngineError), caller.charged(60.0):
        raise EngineError("died")
    assert caller.used_s == 0.0
    with pytest.raises(AudioError), caller.charged(60.0):
        raise AudioError("his own fault")
    assert caller.used_s == 60.0


def test_models_are_allowed_by_either_name() -> None:
    caller = caller_of(models=("whisper-1", "tiny"))
    caller.check_model("whisper-1", "base")
    caller.check_model("anything", "tiny")
    with pytest.raises(RequestError, match="may not use large-v3; allowed are whisper-1, tiny") as caught:
        caller.check_model("large-v3", "large-v3")
    assert (caught.value.kind.status, caught.value.param) == (403, "model")
    caller_of().check_model("large-v3")


@pytest.mark.parametrize(
    ("s", "told"), [(0, "0ms"), (0.25, "250ms"), (1.5, "1.5s"), (60, "1m0s"), (361, "6m1s"), (7384, "2h3m4s")]
)
def test_spans_are_told_as_openai_does(s: float, told: str) -> None:
    assert span(s) == told


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_gives_out_lists_and_withdraws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.toml"
    monkeypatch.setenv("SOTTOVOCE_SERVE_KEYS", str(file))
    limits = [
        "--requests-per-minute",
        "60",
        "--audio-s-per-day",
        "3600",
        "--models",
        "base, whisper-1",
        "--expires",
        "90d",
    ]
    assert run(["keys", "add", "team-a", *limits]) == Exit.DONE
    secret = capsys.readouterr().out.strip()
    (key,) = KeyFile(file).read()
    assert key.sha256 == digest(secret)
    assert (key.requests_per_minute, key.audio_s_per_day, key.models) == (60, 3600.0, ("base", "whisper-1"))
    assert key.expires is not None and 89 <= (key.expires - datetime.now(UTC)).days <= 90
    assert run(["keys", "add", "team-a"]) == Exit.USAGE
    assert "has a key already" in capsys.readouterr().err
    assert run(["keys", "disable", "team-a"]) == Exit.DONE
    capsys.readouterr()
    assert run(["keys", "list", "--json"]) == Exit.DONE
    out = capsys.readouterr().out
    assert json.loads(out)[0]["disabled"] is True
    assert secret not in out and key.sha256 not in out
    assert run(["keys", "list"]) == Exit.DONE
    assert f"...{secret[-4:]}" in capsys.readouterr().out
    assert run(["keys", "enable", "team-a"]) == Exit.DONE
    assert not KeyFile(file).read()[0].disabled
    assert run(["keys", "remove", "team-a"]) == Exit.DONE
    assert KeyFile(file).read() == ()
    assert run(["keys", "remove", "team-a"]) == Exit.USAGE
    assert run(["keys", "add", "b", "--expires", "someday"]) == Exit.USAGE
