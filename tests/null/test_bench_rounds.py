"""Promises of bench/rounds.py and bench/busy.py: what may be claimed of sides that took turns."""

from __future__ import annotations

import pytest
from bench.busy import Used, others, parse
from bench.mixed import quantile
from bench.rounds import Turns, claim, spread, table


def turns(side: str, *seconds: float, others_cpus: float = 0.0) -> Turns:
    return Turns(side, "talk", 60.0, list(seconds), [others_cpus] * len(seconds))


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down between rounds slows both sides: the ratio stays, medians of seconds would not."""
    found = claim(turns("ours", 1.0, 2.0, 3.0), turns("theirs", 4.0, 8.0, 12.0))
    assert found is not None
    assert (found.ratio, found.low, found.high, found.refused) == (4.0, 4.0, 4.0, "")


def test_rounds_that_differ_are_no_claim() -> None:
    found = claim(turns("ours", 1.0, 1.0), turns("theirs", 4.0, 5.0))
    assert found is not None and found.refused == "rounds differ by 22 %"
    assert str(found).startswith("no claim")


@pytest.mark.parametrize("busy", ["ours", "theirs"])
def test_a_side_that_ran_beside_others_is_no_claim(busy: str) -> None:
    sides = [turns(s, 1.0, 1.0, others_cpus=0.5 if s == busy else 0.0) for s in ("ours", "theirs")]
    found = claim(*sides)
    assert found is not None and found.refused == "others used 0.5 CPUs"


def test_one_round_is_named_as_one() -> None:
    assert str(claim(turns("ours", 2.0), turns("theirs", 5.0))) == "2.50 (one round)"


def test_a_side_without_a_round_is_no_claim_and_its_error_is_shown() -> None:
    broken = Turns("theirs", "talk", 60.0, error="Traceback\n  File\nValueError: a | b")
    assert claim(turns("ours", 1.0), broken) is None
    assert table([turns("ours", 1.0), broken]).splitlines()[-1] == (
        "| talk | theirs | - | - | ValueError: a / b | - | - |"
    )


def test_ratios_are_of_the_first_side_of_each_recording() -> None:
    mine, other = turns("ours", 1.0), turns("theirs", 3.0)
    mine.wer, mine.peak_bytes = 0.125, 2**30
    first, second = table([mine, other]).splitlines()[2:]
    assert first == "| talk (60 s) | ours | 60.0 | 1.00 (0 % in 1) |  | 12.50 % | 1024 MiB |"
    assert second == "| talk (60 s) | theirs | 20.0 | 3.00 (0 % in 1) | 3.00 (one round) | - | - |"


def test_the_spread_of_one_value_is_none() -> None:
    assert spread([2.0]) == 0 and spread([]) == 0
    assert spread([1.0, 2.0, 3.0]) == 1.0


def test_what_others_used_is_what_all_used_without_the_side() -> None:
    """A program may be called "a) b 1 2": its name must not shift the fields."""
    stat = "cpu  {} 0 100 900 50 0 0 0 7 0\ncpu0 1 2 3"
    process = "12 (a) b 1 2) S 1 1 1 0 -1 0 0 0 0 0 {} 10 0 0 20 0"
    before = parse(0.0, stat.format(1000), process.format(200), ticks_hz=100)
    after = parse(10.0, stat.format(2800), process.format(1200), ticks_hz=100)
    assert before == Used(0.0, 11.0, 2.1)
    assert others(before, after) == pytest.approx((18.0 - 10.0) / 10)


def test_where_the_kernel_does_not_say_nobody_is_accused() -> None:
    assert others(Used(0.0, None, None), Used(1.0, None, None)) == 0


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(20, 0, -1)]
    assert (quantile(values, 0.5), quantile(values, 0.95), quantile([3.0], 0.95)) == (11.0, 20.0, 3.0)
