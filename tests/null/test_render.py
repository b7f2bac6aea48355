"""`sottovoce render`, what it reads from other programs, and the flags that it shares with `transcribe`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from sottovoce.cli.app import run
from sottovoce.cli.exits import Exit
from sottovoce.cli.job import Job
from sottovoce.cli.transcribe import transcribe
from sottovoce.errors import OptionError
from sottovoce.text.formats import EVERY_FORMAT, FORMATS, Transcript
from sottovoce.types import Word

TEXT = 'Hello, world. "How are you?" I paid 3,000 dollars.'
SPOKEN = ("Hello", "world", "How", "are", "you", "I", "paid", "3,000", "dollars")
WORDS = [{"word": w, "start": i / 2, "end": i / 2 + 0.4} for i, w in enumerate(SPOKEN)]
STATS = {
    "seek": 0,
    "tokens": [1],
    "temperature": 0.0,
    "avg_logprob": -0.1,
    "compression_ratio": 1.0,
    "no_speech_prob": 0.0,
}
SEGMENTS = [
    {"id": 0, "start": 0.0, "end": 1.0, "text": " Hello, world.", **STATS},
    {"id": 1, "start": 1.0, "end": 4.5, "text": ' "How are you?" I paid 3,000 dollars.', **STATS},
]
VERBOSE: dict[str, Any] = {"task": "transcribe", "language": "english", "duration": 5.2, "text": TEXT}
DIARIZED: dict[str, Any] = {
    "task": "transcribe",
    "duration": 5.2,
    "text": "Hi there. Yes.",
    "segments": [
        {"type": "transcript.text.segment", "id": "seg_1", "start": 0, "end": 1, "text": "Hi there.", "speaker": "A"},
        {"type": "transcript.text.segment", "id": "seg_2", "start": 1, "end": 2, "text": " Yes.", "speaker": "B"},
    ],
}

# --- what others write -----------------------------------------------------------------------------------------------


def test_words_apart_from_segments_are_handed_out_with_their_marks() -> None:
    t = Transcript.from_dict({**VERBOSE, "segments": SEGMENTS, "words": WORDS})
    assert (t.language, t.duration, t.text) == ("en", 5.2, TEXT)
    assert [[w.word for w in s.words or ()] for s in t.segments] == [
        [" Hello,", " world."],
        [' "How', " are", ' you?"', " I", " paid", " 3,000", " dollars."],
    ]
    assert t.segments[1].words is not None
    assert (t.segments[1].words[0].start, t.segments[1].words[-1].end) == (1.0, 4.4)
    assert t.segments[0].avg_logprob == -0.1


def test_a_language_by_its_name_becomes_its_code() -> None:
    """Segments of verbose_json look like ours; its "japanese" had the rules of no language."""
    t = Transcript.from_dict({**VERBOSE, "language": "Japanese", "segments": SEGMENTS})
    assert t.language == "ja"


@pytest.mark.parametrize(("name", "time"), [("start", -0.5), ("end", float("nan")), ("end", float("inf"))])
def test_times_that_are_none_are_refused(name: str, time: float) -> None:
    """They failed while a file was written, as a fault of ours."""
    with pytest.raises(OptionError, match="seconds from 0 on were expected"):
        Transcript.from_dict({**VERBOSE, "segments": [{**SEGMENTS[0], name: time}]})


def test_words_alone_become_sentences() -> None:
    """timestamp_granularities=["word"] leaves segments out."""
    for segments in ({}, {"segments": None}):
        t = Transcript.from_dict({**VERBOSE, **segments, "words": WORDS})
        assert [s.text.strip() for s in t.segments] == ["Hello, world.", '"How are you?"', "I paid 3,000 dollars."]
        assert [(s.start, s.end) for s in t.segments] == [(0.0, 0.9), (1.0, 2.4), (2.5, 4.4)]
        assert "".join(s.text for s in t.segments) == TEXT


def test_words_alone_that_are_not_in_the_text_are_still_shown() -> None:
    words = [{"word": w, "start": float(i), "end": i + 0.5} for i, w in enumerate(("quite", "another", "thing"))]
    t = Transcript.from_dict({**VERBOSE, "words": words})
    assert "".join(s.text for s in t.segments) == " quite another thing"


def test_words_that_do_not_match_their_segment_are_left_out_and_the_next_one_has_its_own() -> None:
    words = [{**w, "word": "Goodbye"} if w["word"] == "Hello" else w for w in WORDS]
    t = Transcript.from_dict({**VERBOSE, "segments": SEGMENTS, "words": words})
    assert t.segments[0].words is None
    assert [w.word for w in t.segments[1].words or ()][:2] == [' "How', " are"]
    assert t.render("txt").split() == TEXT.split()


def test_solid_text_takes_its_words_too() -> None:
    given = {**VERBOSE, "language": "chinese", "text": "你好，世界。", "segments": None}
    given["words"] = [{"word": "你好", "start": 0.0, "end": 0.5}, {"word": "世界", "start": 0.6, "end": 1.0}]
    t = Transcript.from_dict(given)
    assert t.language == "zh"
    assert [w.word for w in t.segments[0].words or ()] == ["你好，", "世界。"]


def test_speakers_of_an_answer_are_kept() -> None:
    t = Transcript.from_dict(DIARIZED)
    assert [(s.id, s.speaker, s.words) for s in t.segments] == [(0, "A", None), (1, "B", None)]
    assert t.render("txt") == "A: Hi there.\nB: Yes.\n"
    assert json.loads(t.render("json"))["segments"][1]["speaker"] == "B"


def test_an_aligners_words_have_the_spaces_of_their_text_and_those_without_times_do_no_harm() -> None:
    words: list[dict[str, Any]] = [
        {"word": "In", "start": 0, "end": 0.3, "score": 0.5},
        {"word": "2020.", "start": 0.4},
    ]
    segment = {"start": 0.0, "end": 1.0, "text": " In 2020.", "words": words}
    assert Transcript.from_dict({"segments": [segment], "language": "en"}).segments[0].words is None
    words[1]["end"] = 0.9
    assert Transcript.from_dict({"segments": [segment], "language": "en"}).segments[0].words == (
        Word(" In", 0.0, 0.3, 0.5),
        Word(" 2020.", 0.4, 0.9, 1.0),
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "hello"}, "text without times was given, segments or words were expected"),
        ({}, "field 'segments' is missing"),
        ([1], "list was given, a dictionary was expected"),
        ({"segments": [{"start": 0, "text": "x"}]}, "field 'end' is missing"),
        ({"segments": [{"start": "a", "end": 1, "text": "x"}]}, "could not convert"),
        ({"segments": 3}, "transcript: "),
        ({"segments": [], "words": [{"word": "x"}], "text": "x"}, "transcript: |"),
    ],
)
def test_what_is_no_transcript_is_refused(given: Any, message: str) -> None:
    if message.endswith("|"):
        assert Transcript.from_dict(given).segments == ()
        return
    with pytest.raises(OptionError, match=message):
        Transcript.from_dict(given)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.json").write_text(json.dumps({**VERBOSE, "segments": SEGMENTS, "words": WORDS}))
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "talk.json").write_text(json.dumps(DIARIZED))
    return tmp_path


def test_files_are_named_like_their_transcript(talk: Path) -> None:
    assert run(["render", "talk.json", "-f", "srt,vtt", "-o", "out/all"]) == Exit.DONE
    t = Transcript.from_dict(json.loads((talk / "talk.json").read_text()))
    assert (talk / "out/all/talk.srt").read_text() == t.render("srt")
    assert (talk / "out/all/talk.vtt").read_text() == t.render("vtt")


def test_all_are_whispers_five_and_each_other_format_is_asked_for_by_name(talk: Path) -> None:
    assert run(["render", "talk.json", "-f", "all,ass,lrc,csv,md", "-o", "out"]) == Exit.DONE
    assert {path.suffix[1:] for path in (talk / "out").iterdir()} == set(EVERY_FORMAT)
    assert run(["render", "talk.json", "-f", "all", "-o", "five"]) == Exit.DONE
    assert {path.suffix[1:] for path in (talk / "five").iterdir()} == set(FORMATS)


def test_two_of_one_name_get_a_number(talk: Path) -> None:
    assert run(["render", "talk.json", "calls/talk.json", "-f", "txt", "-o", "out"]) == Exit.DONE
    assert (talk / "out/talk-2.txt").read_text() == "A: Hi there.\nB: Yes.\n"
    assert run(["render", "calls/talk.json", "-f", "diarized_json", "-o", "out"]) == Exit.DONE
    assert (talk / "out/talk.diarized.json").is_file()  # as transcribe calls it


def test_rules_are_those_of_the_flags(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "talk.json", "-o", "-", "--max-chars-per-line", "10", "--max-lines", "1"]) == Exit.DONE
    text = [line for line in capsys.readouterr().out.split("\n") if line and "-->" not in line and not line.isdigit()]
    assert " ".join(text).split() == TEXT.split()
    assert max(map(len, text)) <= 10
    assert run(["render", "talk.json", "-o", "-", "--max-line-width", "14", "--max-line-count", "1"]) == Exit.DONE
    assert "\nHello, world.\n" in capsys.readouterr().out
    assert run(["render", "calls/talk.json", "-o", "-", "-f", "txt", "--speaker-labels", "none"]) == Exit.DONE
    assert capsys.readouterr().out == "Hi there.\nYes.\n"


def test_another_language_has_other_rules(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for language, font in (("Japanese", "Noto Sans CJK JP"), ("zh-TW", "Noto Sans CJK SC")):
        assert run(["render", "talk.json", "-f", "ass", "-o", "-", "-l", language]) == Exit.DONE
        assert font in capsys.readouterr().out


def test_a_pipe_goes_to_a_pipe(talk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO((talk / "talk.json").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(["render", "-", "-f", "md", "--title", "A talk"]) == Exit.DONE
    assert capsys.readouterr().out == f"# A talk\n\n`0:00` {TEXT}\n"


def test_one_that_fails_does_not_touch_the_others(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (talk / "broken.json").write_text("{")
    assert run(["render", "broken.json", "gone.json", "talk.json", "-f", "txt"]) == Exit.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("sottovoce: broken.json: it is no json")
    assert lines[1] == "sottovoce: gone.json cannot be read: No such file or directory; a json file was expected"
    assert (talk / "talk.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["talk.json", "-f", "json"], "talk.json: it would be written over, and it is read"),
        (["talk.json", "-f", "srt,txt", "-o", "-"], "several texts for the standard output"),
        (["-", "-"], "- was given twice"),
        (["talk.json", "-f", "none"], "'none' was given, one of txt"),
        (["talk.json", "-f", "srt,,txt"], "'' was given, one of txt"),
        (["talk.json", "-f", "srt", "--word-cues"], "one of the formats vtt, ass, lrc was expected"),
        (["talk.json", "--subtitles", "plain", "--max-lines", "2"], "nothing was expected in the preset plain"),
        (["talk.json", "--subtitles", "short", "--max-line-width", "9"], "max_line_width: 9 was given"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    talk: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = (talk / "talk.json").read_bytes()
    assert run(["render", *arguments]) == Exit.USAGE
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert (talk / "talk.json").read_bytes() == before


# --- the same flags of transcribe ------------------------------------------------------------------------------------


def job(*arguments: str) -> Job:
    """The job that a command line asks for, which is taken down before a model is looked for."""
    found: list[Job] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sottovoce.cli.transcribe.prepare", lambda job, screen: (found.append(job), ([], []))[1])
        assert run(["transcribe", *arguments]) == Exit.DONE
    return found[0]


@pytest.mark.parametrize("formats", ["diarized_json", "srt,diarized_json"])
def test_speakers_are_asked_for_before_anything_is_decoded(formats: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Among other formats it was found out when the recording had been decoded."""
    assert run(["transcribe", "a.wav", "-f", formats]) == Exit.USAGE
    assert "it needs --diarize or --channels" in capsys.readouterr().err
    assert job("a.wav", "-f", formats, "--channel-names", "Anna,Bert").formats[-1] == "diarized_json"


def test_formats_are_joined_by_commas() -> None:
    assert job("a.wav", "-f", "srt,ASS,srt").formats == ("srt", "ass")
    assert job("a.wav", "-f", "all,md").formats == (*FORMATS, "md")
    assert job("a.wav").formats == FORMATS
    assert job("a.wav", "-f", "none").formats == ()


@pytest.mark.parametrize(
    ("flags", "word_timestamps"),
    [
        ([], False),
        (["--subtitles", "plain"], False),
        (["--subtitles", "broadcast"], True),
        (["--min-gap", "0.1"], True),
        (["--word-cues"], True),
        (["--subtitles", "short", "--highlight-words"], True),
        (["--subtitles", "broadcast", "--word_timestamps", "False"], False),
    ],
)
def test_subtitles_by_rules_follow_words_unless_told_not_to(flags: list[str], word_timestamps: bool) -> None:
    assert job("a.wav", *flags).options["word_timestamps"] is word_timestamps


def test_whispers_flags_still_need_words() -> None:
    assert run(["transcribe", "a.wav", "--max_line_width", "10"]) == Exit.USAGE


def test_no_flag_of_the_layout_reaches_the_decoder() -> None:
    from sottovoce.request import Request

    Request.of(job("a.wav", "--subtitles", "broadcast", "--speaker-labels", "dash", "--title", "x").options)


def test_transcribe_and_render_have_the_same_flags() -> None:
    from sottovoce.cli.layout import FIELDS
    from sottovoce.cli.render import render

    for command in (transcribe, render):
        names = {parameter.name for parameter in command.params if isinstance(parameter, click.Option)}
        assert set(FIELDS) <= names
