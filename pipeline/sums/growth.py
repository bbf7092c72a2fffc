"""Growth accounting by day. The stock that is not dormant = the sum of new + returned - dormant - expired, always.

`kind` is `user` or `visitor` (anonymous). `dormant` is dated by the deadline, `expired` counts rows that were not
dormant.
"""

from typing import Final

from pipeline.sums.base import Sum

GROWTH: Final = Sum("growth", ("day", "kind"), ("new", "retained", "returned", "dormant", "expired"))
NEW, RETAINED, RETURNED, DORMANT, EXPIRED = range(5)
