"""A value that cannot be honoured is refused where it is given, with what to do, and never reaches the engine."""

from __future__ import annotations

from typing import Any

import pytest

from sottovoce.errors import OptionError
from sottovoce.options import Options
from sottovoce.request import Request
from sottovoce.types import Strategy


@pytest.mark.parametrize(
    "given",
    [
        {"beam_size": 5.0},
        {"beam_size": "5"},
        {"beam_size": 0},
        {"beam_size": None},
        {"best_of": 33},
        {"patience": 0.05},
        {"patience": 2.0},
        {"beam_size": 5, "patience": 0.05},
        {"length_penalty": 1.5},
        {"repetition_penalty": 1e-40},
        {"repetition_penalty": float("inf")},
        {"no_repeat_ngram_size": -1},
        {"max_tokens": 0},
        {"max_initial_timestamp": -1},
        {"hallucination_silence_threshold": -1},
        {"compression_ratio_threshold": "2.4"},
        {"logprob_threshold": float("nan")},
        {"chunk_length": 31},
        {"initial_prompt": 5},
        {"hotwords": ["Ada"]},
        {"language": 5},
        {"word_timestamps": "no"},
        {"multilingual": None},
        {"clips": ((60.0, float("inf")),)},
        {"clips": ((-1.0, None),)},
        {"temperature": ()},
        {"temperature": (3.0,)},
        {"seed": 1.5},
    ],
)
def test_a_wrong_value_is_refused_with_what_to_do(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"was given, .* was expected; "):
        Options(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"clips": ((0.0, 10.0), (5.0, 20.0))},
        {"clips": ((5.0, 5.0),)},
        {"no_speech_threshold": None},
        {"compression_ratio_threshold": float("inf")},
        {"beam_size": 5, "patience": 2.0},
    ],
)
def test_what_the_reference_accepts_is_accepted(given: dict[str, Any]) -> None:
    Options(**given)


SEQUENTIAL_ONLY = [{"condition_on_previous_text": True}, {"hallucination_silence_threshold": 2.0}]


@pytest.mark.parametrize("given", SEQUENTIAL_ONLY)
def test_what_only_the_sequential_strategy_can_honour_chooses_it(given: dict[str, Any]) -> None:
    assert Options(**given).chosen_strategy is Strategy.SEQUENTIAL
    with pytest.raises(OptionError, match="strategy='sequential'"):
        Options(strategy=Strategy.PARALLEL, **given)


def test_windows_are_decoded_together_unless_asked_otherwise() -> None:
    assert Options().chosen_strategy is Strategy.PARALLEL
    assert Options(condition_on_previous_text=False, carry_initial_prompt=True).chosen_strategy is Strategy.PARALLEL
    assert Options(strategy=Strategy.SEQUENTIAL).chosen_strategy is Strategy.SEQUENTIAL


@pytest.mark.parametrize("given", [3, "left,right", ["one"], ["a", "a"], ["a", 1], {"a": 1}])
def test_channels_are_all_or_named_one_by_one(given: Any) -> None:
    with pytest.raises(OptionError, match=r"channels: .* was expected; pass"):
        Request.of({"channels": given})


@pytest.mark.parametrize(
    ("name", "meant"), [("chanels", "channels"), ("on_segments", "on_segment"), ("cleen", "clean")]
)
def test_what_is_read_of_a_source_is_known_too_by_its_name(name: str, meant: str) -> None:
    with pytest.raises(OptionError, match=f"did you mean {meant}"):
        Request.of({name: True})
