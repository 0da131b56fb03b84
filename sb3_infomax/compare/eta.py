"""How long runs and whole comparisons will still take."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_SHARE = 0.005  # of a run that has to be seen before its speed is believed


@dataclass
class Pace:
    """How fast one run goes.

    Time counts from the first report, so that the start of the process and what an earlier attempt did are not extrapolated.
    """

    first: tuple[float, float] | None = None  # (seconds, share) of the first report
    last: tuple[float, float] | None = None

    def add(self, seconds: float, share: float) -> None:
        """Note how far the run is.

        :param seconds: on any clock that does not jump
        :param share: of the run, from 0 to 1
        """
        self.first = self.first or (seconds, share)
        if self.last is None or share > self.last[1]:
            self.last = (seconds, share)

    @property
    def whole(self) -> float:
        """Seconds that the whole run takes at this speed; NaN while too little is known."""
        if self.first is None or self.last is None or self.last[1] - self.first[1] < LEAST_SHARE:
            return math.nan
        return (self.last[0] - self.first[0]) / (self.last[1] - self.first[1])

    def left(self, now: float) -> float:
        """Seconds to go; NaN while too little is known.

        :param now: on the same clock
        """
        if self.last is None:
            return math.nan
        return max(self.whole * (1 - self.last[1]) - (now - self.last[0]), 0.0)


def makespan(active: Sequence[float], waiting: Sequence[float], workers: int) -> float:
    """When the last run ends, if each waiting one starts as soon as a worker is free.

    :param active: seconds to go of the runs under way
    :param waiting: seconds of the runs that wait, in their order
    :param workers: runs at a time
    """
    ends = list(active)
    heapq.heapify(ends)
    for seconds in waiting:
        begin = heapq.heappop(ends) if len(ends) >= workers else 0.0
        heapq.heappush(ends, begin + seconds)
    return max(ends, default=0.0)


def clock_text(seconds: float) -> str:
    """``4:05`` or ``1:02:30``; ``-:--`` while nothing is known."""
    if math.isnan(seconds):
        return "-:--"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
