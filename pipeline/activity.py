"""The activity section of a user's row: when, on how many days and how often lately. O(1) per event, about 50 bytes."""

from typing import Final

import msgspec

from pipeline.units import DAY

RING_DAYS: Final = 64
_RING: Final = (1 << RING_DAYS) - 1
_TABLE: Final = 1024  # days; beyond it the slowest counter has fallen below 1/2000 and is taken as gone
_DECAY: Final = tuple(tuple(2.0 ** (-d / half_life) for d in range(_TABLE)) for half_life in (7, 30, 90))
_D7, _D30, _D90 = _DECAY


class Activity(msgspec.Struct, array_like=True, gc=False):
    """`first`, `last` in ms; `days` active days; `c7 c30 c90` active days decayed with that half-life as of the last
    active day; `ring`: bit i = active i days before the last; `dark` and `dark_first`: the partition's dark hours
    before `last` and before `first`; `erased`: up to when (ms) somebody with this id was erased.
    """

    first: int = 0
    last: int = 0
    days: int = 0
    c7: float = 0.0
    c30: float = 0.0
    c90: float = 0.0
    ring: int = 0
    dark: int = 0
    last_id: str = ""
    order_day: int = -1
    activated: bool = False
    dark_first: int = 0
    erased: int = 0


def observe(activity: Activity, time: int, dark: int) -> bool:
    """Record activity at `time` (ms) in any order; True if that day was not counted before.

    A day that is neither in the ring nor before the first can't be told from one that was counted: it is not counted
    again.
    """
    if not activity.days:
        activity.first = activity.last = time
        activity.days = activity.ring = 1
        activity.c7 = activity.c30 = activity.c90 = 1.0
        activity.dark = activity.dark_first = dark
        return True
    day = time // DAY
    if time >= activity.last:
        gap = day - activity.last // DAY
        activity.last = time
        activity.dark = dark
        if not gap:
            return False
        activity.days += 1
        activity.ring = (activity.ring << gap | 1) & _RING if gap < RING_DAYS else 1
        if gap < _TABLE:
            activity.c7 = activity.c7 * _D7[gap] + 1.0
            activity.c30 = activity.c30 * _D30[gap] + 1.0
            activity.c90 = activity.c90 * _D90[gap] + 1.0
        else:
            activity.c7 = activity.c30 = activity.c90 = 1.0
        return True
    ago = activity.last // DAY - day
    uncounted = not activity.ring >> ago & 1 if ago < RING_DAYS else day < activity.first // DAY
    if time < activity.first:
        activity.first, activity.dark_first = time, dark
    if uncounted:
        activity.days += 1
        if ago < RING_DAYS:
            activity.ring |= 1 << ago
        if ago < _TABLE:
            activity.c7 += _D7[ago]
            activity.c30 += _D30[ago]
            activity.c90 += _D90[ago]
    return uncounted
