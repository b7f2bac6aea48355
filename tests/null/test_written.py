"""The lines of texts that people have: plain, subtitles, json."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sottovoce.errors import OptionError
from sottovoce.text.formats import Transcript
from sottovoce.text.layout import Layout
from sottovoce.text.written import lines
from sottovoce.types import Segment

SEGMENTS = tuple(
    Segment(i, 0, i * 2.0, i * 2.0 + 1.5, text, (1,), 0.0, -0.1, 1.0, 0.0)
    for i, text in enumerate((" One two.", " Drei"))
)
WRITTEN = Transcript(" One two. Drei", SEGMENTS, "en", 4.0)


@pytest.mark.parametrize("suffix", ["txt", "srt", "vtt", "json"])
def test_what_we_write_is_read_again(suffix: str) -> None:
    assert lines(WRITTEN.render(suffix), suffix) == ["One two.", "Drei"]


def test_blank_lines_spaces_and_a_byte_order_mark_are_left_out() -> None:
    assert lines("\ufeffOne   two\r\n\r\n  \n\tthree\n") == ["One two", "three"]


def test_tags_numbers_and_headers_of_subtitles_are_left_out() -> None:
    text = "WEBVTT - title\n\nNOTE no\n\n7\n00:01.000 --> 00:02.000 align:left\n<v Ann>Hello <i>you</i>\nthere\n\n"
    assert lines(text, "vtt") == ["Hello you there"]
    assert lines("1\r\n00:00:01,000 --> 00:00:02,000\r\n{\\an8}7\r\n\r\n", "srt") == ["7"]


def test_what_subtitles_escape_is_read_as_it_was() -> None:
    """Of `Tom & Jerry` in our own vtt the text became `Tom &amp; Jerry`."""
    one = replace(WRITTEN.segments[0], text=" Tom & Jerry <3")
    shown = replace(WRITTEN, segments=(one,)).render("vtt", Layout(preset="broadcast"))
    assert lines(shown, "vtt") == ["Tom & Jerry <3"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"segments": [{"start": 1}]}', "[1, 2]", "5", '"one"', '{"segments": 5}', "null"]
)
def test_json_without_texts_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="was expected"):
        lines(text, "json")


def test_json_may_be_a_list() -> None:
    assert lines('\ufeff["a b", "c"]', "json") == ["a b", "c"]
