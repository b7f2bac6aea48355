"""Promises of the tables of bench/scores.py: what is counted, and how it adds up."""

from __future__ import annotations

from pathlib import Path

from bench.data import Clip
from bench.scores import Case, Heard, fold, score, summary, units


def clip(name: str, language: str, reference: str | None, group: str = "english") -> Clip:
    return Clip(name, Path(name), group, language, 10.0, reference, "human")


def lower(language: str, texts: list[str]) -> list[str]:
    return [t.lower() for t in texts]


def test_words_are_counted_where_spaces_part_them_and_characters_elsewhere() -> None:
    assert units("two words", "en") == ["two", "words"]
    assert units("两 个词", "zh") == ["两", "个", "词"]


def test_spanish_is_compared_without_accents() -> None:
    assert units("está aquí", "es") == units("esta aqui", "es")
    assert units("für", "de") != units("fur", "de")
    assert fold("ñandú") == "nandu"


def test_clips_that_failed_are_not_scored() -> None:
    heard = Heard(Case("m", "float32", 1), texts={"a": "Hello world"}, failed={"b": "it is empty"})
    (only,) = score(heard, [clip("a", "en", "hello word"), clip("b", "en", "gone")], lower)
    assert (only.n_clips, only.edits.n, only.edits.substitutions) == (1, 2, 1)


def test_whatever_is_written_where_nobody_speaks_is_an_insertion() -> None:
    """Even if the clip has a text by mistake: without a language it is not speech."""
    heard = Heard(Case("m", "float32", 1), texts={"n": "thank you"})
    (only,) = score(heard, [clip("n", "", "stray", "noise")], lower)
    assert (only.edits.n, only.edits.insertions) == (0, 2)


def test_a_summary_rate_is_errors_over_words_of_all_its_sets() -> None:
    heard = Heard(Case("m", "float32", 1), texts={"a": "one", "b": "x b c"}, audio_s=30, seconds=10, peak_bytes=2**30)
    scores = score(heard, [clip("a", "en", "one"), clip("b", "en", "a b c", "noise")], lower)
    row = summary([heard], [scores]).splitlines()[-1]
    assert row == "| m, float32, greedy, parallel | 25.00 % | - | - | - | 0 | 3.0 | 1024 MiB |"
