"""How far a run has come, how fast it is, and how long it will take. Numbers only; the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Pace:
    """Seconds of sound that are done and that there are, over several recordings.

    clips: the parts of every recording that are transcribed; empty: all of it. Recordings that are not open yet are
    taken to be as long as the mean of those that are.
    """

    def __init__(
        self, n_recordings: int, clips: Sequence[tuple[float, float | None]], clock: Callable[[], float]
    ) -> None:
        self.n_recordings = n_recordings
        self.n_ended = 0
        self._clips = clips or ((0.0, None),)
        self._clock = clock
        self._start_s = clock()
        self._all_s: dict[int, float] = {}
        self._duration_s: dict[int, float] = {}
        self._done_s: dict[int, float] = {}
        self._n_failed = 0

    def opened(self, i: int, duration_s: float) -> None:
        """Recording i has been read, and is so long."""
        self._duration_s[i] = duration_s
        self._all_s[i] = self._within(duration_s, duration_s)
        self._done_s[i] = 0.0

    def at(self, i: int, position_s: float) -> None:
        """Recording i is transcribed up to a position."""
        self._done_s[i] = self._within(position_s, self._duration_s[i])

    def ended(self, i: int) -> None:
        """Recording i is done."""
        self.n_ended += 1
        self._done_s[i] = self._all_s[i]

    def failed(self, i: int) -> None:
        """Recording i came to nothing; its sound does not count."""
        self.n_ended += 1
        self._n_failed += 1
        self._all_s.pop(i, None)
        self._done_s.pop(i, None)

    @property
    def done_s(self) -> float:
        return sum(self._done_s.values())

    @property
    def all_s(self) -> float | None:
        """Seconds of sound in all; None as long as nothing has been read."""
        if not self._all_s:
            return None
        known = sum(self._all_s.values())
        return known / len(self._all_s) * (self.n_recordings - self._n_failed)

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._start_s

    @property
    def speed(self) -> float | None:
        """Seconds of sound per second; None before anything is done."""
        return self.done_s / self.elapsed_s if self.done_s and self.elapsed_s > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this speed; None before anything is done."""
        return (self.all_s - self.done_s) / self.speed if self.speed and self.all_s is not None else None

    def __str__(self) -> str:
        if self.all_s is None:
            return "reading"
        text = f"{hms(self.done_s)} of {hms(self.all_s)}"
        if self.speed is not None and self.left_s is not None:
            text += f", {self.speed:.1f} x real time, {hms(self.left_s)} left"
        return text

    def _within(self, position_s: float, duration_s: float) -> float:
        """Seconds of the clips that lie before a position."""
        ends = ((start, duration_s if end is None else min(end, duration_s)) for start, end in self._clips)
        return sum(max(0.0, min(position_s, end) - start) for start, end in ends)


def hms(seconds: float) -> str:
    """m:ss, or h:mm:ss from an hour on."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
