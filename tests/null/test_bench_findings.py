"""Promises of bench/findings.py: what parity may claim."""

from __future__ import annotations

from bench.findings import Cause, Result, differing, summary


def result(clip: str, **changed: object) -> Result:
    found = Result("base, greedy", clip, "english", 30.0, n_segments=2, n_tokens=20, commit="abc")
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def row(*results: Result) -> list[str]:
    return [cell.strip() for cell in summary(results).splitlines()[-1].strip("|").split("|")]


def test_only_a_clip_without_difference_and_without_chance_is_identical() -> None:
    """A clip that fell back to sampling was not compared, even if it happens to be the same."""
    cells = row(
        result("same"),
        result("tie", differences=["text"], cause=Cause.TIE.value),
        result("wrong", differences=["text"], cause=Cause.SEARCH.value),
        result("drawn", fell_back=True),
        result("failed", error="peer: killed"),
    )
    header = [cell.strip() for cell in summary([]).splitlines()[0].strip("|").split("|")]
    line = dict(zip(header, cells, strict=True))
    assert [line[k] for k in ("clips", "minutes", "tokens")] == ["5", "2.5", "100"]
    assert [line[k] for k in ("identical", "tie", "other", "fell back", "errors")] == ["1", "1", "1", "1", "1"]


def test_clips_decoded_alone_are_counted_by_themselves() -> None:
    assert row(result("a", alone_equal=True), result("b", alone_equal=False), result("c"))[-1] == "1 of 2"


def test_every_clip_that_is_not_identical_is_listed_with_its_cause() -> None:
    text = differing(
        [
            result("same"),
            result("tie", differences=["text: ours 'a', theirs 'b'"], cause="tie", explanation="by 1e-6"),
            result("failed", error="peer: killed"),
            result("unsteady", alone_equal=False),
        ]
    )
    assert [line.split(": ")[1] for line in text.splitlines()] == ["tie", "failed", "unsteady"]
    assert "**tie**, by 1e-6" in text


def test_without_a_difference_the_list_says_so() -> None:
    assert differing([result("same"), result("drawn", differences=["text"], fell_back=True)]) == "No clip differs."
