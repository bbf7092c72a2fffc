"""Quiet hours: when the user's own clock lets a message through again."""

from datetime import UTC, datetime

from pipeline.policy import QuietHours
from pipeline.units import MINUTE
from pipeline.zones import zone

_DAY = 24 * 60


def quiet_until(moment: int, timezone: str | None, quiet: QuietHours) -> int | None:
    """The end (ms) of the quiet hours that `moment` (ms) lies in; None if it doesn't.

    The user's wall clock decides, also where it is put forward or back meanwhile: an end that the clock jumps over is
    the moment of the jump, of one that it shows twice the first counts. An unknown zone is the policy's.
    """
    found = (zone(timezone) if timezone else None) or zone(quiet.timezone) or UTC

    def shown(minutes: int) -> int:
        """The wall clock, in minutes of its day, so many minutes after 1970."""
        local = datetime.fromtimestamp(minutes * 60, UTC).astimezone(found)
        return local.hour * 60 + local.minute

    def inside(minute: int) -> bool:
        start, end = quiet.start, quiet.end
        return start <= minute < end if start < end else minute >= start or minute < end

    low = moment // MINUTE
    minute = shown(low)
    if not inside(minute):
        return None
    high = low + (quiet.end - minute) % _DAY
    while inside(minute := shown(high)):
        high += (quiet.end - minute) % _DAY
    if minute != quiet.end:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if inside(shown(middle)) else (low, middle)
    return high * MINUTE
