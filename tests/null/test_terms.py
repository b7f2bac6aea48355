"""Which terms a window says: proposed, verified, and never at the price of the rest. No weights, no engine."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from math import inf
from time import process_time
from typing import Any, TypeVar

import pytest

from sottovoce.flow.keywords import keywords
from sottovoce.flow.ladder import Climbed, Prompt, climb
from sottovoce.flow.listen import Asker, Checkpoint
from sottovoce.flow.paying import MARGIN
from sottovoce.flow.protocol import Got
from sottovoce.flow.saying import once, said
from sottovoce.flow.terms import listened, terms
from sottovoce.options import Options
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decode, Decoded, Search, Sound, Window

T = TypeVar("T")
tokenizer = Tokenizer(51865, "en")
SYLLABLES = [a + b for a in ("", *"nrlstmdk") for b in "aeiou"]


@pytest.mark.parametrize(
    ("term", "text", "n"),
    [
        ("Prynne", " Hester Prynne, and Prynne's child.", 2),
        ("Prynne", " Prynnes", 1),  # long enough to be inflected
        ("Prynne", " McPrynne", 0),
        ("Ada", " Adams and Ada", 1),
        ("Gutenberg", " in der Gutenbergstraße", 1),
        ("Пушкин", " Пушкина", 1),
        ("서울", " 서울에서", 1),
        ("القاهرة", " في القاهرة", 1),
        ("قاهرة", " في القاهرة", 1),  # behind the article
        ("राम", " रामायण और राम", 1),  # vowel signs are letters
        ("AI", "私はAIを使う", 1),
        ("GPT-4", " GPT-40 and GPT-4", 1),
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
    assert said(once([(term, 1.0)]), text).total() == n


def test_what_is_given_twice_or_inside_another_is_said_once() -> None:
    given = once([("York", 1.0), ("New York", 1.0), ("new york", 1.0), ("Prynne", 1.0), ("Prynne ", 2.0)])
    found = said(given, " Prynne left New York for York.")
    assert {(t.text, t.weight): n for t, n in found.items()} == {("New York", 1): 1, ("York", 1): 1, ("Prynne", 2): 1}


def test_ten_thousand_short_terms_are_sought_quickly() -> None:
    given = once([(f"{a}{b}{c}", 1.0) for a in "abcdefghijklmnopqrstuvwxyz" for b in "aeioustrnl" for c in SYLLABLES])
    assert len(given) >= 10_000
    text = " ".join(a + b + "n" for a in "bcdfghklmnprst" for b in "aeiou")
    best = inf
    for _ in range(5):
        began = process_time()
        said(given, text)
        best = min(best, process_time() - began)
    assert best < 0.1, "about 5 ms where nothing else runs"


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
    n_rows: int | None = None,
) -> tuple[Decoded, list[Decode]]:
    """What is believed in the end, and what was asked for it."""
    hearer = terms(tokenizer, given, n_rows)
    assert hearer is not None
    sound = ("window", Sound(peak=0.0))
    return played(
        hearer.hear(Asker("flow"), tokenizer, Decode((1,), search=Search(beam_size=beams)), sound, found, passes),
        answers,
    )


def played(run: Generator[Any, Got | None, T], answers: list[Decoded]) -> tuple[T, list[Decode]]:
    """What a generator returns in the end, and what it asked."""
    asked: list[Decode] = []
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
    assert [a.search.beam_size for a in asked] == [2, 2], "alone, the first token of a term breaks other words"
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


def by_words(text: str, *logprobs: float, end: float = -1.0) -> Decoded:
    """Words with the log-probability of each."""
    tokens: list[int] = []
    each: list[float] = []
    for word, logprob in zip(text.split(), logprobs, strict=True):
        some = tokenizer.encode(" " + word)
        tokens += some
        each += [logprob / len(some)] * len(some)
    return Decoded(tuple(tokens), (sum(each) + end) / (len(each) + 1), 0.0, 0.0, tuple(each))


TWO = by_words("Hester Prin left Roger there", -1, -1, -1, -1, -1)


def test_a_false_term_does_not_take_a_true_one_with_it() -> None:
    both = by_words("Hester Prynne left Zorb there", -1, -3, -1, -12, -1)
    right = by_words("Hester Prynne left Roger there", -1, -3, -1, -1, -1)
    found, asked = heard([("Prynne", 1.0), ("Zorb", 1.0)], TWO, [both, both, right])
    assert found is right
    assert len(asked) == 3
    alone = keywords(tokenizer, [("Prynne", 1.0)])
    assert asked[2].keywords is not None and alone is not None
    assert asked[2].keywords.tokens.tolist() == alone.tokens.tolist()


def test_a_true_term_does_not_pay_for_a_false_one() -> None:
    """The two together have 10 nats, of which the false one took 8."""
    both = by_words("Hester Prynne left Zorb there", -1, -1, -1, -9, -1)
    right = by_words("Hester Prynne left Roger there", -1, -1, -1, -1, -1)
    assert heard([("Prynne", 1.0), ("Zorb", 1.0)], TWO, [both, both, right])[0] is right


def test_so_many_times_is_a_window_heard_and_no_more() -> None:
    names = ["Zorb", "Quib", "Vrox", "Plim", "Drang"]
    before = by_words("one two three four five six seven eight nine ten", *[-1.0] * 10)
    text = " ".join(f"{a} {b}" for a, b in zip(["one", "three", "five", "seven", "nine"], names, strict=True))
    wrong = by_words(text, *[-1.0, -9.0] * 5)
    found, asked = heard([(n, 1.0) for n in names], before, [wrong] * 9)
    assert found is before
    assert len(asked) <= 4


def test_less_text_is_no_reason_to_believe_a_term() -> None:
    before = by_words("Hester Prin left Roger there and went home with her child", *[-3.0] * 11)
    short = by_words("Hester Prynne", -3, -6)
    assert heard([("Prynne", 1.0)], before, [short, short])[0] is before


def test_a_window_that_ends_earlier_is_not_believed() -> None:
    begin = tokenizer.timestamp_begin
    text, term = (tuple(tokenizer.encode(t)) for t in (" Hester Prin was there.", " Hester Prynne was there."))
    plain = Decoded((begin, *text, begin + 1400), -0.5, 0.0)
    early, right = (Decoded((begin, *term, begin + n), -0.5, 0.0) for n in (700, 1390))
    assert heard([("Prynne", 1.0)], plain, [early, early])[0] is plain
    assert heard([("Prynne", 1.0)], plain, [right, right])[0] is right


def test_no_weight_makes_anything_believed() -> None:
    wrong = decoded(" Hester Prynne was there.", -10.0 - 2.2 * MARGIN)
    assert heard([("Prynne", 10.0)], PLAIN, [wrong, wrong])[0] is PLAIN


def test_what_is_given_many_times_is_paid_once() -> None:
    wrong = decoded(" Hester Prynne was there.", -10.0 - 1.5 * MARGIN)
    assert heard([("Prynne", 1.0), ("prynne", 1.0), ("PRYNNE", 1.0)], PLAIN, [wrong, wrong])[0] is PLAIN


def test_a_proposal_that_repeats_itself_proposes_a_term_once() -> None:
    loop = decoded(" Hester" + " Prynne" * 40, -20.0)
    thrice = by_words("Hester Prynne Prynne Prynne was there.", -1, -7, -7, -7, -1, -1)
    before = by_words("Hester Prin Prin Prin was there.", -1, -2, -2, -2, -1, -1)
    assert heard([("Prynne", 1.0)], before, [loop, thrice])[0] is before
    proposed = decoded(" Hester Prynne Prynne Prynne was there.", -20.0)
    assert heard([("Prynne", 1.0)], before, [proposed, thrice])[0] is thrice, "else each time has its margin"


def test_what_is_written_anyway_stays_preferred() -> None:
    before = by_words("Merneptah met Prin", -1, -1, -1)
    right = by_words("Merneptah met Prynne", -1, -1, -2)
    found, asked = heard([("Merneptah", 1.0), ("Prynne", 1.0), ("Zorb", 1.0)], before, [right, right])
    assert found is right
    both = keywords(tokenizer, [("Merneptah", 1.0), ("Prynne", 1.0)])
    assert asked[1].keywords is not None and both is not None
    assert asked[1].keywords.tokens.tolist() == both.tokens.tolist()


def test_no_more_beams_than_rows_propose() -> None:
    right = decoded(" Hester Prynne was there.", -10.0)
    for n_rows, n_beams in ((1, 1), (2, 2), (8, 2)):
        _, asked = heard([("Prynne", 1.0)], PLAIN, [right, right], n_rows=n_rows)
        assert asked[0].search.beam_size == n_beams


def test_where_nothing_is_decoded_at_zero_no_term_is_heard() -> None:
    checkpoint = Checkpoint(80, 51865, n_rows=1)
    for ladder, is_heard in (((0.2, 0.4), False), ((0.0, 0.2), True)):
        found = listened(tokenizer, Options(keywords=(("Prynne", 1.0),), temperature=ladder), checkpoint)
        assert (found is not None) is is_heard


def test_the_same_text_with_a_term_proposed_is_what_was_found() -> None:
    proposed = decoded(" Hester Prynne was there.", -20.0)
    assert heard([("Prynne", 1.0)], PLAIN, [proposed, replace(PLAIN)])[0] is PLAIN


# --- on the ladder ----------------------------------------------------------------------------------------------------


def climbed(
    answers: list[Decoded], ladder: tuple[float, ...], badness: Callable[[Decoded], int]
) -> tuple[Climbed, list[Decode]]:
    run = climb(
        Asker("flow"),
        Options(temperature=ladder),
        tokenizer,
        Prompt((1,)),
        ("window", Sound(peak=0.0)),
        badness,
        lambda tried: min(tried, key=badness),
        salt=0,
        n_text_ctx=448,
        terms=terms(tokenizer, [("Prynne", 1.0)]),
    )
    return played(run, answers)


RIGHT = decoded(" Hester Prynne was there.", -11.0)


def test_silence_is_not_believed_because_it_passes() -> None:
    """Such a window was skipped: its words were lost."""
    unsure = replace(RIGHT, avg_logprob=-1.4, no_speech_prob=0.9)
    found, _ = climbed([PLAIN, RIGHT, unsure, unsure], (0.0,), lambda _: 0)
    assert found.best == PLAIN


def test_terms_are_heard_also_where_no_rung_passes() -> None:
    bad, worse = replace(PLAIN, temperature=0.0), replace(PLAIN, temperature=0.2)

    def badness(d: Decoded) -> int:
        return 1 if d.temperature == 0 else 2

    found, asked = climbed([bad, worse, RIGHT, RIGHT], (0.0, 0.2), badness)
    assert (found.best, found.tried, found.passed) == (RIGHT, (bad, worse), False)
    assert all(isinstance(a.search.temperature, float) for a in asked)
    much_worse = replace(RIGHT, temperature=0.2)
    found, _ = climbed([bad, worse, much_worse, much_worse], (0.0, 0.2), badness)
    assert found.best == bad, "what is worse is not taken"
