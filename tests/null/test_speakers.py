"""Words and turns joined; turns, speakers and diarized_json written. No sound, no network."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sottovoce.errors import OptionError
from sottovoce.flow.protocol import Heard, Known
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.speakers import channel_names, labelled, side_by_side
from sottovoce.text import turns as forms
from sottovoce.text.diarized import diarized
from sottovoce.text.formats import Transcript
from sottovoce.text.speakers import Speakers, label
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Segment, Turn, Word

T = Tokenizer(51865, "en", "transcribe")
TURNS = [Turn(0.0, 2.0, "A"), Turn(2.2, 4.0, "B"), Turn(6.0, 8.0, "A"), Turn(7.0, 7.5, "B")]


def segment(text: str, start: float, step_s: float = 0.5, id: int = 0) -> Segment:
    words = tuple(Word(f" {w}", start + i * step_s, start + (i + 1) * step_s, 0.9) for i, w in enumerate(text.split()))
    tokens = (T.timestamp_begin, *T.encode(f" {text}"), T.timestamp_begin + 100)
    return Segment(id, 0, start, words[-1].end, f" {text}", tokens, 0.0, -0.2, 1.1, 0.0, words)


@pytest.mark.parametrize(
    ("start", "end", "before", "expected"),
    [
        (0.5, 1.0, None, "A"),
        (1.9, 2.8, None, "B"),  # who has the larger part
        (4.2, 4.4, None, "B"),  # a gap: the nearest
        (5.6, 5.8, None, "A"),
        (9.0, 9.5, None, "A"),  # after the end
        (7.0, 7.4, "A", "A"),  # both at once: who spoke before
        (7.0, 7.4, "B", "B"),
        (6.9, 7.2, "B", "A"),  # but not where he has clearly less
    ],
)
def test_a_word_is_whose_turn_it_lies_in(start: float, end: float, before: str | None, expected: str) -> None:
    assert Speakers(TURNS).of(start, end, before) == expected


def test_a_long_turn_is_found_behind_many_short_ones() -> None:
    many = [Turn(0.0, 100.0, "A"), *(Turn(i, i + 0.1, "B") for i in range(1, 60))]
    assert Speakers(many).of(70.0, 70.5) == "A"


def test_a_segment_is_parted_where_the_speaker_changes() -> None:
    one = segment("how are you today very well thank you", 0.0)
    parts = label([one], Speakers([Turn(0.0, 2.0, "A"), Turn(2.0, 4.0, "B")]), T, first_id=7)
    assert [(p.id, p.speaker, p.text) for p in parts] == [
        (7, "A", " how are you today"),
        (8, "B", " very well thank you"),
    ]
    assert [(p.start, p.end) for p in parts] == [(0.0, 2.0), (2.0, 4.0)]
    assert [t for p in parts for t in p.tokens] == list(one.tokens)
    assert [T.decode([t for t in p.tokens if t < T.eot]) for p in parts] == [p.text for p in parts]
    assert all(word.speaker == p.speaker for p in parts for word in p.words or ())


def test_half_a_characters_token_stays_with_its_other_half() -> None:
    tokenizer = Tokenizer(51865, "ja", "transcribe")
    text = "鷹狩の話です"
    words = tuple(Word(c, i * 0.5, i * 0.5 + 0.5, 0.9) for i, c in enumerate(text))
    one = Segment(0, 0, 0.0, 3.0, text, tuple(tokenizer.encode(text)), 0.0, 0.0, 1.0, 0.0, words)
    parts = label([one], Speakers([Turn(0.0, 1.0, "A"), Turn(1.0, 3.0, "B")]), tokenizer)
    assert "".join(p.text for p in parts) == text
    assert [t for p in parts for t in p.tokens] == list(one.tokens)
    assert all("\N{REPLACEMENT CHARACTER}" not in tokenizer.decode(p.tokens) for p in parts)


def test_a_syllable_amid_anothers_words_is_no_turn() -> None:
    one = segment("we went to the sea", 0.0, 0.3)
    parts = label([one], Speakers([Turn(0.0, 0.6, "A"), Turn(0.6, 0.9, "B"), Turn(0.9, 1.5, "A")]), T)
    assert [p.speaker for p in parts] == ["A"]


def test_a_segment_without_words_goes_to_one_speaker() -> None:
    one = replace(segment("mm", 6.1), words=None)
    assert [p.speaker for p in label([one], Speakers(TURNS), T)] == ["A"]


def test_where_nobody_was_heard_all_is_one_speakers() -> None:
    assert [p.speaker for p in label([segment("hello", 0.0)], Speakers([]), T)] == ["SPEAKER_00"]


def flow(*known: Known, end: Transcript) -> object:
    """A flow that says this, and asks nothing."""
    yield Heard("en", 1.0)
    yield from known
    return end


def drive(given: object) -> tuple[list[object], Transcript]:
    events = []
    while True:
        try:
            events.append(next(given))  # type: ignore[call-overload]
        except StopIteration as stop:
            return events, stop.value


def test_segments_come_with_their_speakers_and_new_numbers() -> None:
    first, second = segment("one two three four", 1.0), segment("five six", 6.0, id=1)
    end = Transcript("one two three four five six", (first, second), "en", 9.0)
    events, transcript = drive(labelled(flow(Known((first,), 4.0), Known((second,), 9.0), end=end), TURNS, lambda _: T))
    told = [s for event in events if isinstance(event, Known) for s in event.segments]
    assert tuple(told) == transcript.segments
    assert [(s.id, s.speaker) for s in told] == [(0, "A"), (1, "B"), (2, "A")]
    assert transcript.text == end.text


def test_channels_are_merged_by_time() -> None:
    left, right = (segment("good morning", 0.0), segment("yes please", 3.0)), (segment("hello there", 1.5),)
    flows = [
        (name, flow(Known(some, 5.0), end=Transcript("".join(s.text for s in some), some, "en", 5.0, coverage=1.0)))
        for name, some in (("left", left), ("right", right))
    ]
    events, transcript = drive(side_by_side(flows))  # type: ignore[arg-type]
    assert [(s.id, s.speaker, s.text) for s in transcript.segments] == [
        (0, "left", " good morning"),
        (1, "right", " hello there"),
        (2, "left", " yes please"),
    ]
    assert sum(isinstance(event, Heard) for event in events) == 1
    assert [event.position_s for event in events if isinstance(event, Known)] == [2.5, 5.0, 5.0]


@pytest.mark.parametrize("told", [None, "by segment"])
def test_channels_may_speak_two_languages(told: str | None) -> None:
    """All of the recording was said to be in the language of the channel that says most."""
    left, right = segment("good morning and yes please", 0.0), segment("guten Tag", 3.0)
    if told:
        left, right = replace(left, language="en"), replace(right, language="de")
    flows = [
        (name, flow(end=Transcript(one.text, (one,), code, 5.0, languages={code: 1.0} if told else {})))
        for name, one, code in (("left", left, "en"), ("right", right, "de"))
    ]
    _, transcript = drive(side_by_side(flows))  # type: ignore[arg-type]
    assert [s.language for s in transcript.segments] == ["en", "de"]
    assert transcript.language == "en" and transcript.languages == {"en": 0.7143, "de": 0.2857}


def test_a_keyword_of_what_is_read_is_guessed_too() -> None:
    for wrong, right in (("channnels", "channels"), ("cleen", "clean"), ("diarise", "diarize")):
        with pytest.raises(OptionError, match=f"did you mean {right}"):
            Request.of({wrong: True})


def test_rttm_is_nists() -> None:
    assert forms.rttm([Turn(1.0, 2.5, "Anna B")], "my talk") == (
        "SPEAKER my_talk 1 1.000 1.500 <NA> <NA> Anna_B <NA> <NA>\n"
    )
    assert json.loads(forms.json(TURNS, "x"))["speakers"] == {"A": 4.0, "B": 2.3}
    assert forms.txt([Turn(61.0, 62.5, "A")], "x") == "[01:01.000 --> 01:02.500] A\n"


def test_diarized_json_is_openais() -> None:
    segments = [replace(segment(t, i), speaker=s) for i, (t, s) in enumerate([("a", "SPEAKER_00"), ("b", "Anna")])]
    segments.append(replace(segments[0], speaker="SPEAKER_01"))
    found = diarized(" a b a", segments, 3.0)
    assert set(found) == {"task", "duration", "text", "segments"}
    assert set(found["segments"][0]) == {"type", "id", "start", "end", "text", "speaker"}
    assert [s["speaker"] for s in found["segments"]] == ["A", "Anna", "B"]
    with pytest.raises(OptionError, match="--diarize"):
        diarized("a", [segment("a", 0)], 1.0)


def test_no_letter_is_a_name_that_is_taken() -> None:
    segments = [replace(segment("a", 0.0), speaker=name) for name in ("A", "SPEAKER_00")]
    assert [s["speaker"] for s in diarized("", segments, 1.0)["segments"]] == ["A", "B"]


def test_json_carries_speakers_only_where_there_are_any() -> None:
    plain = segment("hello", 0.0)
    assert "speaker" not in json.dumps(Transcript("", (plain,), "en", 1.0).to_dict())
    told = label([plain], Speakers(TURNS), T)
    transcript = Transcript("", tuple(told), "en", 1.0)
    assert Transcript.from_dict(transcript.to_dict()).segments == tuple(told)
    assert transcript.render("txt") == "A: hello\n"


@pytest.mark.parametrize(
    "given",
    [
        {"speakers": 2},
        {"known_speakers": {"Anna": "anna.wav"}},
        {"diarize": True, "speakers": 0},
        {"diarize": True, "speakers": 2, "max_speakers": 3},
        {"diarize": True, "min_speakers": 4, "max_speakers": 3},
        {"diarize": True, "known_speakers": ["anna.wav"]},
        {"diarize": True, "channels": True},
        {"channels": True, "channel": 1},
        {"channels": "left,right"},
        {"channels": ["one"]},
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=r"was expected|were expected"):
        Request.of(given)


def test_known_speakers_are_read_by_name() -> None:
    assert Request.of({"diarize": True, "known_speakers": {"Anna": "a.wav"}}).options == Options(
        diarize=True, known_speakers=(("Anna", "a.wav"),)
    )


def test_every_channel_has_a_name() -> None:
    assert channel_names(True, 2) == ("left", "right")
    assert channel_names(True, 3) == ("channel 0", "channel 1", "channel 2")
    with pytest.raises(OptionError, match="2 were expected"):
        channel_names(("a", "b", "c"), 2)
