"""A result comes back as it was, to who brings the same recording, and to nobody else."""

from __future__ import annotations

from dataclasses import fields, replace
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.server.sealed import HEAD, Key, of_code
from sottovoce.text.formats import Dropped, Missing, Transcript
from sottovoce.text.packed import pack, unpack
from sottovoce.types import Segment, Strategy, Task, Word

numbers = st.floats(allow_nan=False)
texts = st.text(max_size=8) | st.just("\ud800 \u2028 日本")
maybe_text = st.none() | texts
words = st.builds(Word, texts, numbers, numbers, numbers, maybe_text)
segments = st.builds(
    Segment, st.integers(), st.integers(), numbers, numbers, texts, st.lists(st.integers(), max_size=3).map(tuple),
    numbers, numbers, numbers, numbers, st.none() | st.lists(words, max_size=2).map(tuple), maybe_text, maybe_text,
)  # fmt: skip
shares = st.dictionaries(texts, numbers, max_size=3)
transcripts = st.builds(
    Transcript, texts, st.lists(segments, max_size=3).map(tuple), texts, numbers, numbers, shares,
    st.sampled_from(Task), st.none() | numbers, st.lists(st.builds(Dropped, numbers, numbers, texts)).map(tuple),
    shares, st.lists(st.builds(Missing, st.integers(), texts, numbers)).map(tuple),
)  # fmt: skip
KEY = Key.of(b"sound", "base")
PLAIN = Transcript("Secret words.", (), "en", 3.0)


@given(transcripts)
def test_no_field_and_no_digit_is_lost(transcript: Transcript) -> None:
    again, made_s = KEY.open(KEY.seal(transcript, 12.5))
    assert again == transcript and made_s == 12.5
    for f in fields(Transcript):
        assert repr(getattr(again, f.name)) == repr(getattr(transcript, f.name))


def test_what_is_no_number_stays_so() -> None:
    assert isnan(unpack(Transcript, pack(replace(PLAIN, duration=float("nan")))).duration)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"text": 1}', '{"text": "a", "segments": 3}', '{"other": 1}', "nul", "[" * 100_000]
)
def test_what_is_no_transcript_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack(Transcript, text)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_seen(at: int, by: int) -> None:
    sealed = bytearray(KEY.seal(PLAIN, 0.0))
    sealed[at % len(sealed)] ^= by
    with pytest.raises(ValueError, match="damaged"):
        KEY.open(bytes(sealed))


@given(st.integers(0, 10_000))
def test_a_part_is_seen(n: int) -> None:
    sealed = KEY.seal(PLAIN, 0.0)
    with pytest.raises(ValueError, match=r"shorter|damaged"):
        KEY.open(sealed[: n % len(sealed)])


def test_nobody_reads_it_without_the_recording() -> None:
    sealed = KEY.seal(PLAIN, 0.0)
    assert b"Secret" not in sealed and KEY.secret not in sealed
    assert sealed[HEAD.size :] != KEY.seal(PLAIN, 0.0)[HEAD.size :]
    with pytest.raises(ValueError, match="damaged"):
        Key.of(b"another", "base").open(sealed)
    assert Key.of(b"another", "base").name != KEY.name != KEY.secret.hex()


def test_every_option_makes_another_result() -> None:
    changed: dict[str, object] = {
        "language": "de", "task": Task.TRANSLATE, "temperature": (0.5,), "prefix": "a", "initial_prompt": (1, 2),
        "suppress_tokens": (3,), "clips": ((1.0, None),), "keywords": (("Ada", 2.0),), "replacements": (("a", "b"),),
        "hotwords": "a", "strategy": Strategy.SEQUENTIAL, "diarize": True, "languages": ("de",),
    }  # fmt: skip
    names = {Key.of(b"", Request()).name}
    for name, value in changed.items():
        names.add(Key.of(b"", Request(replace(Options(), **{name: value}))).name)  # type: ignore[arg-type]
    for request in (Request(stream=1), Request(channel=1), Request(end_s=3.0), Request(channels=True)):
        names.add(Key.of(b"", request).name)
    assert len(names) == 1 + len(changed) + 4
    assert Key.of(b"", Request()).name == Key.of(b"", Request()).name


def test_what_has_no_name_that_lasts_is_refused() -> None:
    with pytest.raises(TypeError, match="no name"):
        Key.of(b"", Request(on_segment=lambda segment: segment))


def test_the_code_has_a_name() -> None:
    assert of_code() == of_code() and len(of_code()) == 64
