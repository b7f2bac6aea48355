"""The values of the last minute, and what of them a person wants to know. Knows no metric."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

HORIZON_S = 60.0
MOST = 20_000  # values; who comes earlier goes


class Recent:
    """Values with the time at which they came. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, horizon_s: float = HORIZON_S) -> None:
        self._clock, self._horizon_s = clock, horizon_s
        self._values: deque[tuple[float, float]] = deque(maxlen=MOST)

    def add(self, value: float) -> None:
        self._values.append((self._clock(), value))

    def values(self) -> list[float]:
        """Those that are not older than the horizon, in the order in which they came."""
        oldest_s = self._clock() - self._horizon_s
        while self._values and self._values[0][0] < oldest_s:
            self._values.popleft()
        return [value for _, value in self._values]


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    # -(-x // 1): the ceiling, of a product that is a little too large where shares are no binary fractions
    return ordered[max(0, int(-(-round(share * len(ordered), 9) // 1)) - 1)]
