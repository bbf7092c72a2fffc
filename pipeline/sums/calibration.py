"""Day x model x band of the foretold risk: how many scores were told, and what followed. `day`: on which the horizon
ends, in effective time; every score is told, and then silent, came or lost (its user was erased), or waits.
"""

from typing import Final

from pipeline.sums.base import Sum

# percent: sum of P(no event) in percent over those that are silent or came.
CALIBRATION: Final = Sum("calibration", ("day", "model", "band"), ("told", "silent", "came", "lost", "percent"))
TOLD, SILENT, CAME, LOST, PERCENT = range(5)

BANDS: Final = tuple(f"{low:02d}" for low in range(0, 100, 5))
"""By the lower edge in percent; the last one includes 100."""


def band_of(percent: int) -> str:
    """The band of P(no event) in percent."""
    return BANDS[min(percent // 5, len(BANDS) - 1)]
