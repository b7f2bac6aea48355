"""What is written is read back by programs that are not ours, with every escape and every word's time."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import pysubs2
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sottovoce.text.formats import EVERY_FORMAT, FORMATS, Transcript
from sottovoce.text.layout import Layout
from sottovoce.text.subtitles import Subtitle, subtitles
from sottovoce.types import Segment, Word
from tests.null.test_subtitles import ANY_CLOCK, layouts, transcripts

BROADCAST = Layout(preset="broadcast")


def said(*words: str, speaker: str | None = None, at: float = 0.0, with_words: bool = True) -> Segment:
    """A segment in which every word takes half a second."""
    spoken = tuple(Word(f" {w}", at + i / 2, at + (i + 1) / 2, 0.9) for i, w in enumerate(words))
    text = "".join(w.word for w in spoken)
    end = spoken[-1].end
    return Segment(0, 0, at, end, text, (), 0.0, 0.0, 1.0, 0.0, spoken if with_words else None, speaker)


def transcript(*segments: Segment, language: str = "en") -> Transcript:
    return Transcript("".join(s.text for s in segments), segments, language, segments[-1].end)


TRICKY = transcript(said("a<b>", "&amp;", "{x}", "c\\nd", "-->", '"q",', "*s*", "[00:01.00]", "<00:01.00>", "_u_"))


def expected(t: Transcript, layout: Layout) -> list[Subtitle]:
    return subtitles(t.segments, t.language, layout.rules(t.language), layout.speakers or "name")


# --- read back by others ---------------------------------------------------------------------------------------------


@given(t=transcripts(languages=("en", "de", "ja", "zh", "th", "ar", "ko")), layout=layouts())
@settings(max_examples=60, deadline=None)
def test_srt_is_read_back(t: Transcript, layout: Layout) -> None:
    subs = expected(t, layout)
    events = pysubs2.SSAFile.from_string(t.render("srt", layout), format_="srt").events
    assert [(e.start, e.end, e.text.replace("\\N", "\n")) for e in events] == [
        (round(s.start * 1000), round(s.end * 1000), s.text) for s in subs
    ]


@given(t=transcripts(languages=("en", "de", "ja", "zh", "th", "ar", "ko")), layout=layouts(), cued=st.booleans())
@settings(max_examples=60, deadline=None)
def test_vtt_is_read_back(t: Transcript, layout: Layout, cued: bool) -> None:
    subs = expected(t, layout)
    read = list(webvtt.from_string(t.render("vtt", replace(layout, word_cues=cued))))
    assert [(_seconds(c.start), _seconds(c.end)) for c in read] == [(s.start, s.end) for s in subs]
    assert [[_plain_vtt(line) for line in c.raw_text.split("\n")] for c in read] == [
        [line.text for line in s.lines] for s in subs
    ]
    if not cued:
        return
    for c in read:
        times = [_seconds(x) for x in re.findall(r"<(\d[\d:.]*)>", c.raw_text)]
        inside = [_seconds(c.start), *times, _seconds(c.end)]
        assert all(a < b for a, b in pairwise(inside)), "times inside a cue go up, as the format demands"


def _plain_vtt(text: str) -> str:
    for escape, c in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = re.sub(r"<[^>]*>", "", text) if escape == "&lt;" else text
        text = text.replace(escape, c)
    return text


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return round(total, 3)


@given(t=transcripts(languages=("en", "de", "ja", "zh", "th", "ar", "ko")), layout=layouts(), cued=st.booleans())
@settings(max_examples=60, deadline=None)
def test_ass_is_read_back(t: Transcript, layout: Layout, cued: bool) -> None:
    subs = expected(t, layout)
    events = pysubs2.SSAFile.from_string(t.render("ass", replace(layout, word_cues=cued)), format_="ass").events
    assert [e.plaintext for e in events] == [s.text for s in subs]
    for e, s in zip(events, subs, strict=True):
        assert abs(e.start - s.start * 1000) <= 5.001
        assert abs(e.end - s.end * 1000) <= 5.001
        if cued:
            took = sum(int(k) for k in re.findall(r"\\k(\d+)", e.text))
            assert took * 10 <= e.end - e.start + 1, "words are spoken while their line is shown"
    for a, b in pairwise(events):
        assert a.end <= b.start


@given(t=transcripts(languages=("en", "ja", "ar")), layout=layouts(), cued=st.booleans())
@settings(max_examples=40, deadline=None)
def test_lyrics_are_read_back(t: Transcript, layout: Layout, cued: bool) -> None:
    subs = expected(t, layout)
    lines = t.render("lrc", replace(layout, word_cues=cued)).splitlines()
    read = [re.fullmatch(r"\[(\d\d+:\d\d\.\d\d)\](.*)", line) for line in lines]
    assert all(read)
    texts = [re.sub(r"<\d+:\d\d\.\d\d>", "", m[2]) for m in read if m and m[2]]
    assert texts == [s.text.replace("\n", " ") for s in subs]
    times = [_seconds(m[1]) for m in read if m]
    assert times == sorted(times)


# --- escapes ---------------------------------------------------------------------------------------------------------


def test_vtt_escapes_what_is_markup() -> None:
    text = TRICKY.render("vtt", BROADCAST)
    assert "a&lt;b&gt; &amp;amp; {x} c\\nd --&gt;" in text.replace("\n", " ")
    assert text.count("-->") == text.count(" --> "), "no arrow but those of times"


def test_ass_escapes_braces_and_backslashes() -> None:
    text = TRICKY.render("ass", BROADCAST)
    assert "\\{x\\} c\\\u2060nd" in text.replace("\\N", " ")


def test_srt_has_no_arrow_in_its_text() -> None:
    text = TRICKY.render("srt", BROADCAST)
    assert text.count("-->") == len(pysubs2.SSAFile.from_string(text, format_="srt").events)


def test_lyrics_have_no_times_that_were_spoken() -> None:
    body = re.sub(r"^\[[\d:.]+\]", "", TRICKY.render("lrc", BROADCAST), flags=re.M)
    assert "(00:01.00) (00:01.00)" in " ".join(body.split())
    assert "[" not in body


@ANY_CLOCK
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=4))
def test_csv_is_read_back(texts: list[str]) -> None:
    segments = tuple(replace(said("x", at=i), text=text, speaker=text) for i, text in enumerate(texts))
    rows = list(csv.reader(StringIO(Transcript("", segments, "en", 1.0).render("csv"), newline="")))
    assert rows[0] == ["start", "end", "speaker", "text"]
    assert [row[2:] for row in rows[1:]] == [[text, text.strip()] for text in texts]
    assert [float(row[0]) for row in rows[1:]] == [float(i) for i in range(len(texts))]


MARKS = st.text(st.sampled_from("abc #*_`[]()<>&~|!+-=\\1.$\"':"), min_size=1, max_size=30)


@ANY_CLOCK
@given(MARKS, MARKS)
def test_markdown_shows_the_very_words(text: str, speaker: str) -> None:
    segment = replace(said("x"), text=text, speaker=speaker)
    written = Transcript(text, (segment,), "en", 1.0).render("md", Layout(title=text))
    blocks = MarkdownIt("commonmark").parse(written)
    shown = ["".join(c.content for c in block.children or ()) for block in blocks if block.type == "inline"]
    words = " ".join(text.split())
    if not words:
        return
    who = " ".join(speaker.split())
    assert shown == [words, f"{who} 0:00 {words}" if who else f"0:00 {words}"]


def test_markdown_has_paragraphs_by_speaker_and_pause() -> None:
    t = transcript(
        said("Hello", "there.", speaker="Anna"),
        said("How", "are", "you?", speaker="Anna", at=1.2),
        said("Fine.", speaker="Ben", at=3.0),
        said("Later", "on.", speaker="Ben", at=9.0),
    )
    assert t.render("md", Layout(title="A *talk*")) == (
        "# A \\*talk\\*\n\n**Anna** `0:00` Hello there. How are you?\n\n**Ben** `0:03` Fine.\n\n`0:09` Later on.\n"
    )
    assert "Anna" not in t.render("md", Layout(speakers="none"))


# --- words -----------------------------------------------------------------------------------------------------------

TWO = transcript(said("One", "two"))


def test_words_have_times_inside_vtt() -> None:
    assert "<c>One</c><00:00.500><c> two</c>" in TWO.render("vtt", replace(BROADCAST, word_cues=True))
    assert "<c>One</c><00:00.500><c> two</c>" in TWO.render("vtt", Layout(word_cues=True)), "also as whisper sets it"


def test_words_have_their_time_in_karaoke() -> None:
    text = TWO.render("ass", replace(BROADCAST, word_cues=True))
    assert text.endswith(",{\\k50}One{\\k0} {\\k50}two\n")


def test_words_have_times_in_lyrics() -> None:
    assert "[00:00.00]<00:00.00>One <00:00.50>two\n" in TWO.render("lrc", replace(BROADCAST, word_cues=True))


@pytest.mark.parametrize(
    ("format", "first"),
    [("srt", "<u>One</u> two"), ("vtt", "<u>One</u> two"), ("ass", "{\\1c&H3CDCFF&\\u1}One{\\r} two")],
)
def test_the_word_that_is_spoken_is_marked(format: str, first: str) -> None:
    text = TWO.render(format, replace(BROADCAST, highlight_words=True))
    assert first in text
    if format != "vtt":
        read = pysubs2.SSAFile.from_string(text, format_=format).events
        assert [(e.start, e.end) for e in read][:2] == [(0, 500), (500, 1000)]


@given(t=transcripts(), layout=layouts())
@settings(max_examples=40, deadline=None)
def test_marking_words_changes_no_time_and_no_text(t: Transcript, layout: Layout) -> None:
    subs = expected(t, layout)
    marked = list(webvtt.from_string(t.render("vtt", replace(layout, highlight_words=True))))
    for a, b in pairwise(marked):
        assert _seconds(a.end) <= _seconds(b.start)
    assert {s.start for s in subs} <= {_seconds(c.start) for c in marked}
    assert {_plain_vtt(c.raw_text) for c in marked} == {s.text for s in subs}


# --- speakers --------------------------------------------------------------------------------------------------------

DIALOGUE = transcript(said("Hello", "there.", speaker="Anna"), said("Hi.", speaker="B<en", at=3.0))


@pytest.mark.parametrize("layout", [Layout(), BROADCAST])
def test_speakers_are_named_where_they_are_known(layout: Layout) -> None:
    assert "\nAnna: Hello there.\n" in DIALOGUE.render("srt", layout)
    assert DIALOGUE.render("txt", layout) == "Anna: Hello there.\nB<en: Hi.\n"
    assert DIALOGUE.render("tsv", layout).splitlines()[1] == "0\t1000\tHello there.\tAnna"
    for format in EVERY_FORMAT:
        if format not in ("json", "csv"):
            assert "Anna" not in DIALOGUE.render(format, replace(layout, speakers="none"))


def test_voices_are_vtts_own() -> None:
    assert "<v Anna>Anna: Hello there.</v>" in DIALOGUE.render("vtt", BROADCAST)
    assert "<v B&lt;en>B&lt;en: Hi.</v>" in DIALOGUE.render("vtt", BROADCAST)


def test_a_dictionary_carries_speakers_only_where_they_are_known() -> None:
    assert "speaker" not in json.dumps(TWO.to_dict())
    d = DIALOGUE.to_dict()
    assert d["segments"][0]["speaker"] == "Anna"
    assert Transcript.from_dict(d).segments[0].speaker == "Anna"
    words = tuple(replace(w, speaker="Cleo") for w in TWO.segments[0].words or ())
    t = transcript(replace(TWO.segments[0], words=words))
    assert Transcript.from_dict(json.loads(t.render("json"))).segments == t.segments


def test_all_is_still_what_whisper_writes() -> None:
    assert FORMATS == ("txt", "vtt", "srt", "tsv", "json")
    assert EVERY_FORMAT[: len(FORMATS)] == FORMATS


def test_right_to_left_text_takes_its_own_direction() -> None:
    t = transcript(said("مرحبا", "بك."), language="ar")
    assert t.render("ass", BROADCAST).split("\nStyle: ")[1].split("\n")[0].endswith(",-1")
    assert TWO.render("ass", BROADCAST).split("\nStyle: ")[1].split("\n")[0].endswith(",1")
