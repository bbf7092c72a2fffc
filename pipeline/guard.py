"""The source guard: silence counts only while the source speaks.

A dead SDK makes everyone look dormant. Each partition learns how many events an hour of the week brings; a closed
hour that brings far fewer is dark, and dark time is no silence.
"""

from typing import Final

import msgspec

from pipeline.policy import SourceGuard
from pipeline.units import DAY, HOUR

HOURS_OF_WEEK: Final = 168
_SCALE: Final = 16  # rates are fixed point: no float in what a partition decides for everyone
_UNKNOWN: Final = -1
_REMEMBERED: Final = 8 * DAY // HOUR  # dark hours to remember: late events reach back 7 days


class Guard(msgspec.Struct, array_like=True):
    """`rates`: learned events per hour of the week, times 16, -1 unknown; `open`: events of hours not yet closed;
    `held`: an operator says that the source is down; `dark`: dark hours so far; `recent`: the last of them.
    """

    rates: list[int] = msgspec.field(default_factory=lambda: [_UNKNOWN] * HOURS_OF_WEEK)
    open: dict[int, int] = msgspec.field(default_factory=dict)
    held: bool = False
    dark: int = 0
    recent: list[int] = msgspec.field(default_factory=list)

    def count(self, hour: int) -> None:
        """One accepted event in `hour`."""
        self.open[hour] = self.open.get(hour, 0) + 1

    def close(self, hour: int, policy: SourceGuard) -> bool:
        """Judge `hour`; True if it was dark. A dark hour teaches nothing."""
        count = self.open.pop(hour, 0)
        slot = hour % HOURS_OF_WEEK
        rate = self.rates[slot]
        abstains = rate < policy.min_expected * _SCALE
        if self.held or (not abstains and count * _SCALE < rate * policy.dark_below):
            self.dark += 1
            self.recent = [h for h in self.recent if h > hour - _REMEMBERED]
            self.recent.append(hour)
            return True
        if rate == _UNKNOWN:
            if count:
                self.rates[slot] = count * _SCALE
        else:
            self.rates[slot] = rate + (count * _SCALE - rate) // 4
        return False

    def dark_before(self, time: int) -> int:
        """Dark hours before `time` (ms); exact as far back as late events reach."""
        return self.dark - sum(1 for hour in self.recent if hour >= time // HOUR)

    def release(self) -> None:
        """The source speaks again: learn its level afresh."""
        self.held = False
        self.rates = [_UNKNOWN] * HOURS_OF_WEEK
