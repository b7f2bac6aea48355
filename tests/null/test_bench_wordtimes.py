"""How word times are scored, and where single words are cut: on made-up words."""

from __future__ import annotations

import numpy as np
import pytest
from bench.timed import trimmed
from bench.wordtimes import Errors, matches, units

from sottovoce.types import SAMPLE_RATE


def test_digits_are_compared_one_by_one() -> None:
    """742 stands for three words: only the first beginning and the last end of them are known."""
    found = list(units([(" 742,", 1.0, 2.5), (" X-ray.", 3.0, 4.0)], "en"))
    assert found == [("seven", 1.0, None), ("four", None, None), ("two", None, 2.5), ("xray", 3.0, 4.0)]
    assert [w for w, _, _ in units([(" 7", 0.0, 1.0)], "fr")] == ["sept"]


def test_only_words_that_were_found_count() -> None:
    errors = Errors()
    errors.add([("one", 0.0, 1.0), ("two", 1.0, 2.0)], [(" One", 0.1, 0.9), (" too", 5.0, 6.0)], "en")
    assert (errors.n, errors.n_found) == (2, 1)
    assert errors.starts == pytest.approx([0.1]) and errors.ends == pytest.approx([-0.1])


def test_words_out_of_order_or_empty_are_counted() -> None:
    errors = Errors()
    errors.add([("a", 0.0, 1.0)], [("a", 0.0, 1.0), ("b", 0.5, 0.5)], "en")
    assert (errors.disorder, errors.empty) == (1, 1)


def test_equal_words_are_paired_on_the_cheapest_way() -> None:
    assert matches(["a", "b", "c", "b"], ["a", "x", "c", "b"]) == [(0, 0), (2, 2), (3, 3)]


def test_a_word_is_cut_where_its_energy_is() -> None:
    sound = 1e-4 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    sound[4000:12000] += 0.3 * np.sin(np.arange(8000) * 0.1)
    piece = trimmed(sound, "word")
    assert abs(len(piece.samples) - 8000) <= 240
    assert piece.words == (("word", 0.0, len(piece.samples) / SAMPLE_RATE),)
