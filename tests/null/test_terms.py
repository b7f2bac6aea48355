"""Which terms a window says: proposed, verified, and never at the price of the rest. No weights, no engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sottovoce.flow.keywords import keywords
from sottovoce.flow.listen import Asker
from sottovoce.flow.protocol import Got
from sottovoce.flow.terms import MARGIN, n_said, said_more, terms
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Decoded, Search, Sound, Window

tokenizer = Tokenizer(51865, "en")


@pytest.mark.parametrize(
    ("term", "text", "n"),
    [
        ("Prynne", " Hester Prynne, and Prynne's child.", 2),
        ("Prynne", " Prynnes", 0),
        ("prynne", " PRYNNE", 1),  # in small letters: any
        ("US", " us", 0),  # as it is given
        ("C++", " in C++, and C.", 1),
        (".NET", " the .NET runtime", 1),
        ("Old House", " the Old  House", 1),
        ("München", " Mu\u0308nchen", 1),  # composed otherwise
        ("東京", "大東京都", 1),  # no spaces, no edges
        ("กรุงเทพ", "ไปกรุงเทพมหานคร", 1),
    ],
)
def test_a_term_is_counted_where_it_is_a_word_of_its_own(term: str, text: str, n: int) -> None:
    assert n_said(term, text) == n


def test_only_what_is_said_more_often_is_news() -> None:
    given = (("Ada", 1.0), ("Prynne", 2.0), ("Merneptah", 1.0))
    assert said_more(given, " Ada met Ada.", " Ada met Prynne, Prynne.") == [(("Prynne", 2.0), 2)]


def test_nothing_to_write_is_no_terms() -> None:
    assert terms(tokenizer, [("...", 1.0)]) is None
    assert terms(tokenizer, []) is None


def decoded(text: str, logprob: float) -> Decoded:
    tokens = tuple(tokenizer.encode(text))
    mean = logprob / (len(tokens) + 1)
    return Decoded(tokens=tokens, avg_logprob=mean, no_speech_prob=0.0, temperature=0.0)


def heard(
    given: list[tuple[str, float]],
    found: Decoded,
    answers: list[Decoded],
    passes: Callable[[Decoded], bool] = lambda _: True,
    beams: int = 1,
) -> tuple[Decoded, list[Decode]]:
    """What is believed in the end, and what was asked for it."""
    said = terms(tokenizer, given)
    assert said is not None
    asked: list[Decode] = []
    sound = ("window", Sound(peak=0.0))
    run = said.hear(Asker("flow"), tokenizer, Decode((1,), search=Search(beam_size=beams)), sound, found, passes)
    got = None
    while True:
        try:
            event = run.send(got)
        except StopIteration as end:
            return end.value, asked
        got = None
        if isinstance(event, Window):
            assert isinstance(event.ask, Decode)
            asked.append(event.ask)
            window = event
        else:
            got = Got(window, answers.pop(0))


PLAIN = decoded(" Hester Prin was there.", -10.0)


def test_a_term_that_is_hardly_less_probable_is_believed() -> None:
    right = decoded(" Hester Prynne was there.", -13.0)
    found, asked = heard([("Prynne", 1.0), ("Zorb", 1.0)], PLAIN, [decoded(" Master Prynne is there.", -20.0), right])
    assert found is right
    assert [a.search.beam_size for a in asked] == [2, 1]
    few = keywords(tokenizer, [("Prynne", 1.0)])
    assert asked[1].keywords is not None and few is not None
    assert asked[1].keywords.tokens.tolist() == few.tokens.tolist(), "those that were proposed, alone"


@pytest.mark.parametrize(
    ("logprob", "passes"), [(-10.0 - MARGIN - 0.1, True), (-10.0, False)], ids=["improbable", "fails a gate"]
)
def test_a_term_that_nobody_said_is_not(logprob: float, passes: bool) -> None:
    wrong = decoded(" Hester Prynne was there.", logprob)
    assert heard([("Prynne", 1.0)], PLAIN, [wrong, wrong], lambda _: passes)[0] is PLAIN


def test_other_words_are_not_touched_where_no_whole_term_is_proposed() -> None:
    """A thousand distractors cost 0.9 points: beginnings of terms were preferred, and other words suffered."""
    found, asked = heard([("Prynne", 1.0)], PLAIN, [decoded(" Hester Pry with there.", -9.0)])
    assert (found, len(asked)) == (PLAIN, 1)


def test_a_term_said_for_ever_gains_no_margin_for_it() -> None:
    once = decoded(" Hester Prynne was there.", -12.0)
    ever = decoded(" Hester" + " Prynne" * 9, -10.0 - 2 * MARGIN)
    assert heard([("Prynne", 1.0)], PLAIN, [once, ever])[0] is PLAIN


def test_a_heavier_term_may_be_less_probable() -> None:
    heavy = decoded(" Hester Prynne was there.", -10.0 - 1.5 * MARGIN)
    assert heard([("Prynne", 1.0)], PLAIN, [heavy, heavy])[0] is PLAIN
    assert heard([("Prynne", 2.0)], PLAIN, [heavy, heavy])[0] is heavy


def test_more_beams_stay_as_many() -> None:
    right = decoded(" Hester Prynne was there.", -10.0)
    _, asked = heard([("Prynne", 1.0)], PLAIN, [right, right], beams=5)
    assert [a.search.beam_size for a in asked] == [5, 5]
