"""URLs on the command line: a malformed one fails alone, and what is secret in one is not repeated."""

from __future__ import annotations

from sottovoce.cli.recordings import find


def test_a_malformed_url_fails_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    good = tmp_path / "a.wav"
    good.write_bytes(b"x")
    found, refused, _ = find([str(good), "http://[bad/x.mp3"])
    assert [r.stem for r in found] == ["a"]
    assert len(refused) == 1


def test_secrets_of_a_url_are_neither_shown_nor_written() -> None:
    found, _, _ = find(
        ["https://user:secret@example.org/?token=secret", "https://u:secret@example.org/talk.mp3?k=secret"]
    )
    assert [r.stem for r in found] == ["example.org", "talk"]
    assert all("secret" not in r.name for r in found)
