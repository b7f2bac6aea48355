"""The tree of keywords beside a plain reading of what it promises: what is open, what is lent, what is kept."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.engine.boosts import Boosts
from sottovoce.flow.keywords import MOST, Gains, keywords, tree
from sottovoce.text.spellings import spellings
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Keywords, Search
from tests.plain_keywords import PlainKeywords

GREEDY, BEAMS = Gains(1.0, 4.0, 2.0), Gains(2.0, 3.0, 2.5)
N_VOCAB = 6
TERMS = st.dictionaries(
    st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple), st.sampled_from([0.5, 1.0, 2.0]), min_size=1
)
TEXT = st.lists(st.integers(0, N_VOCAB - 1), max_size=14)


def walk(k: Keywords, text: list[int], beams: bool) -> list[np.ndarray]:
    """(V,) gains before each token, and at the end."""
    boosts, found = Boosts(2), []
    boosts.reset_([1], Decode((0,), search=Search(beam_size=5 if beams else 1), keywords=k))
    for token in text:
        found.append(boosts.of(1, N_VOCAB))
        boosts.update_([token], [1])
    return [*found, boosts.of(1, N_VOCAB)]


@settings(max_examples=300, deadline=None)
@given(TERMS, TEXT)
def test_every_gain_is_that_of_a_plain_reading(terms: dict[tuple[int, ...], float], text: list[int]) -> None:
    plain = PlainKeywords(terms, GREEDY, BEAMS)
    k = tree(terms, GREEDY, BEAMS)
    for beams in (False, True):
        for n, found in enumerate(walk(k, text, beams)):
            expected = [plain.gain(text[:n], token, beams) for token in range(N_VOCAB)]
            np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=300, deadline=None)
@given(TERMS, TEXT)
def test_a_text_without_a_whole_term_wins_nothing(terms: dict[tuple[int, ...], float], text: list[int]) -> None:
    """Beams give back what they were lent; what is complete is kept, and never more than its tokens gain."""
    end = N_VOCAB - 1  # in no term: whatever is open fails
    gains = walk(tree(terms, GREEDY, BEAMS), [*text, end], beams=True)
    won = sum(float(g[token]) for g, token in zip(gains, [*text, end], strict=False))
    whole = [t for t in terms for i in range(len(text)) if tuple(text[i : i + len(t)]) == t]
    if not whole:
        assert won == pytest.approx(0, abs=1e-4)
    else:
        assert won + 1e-4 > 0
        assert won <= len(text) * 2 * max(BEAMS.first, BEAMS.further, BEAMS.whole) + 1e-4


def test_no_weight_makes_a_token_win_that_the_model_holds_for_impossible() -> None:
    """A weight of 8 made a term be said for ever, in place of everything else."""
    for beams in (False, True):
        assert walk(tree({(1, 2): 10.0}, GREEDY, BEAMS), [1], beams)[-1].max() <= (2 if beams else 1) * MOST
        assert walk(tree({(1, 2): 10.0}, GREEDY, BEAMS), [], beams)[-1].max() == MOST


def test_a_term_alone_wins_what_its_tokens_gain() -> None:
    k = tree({(1, 2, 3): 2.0}, GREEDY, BEAMS)
    gains = walk(k, [1, 2, 3, 5], beams=True)
    assert [float(g[t]) for g, t in zip(gains, [1, 2, 3, 5], strict=False)] == [4.0, 5.0, 5.0, 0.0]
    failed = walk(k, [1, 2, 5], beams=True)
    assert [float(g[t]) for g, t in zip(failed, [1, 2, 5], strict=False)] == [4.0, 5.0, -9.0]


def test_a_term_inside_another_is_kept_where_the_other_fails() -> None:
    k = tree({(1, 2, 3): 1.0, (2,): 1.0}, GREEDY, BEAMS)
    gains = walk(k, [1, 2, 5], beams=True)
    won = sum(float(g[t]) for g, t in zip(gains, [1, 2, 5], strict=False))
    assert won == pytest.approx(BEAMS.whole)


def test_where_one_term_fails_another_goes_on() -> None:
    k = tree({(1, 2, 3, 4): 1.0, (2, 3, 0): 1.0}, GREEDY, BEAMS)
    assert walk(k, [1, 2, 3], beams=False)[-1].tolist() == [4.0, 1.0, 1.0, 0.0, 4.0, 0.0]


@pytest.mark.parametrize("n_vocab", [51864, 51865])
@pytest.mark.parametrize(
    ("term", "written"),
    [
        ("Zygmunt", [" Zygmunt", "Zygmunt"]),
        ("kubernetes", [" kubernetes", " Kubernetes", "Kubernetes"]),
        ("  San   Serriffe ", [" San Serriffe", "San Serriffe"]),
        ("C3PO", [" C3PO", "C3PO"]),
        ("ß", [" ß"]),
    ],
)
def test_a_term_is_written_as_words_are(n_vocab: int, term: str, written: list[str]) -> None:
    t = Tokenizer(n_vocab)
    found = [t.decode(tokens) for tokens in spellings(t, term)]
    assert set(found) >= set(written)
    assert len(set(found)) == len(set(map(tuple, spellings(t, term))))


def test_a_small_word_is_not_sought_inside_others() -> None:
    t = Tokenizer(51865)
    assert "inger" not in [t.decode(tokens) for tokens in spellings(t, "inger")]


def test_a_term_without_spaces_is_known_however_its_neighbours_cut_it() -> None:
    """Tokens of several characters run across the edges of a term: it begins and ends anywhere."""
    t = Tokenizer(51865, "zh")
    found = spellings(t, "中国银行")
    assert {t.decode(tokens) for tokens in found} == {"中国银行", " 中国银行"}
    assert len(found) >= 3


@pytest.mark.parametrize("term", ["", "  ", "...", "-"])
def test_what_has_no_letters_is_no_term(term: str) -> None:
    assert spellings(Tokenizer(51865), term) == []


def test_thousands_of_terms_are_made_in_a_second_or_so() -> None:
    t = Tokenizer(51865)
    terms = [("".join(p).capitalize(), 1.0) for p in product(["ba", "zo", "kri", "mun", "tha"], repeat=5)]
    found = keywords(t, terms)
    assert found is not None and len(terms) == 3125
    assert len(found.tokens) >= len(found.gained) - 1 > 3125
    for node in range(len(found.gained)):
        edges = found.tokens[found.starts[node] : found.starts[node + 1]]
        assert (np.diff(edges) > 0).all()


def test_no_terms_are_no_tree() -> None:
    assert keywords(Tokenizer(51865), []) is None
    assert keywords(Tokenizer(51865), [("...", 1.0)]) is None


def test_recordings_of_a_list_share_a_tree() -> None:
    """Each had its own: 10,000 terms took seconds for every recording, and the others waited."""
    terms = (("Ada", 1.0), ("San Serriffe", 2.0))
    first = keywords(Tokenizer(51865, "en", "transcribe"), terms)
    assert first is not None
    assert keywords(Tokenizer(51865, "de", "translate"), list(terms)) is first
    assert keywords(Tokenizer(51864), terms) is not first
    assert keywords(Tokenizer(51865), terms[:1]) is not first
