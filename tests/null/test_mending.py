"""A flow mended on its way: replaced words, a user's own function, and that nothing vanishes without a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sottovoce.errors import OptionError
from sottovoce.flow.mending import mended
from sottovoce.flow.protocol import WAIT, Flow, Got, Heard, Known
from sottovoce.request import Request
from sottovoce.text.formats import Dropped, Transcript
from sottovoce.text.replacing import rule
from sottovoce.types import Decode, Decoded, Segment, Sound, Window
from tests.null.flows import Played, play

TEXTS = (" One.", " Um.", " Two.", " Three.")


def segment(i: int, text: str) -> Segment:
    return Segment(i, 0, float(i), i + 1.0, text, (i,), 0.0, -0.1, 1.0, 0.0)


def a_flow(closed: list[bool] | None = None) -> Flow:
    """A window a segment."""
    try:
        yield Heard("en", 1.0)
        said = []
        for i, text in enumerate(TEXTS):
            yield Window(f"k{i}", Sound(), Decode((1,)))
            got = yield WAIT
            assert isinstance(got, Got), "answers come through"
            said.append(segment(i, text))
            yield Known((said[-1],), i + 1.0)
        lines = (Dropped(0.5, 0.6, "no words"), Dropped(9.0, 9.5, "no speech"))
        return Transcript("".join(TEXTS), tuple(said), "en", 10.0, coverage=0.9, dropped=lines)
    finally:
        if closed is not None:
            closed.append(True)


def played(hook: Callable[[Segment], Segment | None] | None = None, *pairs: tuple[str, str]) -> Played:
    return play(mended(a_flow(), [rule(*p) for p in pairs], hook), lambda w: Decoded((1,), -0.1))


def test_what_is_told_is_what_is_in_the_transcript() -> None:
    found = played(lambda s: replace(s, text=s.text.upper()), ("two", "2"))
    assert found.transcript.text == " ONE. UM. 2. THREE."
    assert [s.text for k in found.known for s in k.segments] == [s.text for s in found.transcript.segments]
    assert [k.position_s for k in found.known] == [1.0, 2.0, 3.0, 4.0]
    assert found.heard and len(found.windows) == 4


def test_a_dropped_segment_has_its_line_and_the_others_are_numbered() -> None:
    found = played(lambda s: None if "Um" in s.text else s)
    assert [(s.id, s.text) for s in found.transcript.segments] == [(0, " One."), (1, " Two."), (2, " Three.")]
    expected = [(0.5, "no words"), (1.0, "hook"), (9.0, "no speech")]
    assert [(d.start, d.reason) for d in found.transcript.dropped] == expected
    assert found.transcript.coverage == 0.9
    assert {"start": 1.0, "end": 2.0, "reason": "hook"} in found.transcript.to_dict()["dropped"]


def test_what_is_replaced_by_nothing_has_its_line_too() -> None:
    found = played(None, ("/ ?Um\\./", ""))
    assert found.transcript.text == " One. Two. Three."
    assert [d.reason for d in found.transcript.dropped] == ["no words", "replaced by nothing", "no speech"]


def test_the_hook_sees_what_rules_have_made() -> None:
    seen: list[str] = []
    played(lambda s: seen.append(s.text) or s, ("one", "1"))  # type: ignore[func-returns-value]
    assert seen == [" 1.", " Um.", " Two.", " Three."]


def test_errors_of_the_function_are_the_users() -> None:
    def fails(s: Segment) -> Segment:
        raise StopIteration("of all things")

    with pytest.raises(OptionError, match=r"on_segment: it failed on the segment at 0\.00 s: StopIteration: of all"):
        played(fails)
    with pytest.raises(OptionError, match=r"returned 'text'.*a Segment, or None"):
        played(lambda s: "text")  # type: ignore[arg-type, return-value]
    with pytest.raises(OptionError, match="on_segment"):
        Request.of({"on_segment": "upper"})


@pytest.mark.parametrize("leave", ["close", "throw", "hook"])
def test_whoever_leaves_closes_the_flow(leave: str) -> None:
    closed: list[bool] = []

    def hook(s: Segment) -> Segment:
        raise ValueError(s.text)

    flow = mended(a_flow(closed), [], hook if leave == "hook" else None)
    next(flow)
    next(flow)
    if leave == "close":
        flow.close()
    elif leave == "throw":
        with pytest.raises(KeyError):
            flow.throw(KeyError("the engine died"))
    else:
        flow.send(None)
        with pytest.raises(OptionError):
            flow.send(Got(Window("k0", Sound(), Decode((1,))), Decoded((1,), -0.1)))
    assert closed == [True]
