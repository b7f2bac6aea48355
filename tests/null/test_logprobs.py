"""How probable each token was comes along with the segment that it is in, however a window is cut and put together."""

from __future__ import annotations

from sottovoce.flow.lines import closed, joined, segment
from sottovoce.text.speakers import part
from sottovoce.text.tokenizer import Tokenizer
from sottovoce.types import Decoded, Word

TOKENIZER = Tokenizer(51865, "en")
AT = TOKENIZER.timestamp_begin


def decoded() -> Decoded:
    tokens = (AT, *TOKENIZER.encode(" One two."), AT + 50, AT + 60, *TOKENIZER.encode(" Three."), AT + 90)
    return Decoded(tokens, -0.1, 0.0, 0.0, tuple(-0.01 * i for i in range(len(tokens))))


def test_each_segment_of_a_window_has_those_of_its_tokens() -> None:
    given = decoded()
    found, n_closed = closed(TOKENIZER, given, 0)
    assert n_closed == len(given.tokens)
    assert tuple(p for s in found for p in s.logprobs) == given.logprobs
    assert [len(s.logprobs) for s in found] == [len(s.tokens) for s in found]


def test_what_is_put_together_keeps_them_in_place() -> None:
    more = decoded()
    whole = joined((7, 8, 9), more, (-1.0, -2.0))
    assert whole.tokens == (7, 8, 9, *more.tokens)
    assert whole.logprobs == (-1.0, -2.0, 0.0, *more.logprobs)
    assert joined((7,), Decoded((1, 2), -0.1)).logprobs == ()


def test_a_segment_that_is_parted_by_speakers_parts_them_too() -> None:
    given = decoded()
    whole = segment(TOKENIZER, given, 0, slice(None), 0.0, 2.0)
    said = (("One", "A"), ("two.", "A"), ("Three.", "B"))
    words = [Word(f" {word}", i, i + 0.5, 0.9, name) for i, (word, name) in enumerate(said)]
    first, second = part(whole, words, TOKENIZER)
    assert first.logprobs + second.logprobs == given.logprobs
    assert (len(first.logprobs), len(second.logprobs)) == (len(first.tokens), len(second.tokens))
