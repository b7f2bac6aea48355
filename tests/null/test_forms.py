"""What clients send as fields, in every spelling, and what is made of it: options, answers, or a named error."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.errors import OptionError, SottovoceError
from sottovoce.options import Options
from sottovoce.server import failures, fields, forms
from sottovoce.server.failures import RequestError
from sottovoce.server.fields import Format, Wanted
from sottovoce.types import TEMPERATURES, Strategy, Task

VOICE = "data:audio/wav;base64," + base64.b64encode(b"RIFF").decode()


def wanted(*items: tuple[str, Any], **more: Any) -> Wanted:
    return fields.wanted(forms.gathered(items), **more)


def options(*items: tuple[str, Any]) -> Options:
    return wanted(*items).request.options


def refusal(*items: tuple[str, Any], **more: Any) -> tuple[int, str | None, str]:
    """Status, field and message with which a form is refused."""
    with pytest.raises(SottovoceError) as caught:
        wanted(*items, **more)
    kind, message, param = failures.told(caught.value)
    return kind.status, param, message


@pytest.mark.parametrize(
    "items",
    [
        [("keywords[]", "Ada"), ("keywords[]", "Sottovoce:2")],
        [("keywords", "Ada"), ("keywords", "Sottovoce:2")],
        [("keywords[0]", "Ada"), ("keywords[1]", "Sottovoce:2")],
        [("keywords", '["Ada", "Sottovoce:2"]')],
        [("keywords", "Ada, Sottovoce:2")],
    ],
)
def test_a_list_is_read_in_every_spelling(items: list[tuple[str, str]]) -> None:
    assert options(*items).keywords == (("Ada", 1.0), ("Sottovoce", 2.0))


def test_a_comma_inside_a_bracketed_keyword_is_its_own() -> None:
    assert options(("keywords[]", "Smith, Jones")).keywords == (("Smith, Jones", 1.0),)


@pytest.mark.parametrize(
    "items",
    [
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.5")],
        [("chunking_strategy", '{"type": "server_vad", "threshold": 0.5}')],
    ],
)
def test_an_object_is_read_in_every_spelling_and_what_changes_nothing_is_told(items: list[tuple[str, str]]) -> None:
    assert wanted(*items).ignored == ("chunking_strategy[threshold]",)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("beam_size", "5", 5),
        ("patience", "1", 1.0),
        ("word_timestamps", "true", True),
        ("word_timestamps", "0", False),
        ("condition_on_previous_text", "True", True),
        ("compression_ratio_threshold", "none", None),
        ("strategy", "sequential", Strategy.SEQUENTIAL),
        ("task", "translate", Task.TRANSLATE),
        ("language", "German", "de"),
        ("languages", "de,en", ("de", "en")),
        ("clips", "0,10.5,60", ((0.0, 10.5), (60.0, None))),
        ("clips", "[[0, 1], [2, 3]]", ((0.0, 1.0), (2.0, 3.0))),
        ("suppress_tokens", "-1,50", (-1, 50)),
        ("replacements", "colour=color", (("colour", "color"),)),
        ("initial_prompt", "[music] and words", "[music] and words"),
        ("initial_prompt", "[1, 2]", (1, 2)),
        ("seed", "7", 7),
    ],
)
def test_an_option_of_ours_has_its_kind(name: str, text: str, value: Any) -> None:
    more = [("beam_size", "5")] if name == "patience" else []
    assert getattr(options((name, text), *more), name) == value


def test_every_option_of_ours_is_offered() -> None:
    assert set(Options.__dataclass_fields__) - set(fields.OF_FILES) <= fields.KNOWN


def test_temperature_0_climbs_and_a_list_is_the_ladder_itself() -> None:
    assert options(("temperature", "0")).temperature == TEMPERATURES
    assert options(("temperature", "0.4")).temperature == (0.4,)
    assert options(("temperature[]", "0")).temperature == (0.0,)


def test_an_empty_field_is_left_out() -> None:
    assert wanted(("language", ""), ("prompt", ""), ("response_format", "")) == wanted()


@pytest.mark.parametrize(
    ("items", "words", "segments"),
    [
        ([], False, True),
        ([("timestamp_granularities[]", "segment")], False, True),
        ([("timestamp_granularities", "word")], True, False),
        ([("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")], True, True),
    ],
)
def test_granularities_say_what_verbose_json_has(items: list[tuple[str, str]], words: bool, segments: bool) -> None:
    found = wanted(("response_format", "verbose_json"), *items)
    assert (found.words, found.segments) == (words, segments)
    assert found.request.options.word_timestamps == words


def test_speakers_are_told_apart_where_the_format_needs_it() -> None:
    assert options(("response_format", "diarized_json")).diarize
    assert not options(("response_format", "diarized_json"), ("channels", "true")).diarize
    known = options(("known_speaker_names[]", "Ada"), ("known_speaker_references[]", VOICE))
    assert known.diarize and known.known_speakers == (("Ada", b"RIFF"),)


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([("beam_sise", "2")], "beam_sise"),
        ([("beam_size", "2.5")], "beam_size"),
        ([("beam_size", "99")], "beam_size"),
        ([("temperature", "warm")], "temperature"),
        ([("temperature", "nan")], "temperature"),
        ([("word_timestamps", "perhaps")], "word_timestamps"),
        ([("language", "klingon")], "language"),
        ([("language", "en"), ("language", "de")], "language"),
        ([("model", "a"), ("model", "b")], "model"),
        ([("response_format", "docx")], "response_format"),
        ([("response_format", "srt"), ("stream", "true")], "response_format"),
        ([("timestamp_granularities[]", "word")], "timestamp_granularities"),
        ([("timestamp_granularities[]", "letter"), ("response_format", "verbose_json")], "timestamp_granularities"),
        ([("include[]", "everything")], "include"),
        ([("include[]", "logprobs"), ("response_format", "text")], "include"),
        ([("chunking_strategy", "never")], "chunking_strategy"),
        ([("chunking_strategy", "{half")], "chunking_strategy"),
        ([("known_speaker_names[]", "Ada")], "known_speaker_names"),
        ([("known_speakers", "Ada=/etc/passwd")], "known_speakers"),
        ([("replacements", "/etc/passwd")], "replacements"),
        ([("keywords", "[" * 5000)], "keywords"),
        ([("vad", "false"), ("strategy", "parallel")], "vad"),
        ([("prompt", "a"), ("initial_prompt", "b")], "prompt"),
        ([("on_segment", "print")], "on_segment"),
        ([("end_s", "-1")], "end_s"),
        ([("preset", "wide")], "preset"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(items: list[tuple[str, str]], param: str) -> None:
    status, found, message = refusal(*items)
    assert (status, found) == (400, param)
    assert message.startswith(param)


@pytest.mark.parametrize("url", ["/etc/passwd", "https://example.com/a.wav", "data:audio/wav,abc", "data:;base64,"])
def test_a_reference_of_a_speaker_is_a_data_url_and_nothing_is_fetched(url: str) -> None:
    items = ("known_speaker_names[]", "Ada"), ("known_speaker_references[]", url)
    assert refusal(*items)[:2] == (400, "known_speaker_references[0]")


def test_an_unknown_field_has_its_nearest_name_or_is_told_as_ignored() -> None:
    assert "did you mean beam_size?" in refusal(("beam_sise", "2"))[2]
    assert wanted(("colour", "red"), ignores_unknown=True).ignored == ("colour",)


def test_translating_is_said_by_the_route() -> None:
    assert wanted(translates=True).request.options.task is Task.TRANSLATE
    assert refusal(("task", "transcribe"), translates=True)[:2] == (400, "task")


NAMES = st.sampled_from([*sorted(fields.KNOWN), "x", "file[", "a[b][c]", "[]"])
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["1", "-1", "true", "[1, 2]", "{}", '{"type": 1}', "[[1]]"]))


@given(st.lists(st.tuples(st.builds(str.__add__, NAMES, st.sampled_from(["", "[]", "[a]"])), TEXTS), max_size=4))
def test_whatever_a_form_says_it_is_asked_for_or_refused(items: list[tuple[str, str]]) -> None:
    try:
        found = wanted(*items)
    except (OptionError, RequestError) as e:
        assert failures.told(e)[0].status in (400, 404)
    else:
        assert isinstance(found.format, Format)
