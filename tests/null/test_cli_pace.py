"""Progress: position, speed and time left as numbers, and as what is written where stderr is no terminal."""

from __future__ import annotations

import io

import pytest

from sottovoce.cli.pace import Pace, hms
from sottovoce.cli.screen import LINE_S, Screen


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_speed_and_time_left_follow_the_clock() -> None:
    clock = Clock()
    pace = Pace(1, (), clock)
    assert str(pace) == "reading"
    pace.opened(0, 600.0)
    clock.now_s += 10
    pace.at(0, 120.0)
    assert pace.speed == pytest.approx(12.0)
    assert pace.left_s == pytest.approx(40.0)
    assert str(pace) == "2:00 of 10:00, 12.0 x real time, 0:40 left"


def test_recordings_that_are_not_open_count_as_long_as_the_others() -> None:
    pace = Pace(4, (), Clock())
    pace.opened(0, 100.0)
    pace.opened(1, 200.0)
    assert pace.all_s == pytest.approx(600.0)


def test_only_clips_count() -> None:
    pace = Pace(1, ((10.0, 20.0), (50.0, None)), Clock())
    pace.opened(0, 60.0)
    assert pace.all_s == pytest.approx(20.0)
    pace.at(0, 15.0)
    assert pace.done_s == pytest.approx(5.0)
    pace.at(0, 55.0)
    assert pace.done_s == pytest.approx(15.0)


def test_what_failed_has_no_sound_to_wait_for() -> None:
    pace = Pace(3, (), Clock())
    pace.failed(2)
    pace.opened(0, 100.0)
    pace.opened(1, 100.0)
    pace.at(0, 50.0)
    pace.failed(0)
    assert pace.all_s == pytest.approx(100.0)
    pace.ended(1)
    assert pace.done_s == pace.all_s == pytest.approx(100.0)
    assert pace.n_ended == 3


def test_times_are_read_like_a_clock() -> None:
    assert [hms(s) for s in (0, 59.6, 61, 3600, 36_061)] == ["0:00", "1:00", "1:01", "1:00:00", "10:01:01"]


def test_where_there_is_no_terminal_a_line_comes_now_and_then() -> None:
    clock, err = Clock(), io.StringIO()
    screen = Screen(out=io.StringIO(), err=err, clock=clock)
    pace = Pace(1, (), clock)
    with screen.transcribing(pace) as tell:
        pace.opened(0, 600.0)
        for second in range(1, 2 * int(LINE_S) + 1):
            clock.now_s += 1
            pace.at(0, float(second))
            tell()
    assert err.getvalue().count("\n") == 2
    assert "0:30 of 10:00" in err.getvalue()
    assert "\x1b" not in err.getvalue()


def test_a_quiet_run_says_errors_only() -> None:
    err = io.StringIO()
    screen = Screen(quiet=True, out=io.StringIO(), err=err)
    screen.note("a note")
    screen.error("an error")
    assert err.getvalue() == "sottovoce: an error\n"


def test_text_goes_to_stdout_and_a_reader_who_left_is_noticed() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    out = io.StringIO()
    screen = Screen(out=out, err=io.StringIO())
    screen.text("words")
    assert out.getvalue() == "words\n"
    gone = Screen(out=Closed(), err=io.StringIO())
    gone.text("words")
    assert gone.stdout_gone
