"""Units of time. All times are int milliseconds since 1970-01-01 UTC; days and hours are counted from there too."""

from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
