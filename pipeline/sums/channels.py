"""Channel x day: who came, who was new, who reached the key moment, who bought."""

from typing import Final

from pipeline.sums.base import Sum

# revenue: minor units of the reporting currency; unpriced: orders whose currency has no declared rate.
CHANNELS: Final = Sum(
    "channels", ("day", "channel"), ("visitors", "new_users", "activated", "buyers", "orders", "revenue", "unpriced")
)
VISITORS, NEW_USERS, ACTIVATED, BUYERS, ORDERS, REVENUE, UNPRICED = range(7)
