"""Subtitles by rules: which of the ways that hold is chosen, and which layouts there are."""

from __future__ import annotations

import time
from itertools import pairwise
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.errors import OptionError
from sottovoce.text.formats import Transcript
from sottovoce.text.layout import Layout
from sottovoce.text.units import units
from sottovoce.types import Word
from tests.null.test_subtitles import ANY_CLOCK, segment, shown


def lines(text: str, language: str, layout: Layout | None = None, end: float = 60.0) -> list[str]:
    """The subtitles of a text that is spoken slowly, lines divided by /."""
    transcript = Transcript(text, (segment(0, text, 0.0, end, None, None),), language, end)
    subs, _ = shown(transcript, layout or Layout(preset="broadcast"))
    return [sub.text.replace("\n", "/") for sub in subs]


def test_lines_end_before_conjunctions_and_prepositions_and_are_even() -> None:
    assert lines(" She walked home through the rain because nobody would drive her.", "en", end=6) == [
        "She walked home through the rain/because nobody would drive her."
    ]


def test_many_lines_are_chosen_as_soon_as_few() -> None:
    """Every way to break ten lines was tried: half a minute of speech took longer than anybody waits."""
    words = ["ab", "cde", "fghi", "j"] * 60
    layout = Layout(max_lines=10, max_chars_per_line=20, max_chars_per_second=1000, max_duration=600)
    begun = time.process_time()
    found = lines(" ".join(words), "en", layout)
    assert time.process_time() - begun < 10  # 0.4; without memory more than minutes
    shown_lines = [line for one in found for line in one.split("/")]
    assert " ".join(shown_lines).split() == words and max(map(len, shown_lines)) <= 20


def test_sentences_end_subtitles() -> None:
    assert lines(" The cat is asleep. The dog is not there.", "en", end=5) == [
        "The cat is asleep.",
        "The dog is not there.",
    ]


def test_a_sentence_too_short_to_be_read_joins_its_neighbour() -> None:
    assert lines(" No. I have never been in this town before.", "en", end=2.5) == [
        "No. I have never been in this town before."
    ]


@pytest.mark.parametrize(
    ("text", "language", "phrase"),
    [
        (" On that day in spring he paid 3,000 pounds for it", "en", "3,000 pounds"),
        (" and then after all these hours they went 20 km on foot", "en", "20 km"),
        (" Le village compte aujourd'hui 1 000 000 habitants environ", "fr", "1 000 000"),
        (" La reunión de la semana empieza a las 5 p. m. en punto", "es", "5 p. m."),
        (" In diesem Jahr fuhr sie schon am 3. Mai in die Berge hinauf", "de", "3. Mai"),
        (" and yesterday evening there came Ludwig van Beethoven himself", "en", "Ludwig van Beethoven"),
        (" nobody has ever heard so much of J. R. R. Tolkien as they did", "en", "J. R. R. Tolkien"),
        (" people say that long ago the old Frau von der Leyen was here", "de", "Frau von der Leyen"),
        ("我们在去年的这个时候已经走了二十三公里的路", "zh", "二十三公里"),
        ("あの山の高さは三百三十三メートルだと聞きました", "ja", "三百三十三メートル"),
        ("昨日の夜にスティーブ・ジョブズに会いました", "ja", "スティーブ・ジョブズ"),
    ],
)
def test_what_belongs_together_is_on_one_line_at_every_width(text: str, language: str, phrase: str) -> None:
    for chars in range(max(6, len(phrase)), 40):
        layout = Layout(max_chars_per_line=chars)
        assert any(phrase in line for sub in lines(text, language, layout, 8.0) for line in sub.split("/")), chars


def test_dashes_stand_before_two_who_answer_each_other() -> None:
    said = (
        segment(0, " Are you there?", 0.0, 0.6, None, "A"),
        segment(1, " Yes.", 0.7, 0.9, None, "B"),
        segment(2, " Then come.", 2.5, 3.5, None, "A"),
    )
    transcript = Transcript("", said, "en", 4.0)
    subs, _ = shown(transcript, Layout(preset="broadcast", speakers="dash"))
    assert [sub.text for sub in subs] == ["- Are you there?\n- Yes.", "Then come."]
    subs, _ = shown(transcript, Layout(preset="broadcast"))
    assert [sub.text for sub in subs] == ["A: Are you there?", "B: Yes.", "A: Then come."]


def test_a_long_pause_divides_even_a_name() -> None:
    words = (Word(" Anna", 0.0, 0.4, 1.0), Word(" Maria", 1.4, 1.8, 1.0), Word(" Schmidt", 2.7, 3.0, 1.0))
    transcript = Transcript("", (segment(0, " Anna Maria Schmidt", 0.0, 3.0, words, None),), "en", 3.0)
    subs, _ = shown(transcript, Layout(preset="broadcast"))
    assert [sub.text for sub in subs] == ["Anna", "Maria Schmidt"]


MARKED = st.text(st.sampled_from("東京はがタワー、。「」『』（）ー々ゃっ！？・"), min_size=1, max_size=40)


@ANY_CLOCK
@given(MARKED)
def test_no_division_is_thought_of_beside_marks_that_forbid_it(text: str) -> None:
    found = units((segment(0, text, 0.0, 9.0, None, None),), "ja", 2)
    assert "".join(unit.text for unit in found) == text
    for a, b in pairwise(found):
        assert a.text[-1] not in "「『（"
        assert b.text[0] not in "、。」』）ー々ゃっ！？・"


def test_a_word_wider_than_a_line_leaves_no_space_at_its_edge() -> None:
    """What goes on with it behind a space, "..." or a French mark, was divided as if it were one word with it."""
    subs = lines(f" {'x' * 70} ... !", "en", Layout(max_chars_per_line=20), end=4.0)
    found = [line for sub in subs for line in sub.split("/")]
    assert found[:3] == ["x" * 20] * 3
    assert " ".join(found[3:]) == f"{'x' * 10} ... !"


# --- the value -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"preset": "cinema"}, "preset: 'cinema' was given, one of plain, broadcast, short"),
        ({"speakers": "both"}, "speakers: 'both' was given"),
        ({"max_chars_per_line": 5}, "max_chars_per_line: 5 was given, characters from 6 to 1000"),
        ({"max_lines": 0}, "max_lines: 0 was given"),
        ({"max_lines": 1.5}, "max_lines: 1.5 was given"),
        ({"min_gap": nan}, "min_gap: nan was given"),
        ({"min_duration": 9}, "min_duration: 9 was given, at most max_duration"),
        ({"preset": "plain", "max_lines": 2}, "max_lines: 2 was given, nothing was expected in the preset plain"),
        ({"preset": "short", "max_line_width": 30}, "max_line_width: 30 was given, nothing was expected but"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(wish: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Layout(**wish)  # type: ignore[arg-type]


def test_a_rule_alone_means_broadcast_and_nothing_means_plain() -> None:
    assert Layout().is_plain
    assert Layout(max_line_width=20, max_line_count=2).is_plain
    assert not Layout(max_lines=1).is_plain
    assert Layout(max_lines=1).rules("en") == Layout(preset="broadcast", max_lines=1).rules("en")


def test_a_character_of_chinese_is_two_columns_wide() -> None:
    assert Layout(max_chars_per_line=16).rules("zh").columns == 32
    assert Layout(max_chars_per_line=16).rules("en").columns == 16
