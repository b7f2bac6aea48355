"""Transcripts as text and as files."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.errors import OptionError, OutputError
from sottovoce.text.clock import format_timestamp
from sottovoce.text.formats import FORMATS, Dropped, Transcript, compression_ratio
from sottovoce.text.layout import Layout
from sottovoce.types import Segment, Word


def said(*segments: str, words: bool = True) -> Transcript:
    """A transcript in which every word takes half a second."""
    made, at = [], 0.0
    for i, text in enumerate(segments):
        spoken = tuple(Word(f" {w}", at + j / 2, at + (j + 1) / 2, 0.9) for j, w in enumerate(text.split()))
        end = at + len(spoken) / 2
        own = spoken if words else None
        made.append(Segment(i, 0, at, end, f" {text}", (50364, 5, 50414), 0.0, -0.25, 1.25, 0.125, own))
        at = end
    return Transcript("".join(s.text for s in made), tuple(made), "en", at)


TWO = said("The quick brown fox", "jumps over it")


def test_srt_is_written_as_players_read_it() -> None:
    assert said("Hello there.", "Bye.", words=False).render("srt") == (
        "1\n00:00:00,000 --> 00:00:01,000\nHello there.\n\n2\n00:00:01,000 --> 00:00:01,500\nBye.\n\n"
    )


def test_vtt_is_written_as_browsers_read_it() -> None:
    assert said("Hello there.", words=False).render("vtt") == "WEBVTT\n\n00:00.000 --> 00:01.000\nHello there.\n\n"


def test_tsv_has_milliseconds_and_no_stray_tab() -> None:
    transcript = said("Hello")
    transcript = replace(transcript, segments=(replace(transcript.segments[0], text=" a\tb"),))
    assert transcript.render("tsv") == "start\tend\ttext\n0\t500\ta b\n"


def test_json_has_the_references_keys_in_order() -> None:
    transcript = said("你好", words=False)
    assert transcript.render("json") == (
        '{"text": " \\u4f60\\u597d", "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 0.5, '
        '"text": " \\u4f60\\u597d", "tokens": [50364, 5, 50414], "temperature": 0.0, "avg_logprob": -0.25, '
        '"compression_ratio": 1.25, "no_speech_prob": 0.125}], "language": "en"}'
    )
    assert list(said("Hello").to_dict()["segments"][0])[-1] == "words"


def test_json_names_what_was_dropped_where_speech_was_looked_for() -> None:
    transcript = replace(TWO, coverage=0.75, dropped=(Dropped(1.0, 2.5, "no words"),))
    written = transcript.to_dict()
    assert list(written) == ["text", "segments", "language", "coverage", "dropped"]
    assert written["dropped"] == [{"start": 1.0, "end": 2.5, "reason": "no words"}]
    read = Transcript.from_dict(written)
    assert (read.coverage, read.dropped) == (transcript.coverage, transcript.dropped)
    assert Transcript.from_dict(TWO.to_dict()).coverage is None


def test_a_width_folds_and_keeps_segments_apart() -> None:
    assert TWO.render("srt", Layout(max_line_width=10)) == (
        "1\n00:00:00,000 --> 00:00:02,000\nThe quick\nbrown fox\n\n2\n00:00:02,000 --> 00:00:03,500\njumps over\nit\n\n"
    )


def test_width_and_count_together_run_across_segments() -> None:
    assert TWO.render("srt", Layout(max_line_width=17, max_line_count=1)) == (
        "1\n00:00:00,000 --> 00:00:01,500\nThe quick brown\n\n2\n00:00:01,500 --> 00:00:03,500\nfox jumps over it\n\n"
    )


def test_words_per_line_cut_a_segment() -> None:
    lines = TWO.render("vtt", Layout(max_words_per_line=3)).split("\n")[3::3]
    assert lines == ["The quick brown", "fox", "jumps over it"]


def test_each_word_is_highlighted_while_it_is_spoken() -> None:
    assert said("One two").render("vtt", Layout(highlight_words=True)) == (
        "WEBVTT\n\n00:00.000 --> 00:00.500\n<u>One</u> two\n\n00:00.500 --> 00:01.000\nOne <u>two</u>\n\n"
    )


def test_a_segment_without_words_among_others_is_still_written() -> None:
    """The reference fails with KeyError here."""
    first, second = TWO.segments
    mixed = replace(TWO, segments=(replace(first, words=()), replace(second, words=None)))
    assert mixed.render("srt").count("-->") == 2


@pytest.mark.parametrize("format", FORMATS)
def test_silence_is_written_too(format: str) -> None:
    text = Transcript("", (), "en", 12.0).render(format)
    assert text in ("", "WEBVTT\n\n", "start\tend\ttext\n", '{"text": "", "segments": [], "language": "en"}')


WORDS = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=9)
SENTENCES = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=5)
LIMITS = st.none() | st.integers(0, 30)


@given(sentences=SENTENCES, width=LIMITS, count=LIMITS, n_words=LIMITS, format=st.sampled_from(["srt", "vtt"]))
def test_no_layout_loses_a_word(
    sentences: list[str], width: int | None, count: int | None, n_words: int | None, format: str
) -> None:
    transcript = said(*sentences)
    layout = Layout(max_line_width=width, max_line_count=count, max_words_per_line=n_words)
    lines = transcript.render(format, layout).split("\n")
    times = [i for i, line in enumerate(lines) if " --> " in line]
    spans = zip(times, [*times[1:], len(lines) + 1], strict=False)
    texts = [" ".join(lines[i + 1 : end - (format == "srt")]) for i, end in spans]
    assert " ".join(" ".join(texts).split()) == " ".join(" ".join(sentences).split())


@given(st.floats(0, 400_000))
def test_a_time_is_readable_back(seconds: float) -> None:
    hours, minutes, rest = format_timestamp(seconds, always_include_hours=True).split(":")
    assert int(hours) * 3600 + int(minutes) * 60 + float(rest) == pytest.approx(seconds, abs=0.00051)


def test_hours_are_written_where_there_are_any() -> None:
    assert format_timestamp(3599.9994) == "59:59.999"
    assert format_timestamp(3599.9996) == "01:00:00.000"
    assert format_timestamp(1.5, always_include_hours=True, decimal_marker=",") == "00:00:01,500"


def test_repetition_compresses() -> None:
    assert compression_ratio("") == 0
    assert compression_ratio("thank you " * 50) > 2.4 > compression_ratio("The quick brown fox jumps over a lazy dog.")


@pytest.mark.parametrize("name", ["max_line_width", "max_line_count", "max_words_per_line"])
def test_a_negative_limit_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}: -1 was given"):
        Layout(**{name: -1})


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(OptionError, match="'docx' was given, one of txt, vtt, srt, tsv, json"):
        TWO.render("docx")


def test_an_incomplete_dictionary_is_refused() -> None:
    given = TWO.to_dict()
    del given["segments"][1]["seek"]
    with pytest.raises(OptionError, match="field 'seek' is missing"):
        Transcript.from_dict(given)
    with pytest.raises(OptionError, match="transcript: "):
        Transcript.from_dict({"text": "", "segments": [3], "language": "en"})


def test_a_dictionary_gives_the_transcript_back() -> None:
    assert Transcript.from_dict(TWO.to_dict()) == TWO
    odd = replace(TWO, segments=(replace(TWO.segments[0], no_speech_prob=nan),))
    assert Transcript.from_dict(odd.to_dict()).render("json") == odd.render("json")


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    for format in FORMATS:
        path = tmp_path / f"clip.{format.upper()}"
        TWO.write(path)
        assert path.read_text("utf-8") == TWO.render(format)
    assert len(list(tmp_path.iterdir())) == len(FORMATS)


def test_a_suffix_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no suffix was given"):
        TWO.write(tmp_path / "clip")
    TWO.write(tmp_path / "clip", format="srt")
    assert (tmp_path / "clip").read_text("utf-8") == TWO.render("srt")


def test_a_missing_folder_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone/a\.srt cannot be written: .*create its folder first"):
        TWO.write(tmp_path / "gone" / "a.srt")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be a folder"):
        TWO.write(tmp_path / "file" / "a.srt")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_with_its_remedy() -> None:
    with pytest.raises(OutputError, match=r"/dev/full cannot be written: .*free some space"):
        TWO.write("/dev/full", format="txt")
    assert Path("/dev/full").is_char_device()


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_failed_write_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "clip.txt"
    path.write_text("as it was")
    code = f"""if True:
        import resource
        from sottovoce.errors import OutputError
        from sottovoce.text.formats import Transcript
        from sottovoce.types import Segment
        long = Segment(0, 0, 0.0, 1.0, "x" * 100_000, (), 0.0, 0.0, 0.0, 0.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            Transcript("", (long,), "en", 1.0).write({str(path)!r})
        except OutputError as e:
            print(e)
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in result.stdout
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is unwritable to root")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="choose a folder that you may write to"):
            TWO.write(tmp_path / "a.srt")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_a_link_stays_a_link_and_a_mode_its_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("before")
    real.chmod(0o640)
    link.symlink_to(real)
    TWO.write(link)
    assert link.is_symlink()
    assert real.read_text() == TWO.render("txt")
    assert real.stat().st_mode & 0o777 == 0o640


def test_half_a_surrogate_is_answered_with_json(tmp_path: Path) -> None:
    odd = replace(TWO, text="\ud800", segments=(replace(TWO.segments[0], text="\ud800", words=None),))
    with pytest.raises(OutputError, match="write json"):
        odd.write(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
    odd.write(tmp_path / "a.json")
