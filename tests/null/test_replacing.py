"""Replacing words: what is whole, what is literal, and that words keep their times."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.errors import OptionError
from sottovoce.request import Request
from sottovoce.request_terms import pair
from sottovoce.text.replacing import replaced, replaced_segment, replaced_words, rule
from sottovoce.types import Segment, Word


def words(text: str) -> tuple[Word, ...]:
    """Of half a second each."""
    return tuple(Word(f" {w}", i / 2, i / 2 + 0.5, 0.5) for i, w in enumerate(text.split()))


@pytest.mark.parametrize(
    ("sought", "becomes", "text", "expected"),
    [
        ("colour", "color", " Colour, colours and colour.", " color, colours and color."),
        ("c++", "C plus plus", " I write C++ and c++11.", " I write C plus plus and C plus plus11."),
        ("new york", "NYC", " In New  York today", " In NYC today"),
        ("um", "", " So um, um I mean", " So, I mean"),
        (r"/(\d+) dollars?/", r"$\1", " It cost 20 dollars.", " It cost $20."),
        ("/HELLO/", "x", " hello HELLO", " hello x"),
        ("/HELLO/i", "x", " hello HELLO", " x x"),
        ("a.b", "x", " acb a.b", " acb x"),
        ("张三", "章三", "我是张三人", "我是章三人"),
        ("back", r"\1", " go back", r" go \1"),
        ("ß", "ss", " Straße ß", " Straße ss"),
        ("/./s", "", " all of it", ""),
        (r"/m|\s/", "", " um, m m", "u,"),
        ("/um  # a filler/x", "er", " um", " er"),
    ],
)
def test_whole_words_are_replaced(sought: str, becomes: str, text: str, expected: str) -> None:
    assert replaced(text, [rule(sought, becomes)]) == expected


def test_rules_follow_one_another() -> None:
    assert replaced(" a", [rule("a", "b"), rule("b", "c")]) == " c"


def test_words_that_become_one_are_one_span_of_time() -> None:
    found = replaced_words(words("we met Sue Doh Nim today."), [rule("sue doh nim", "pseudonym")])
    assert [w.word for w in found] == [" we", " met", " pseudonym", " today."]
    assert (found[2].start, found[2].end) == (1.0, 2.5)
    assert found[3] == words("we met Sue Doh Nim today.")[5]


def test_as_many_words_keep_their_times_one_to_one() -> None:
    found = replaced_words(words("hello jon smyth."), [rule("jon smyth", "John Smith")])
    assert [(w.word, w.start) for w in found] == [(" hello", 0.0), (" John", 0.5), (" Smith.", 1.0)]


def test_a_word_that_becomes_several_is_parted_by_length() -> None:
    found = replaced_words(words("see NYC"), [rule("nyc", "New York")])
    assert [(w.word, w.start, w.end) for w in found] == [(" see", 0.0, 0.5), (" New", 0.5, 0.71), (" York", 0.71, 1.0)]


def test_what_becomes_nothing_leaves_its_neighbours_alone() -> None:
    given = words("so um yes")
    assert replaced_words(given, [rule("um", "")]) == (given[0], given[2])


def test_words_keep_who_says_them() -> None:
    """Speakers are told before words are replaced; a name that took two words had lost its speaker."""
    given = tuple(Word(f" {w}", float(i), i + 1.0, 0.5, speaker) for i, (w, speaker) in enumerate(SAID))
    found = replaced_words(given, [rule("open ai", "OpenAI"), rule("yes we do", "sure, absolutely")])
    assert [(w.word, w.speaker) for w in found] == [(" OpenAI?", "A"), (" sure,", "B"), (" absolutely", "C")]


def test_tokens_stay_the_models_own() -> None:
    segment = Segment(3, 0, 0.0, 1.0, " jon smyth", (1, 2), 0.0, -0.1, 1.0, 0.0, words("jon smyth"))
    found = replaced_segment(segment, [rule("smyth", "Smith")])
    assert (found.text, found.tokens, found.id) == (" jon Smith", (1, 2), 3)
    assert found.words is not None and found.words[1].word == " Smith"


SAID = (("open", "A"), ("AI?", "A"), ("yes", "B"), ("we", "C"), ("do", "C"))
TEXTS = st.lists(st.sampled_from(["a", "b", "ab", "um", "B."]), min_size=1, max_size=12).map(" ".join)
SOUGHT = st.sampled_from(["a", "b", "a b", "ab", "um", "/a|b/", "/b\\.? a/", "/(a) (b)/", "/./s", "/a|\\s/"])


@given(TEXTS, SOUGHT, st.sampled_from(["", "x", "x y", "longer words here", "a b"]))
def test_times_stay_in_order_and_inside(text: str, sought: str, becomes: str) -> None:
    given, rules = words(text), [rule(sought, becomes)]
    found = replaced_words(given, rules)
    assert "".join(w.word for w in found) == replaced("".join(w.word for w in given), rules)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(found))
    assert all(w.start <= w.end and w.word.strip() for w in found)
    if found:
        assert given[0].start <= found[0].start and found[-1].end <= given[-1].end


@pytest.mark.parametrize(
    ("sought", "becomes"), [("/(/", "x"), ("/a/q", "x"), (r"/(a)/", r"\2"), ("", "x"), ("  ", "x")]
)
def test_what_is_no_rule_is_refused(sought: str, becomes: str) -> None:
    with pytest.raises(OptionError, match="replacements"):
        rule(sought, becomes)
    with pytest.raises(OptionError, match="replacements"):
        Request.of({"replacements": [(sought, becomes)]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", ("a", "b")),
        (" a b = c = d ", ("a b", "c = d")),
        ("um=", ("um", "")),
        (r"/x=(\d)/=\1", (r"/x=(\d)/", r"\1")),
        ("/a/i=b", ("/a/i", "b")),
    ],
)
def test_a_rule_is_written_with_an_equals_sign(text: str, expected: tuple[str, str]) -> None:
    assert pair("replacements", text) == expected


@pytest.mark.parametrize("text", ["a", "=b", "/a=b"])
def test_what_is_not_written_so_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="from=to"):
        pair("replacements", text)


def test_replacements_come_in_any_usual_form(tmp_path: Path) -> None:
    (path := tmp_path / "list.txt").write_text("# names\n\njon=John\n/a+/=a\n", "utf-8")
    expected = (("jon", "John"), ("/a+/", "a"))
    for form in (path, str(path), ["jon=John", "/a+/=a"], {"jon": "John", "/a+/": "a"}, list(expected)):
        assert Request.of({"replacements": form}).options.replacements == expected
    with pytest.raises(OptionError, match="cannot be read"):
        Request.of({"replacements": "there is no such file"})
    with pytest.raises(OptionError, match="cannot be read"):
        Request.of({"replacements": "a\0b"})


def test_keywords_come_in_any_usual_form(tmp_path: Path) -> None:
    (path := tmp_path / "list.txt").write_text("# names\nAda:2.5\n\nSan Serriffe\n12:30\n", "utf-8")
    expected = (("Ada", 2.5), ("San Serriffe", 1.0))
    for form in ("Ada:2.5, San Serriffe", ["Ada:2.5", "San Serriffe"], {"Ada": 2.5, "San Serriffe": 1}, expected):
        assert Request.of({"keywords": form}).options.keywords == expected
    assert Request.of({"keywords": path}).options.keywords == (*expected, ("12:30", 1.0))
    for wrong in (["..."], [("Ada", 0)], [("Ada", 11)], [("Ada", "much")], 5, [("Ada",)]):
        with pytest.raises(OptionError, match="keywords"):
            Request.of({"keywords": wrong})


def test_replaced_words_keep_their_speaker() -> None:
    """Where one word became two, nobody said them any more."""
    said = tuple(replace(word, speaker="Anna") for word in words("in NYC today"))
    found = replaced_words(said, [rule("NYC", "New York"), rule("in New York", "there")])
    assert [(w.word, w.speaker) for w in found] == [(" there", "Anna"), (" today", "Anna")]
