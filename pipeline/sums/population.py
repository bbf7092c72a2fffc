"""Stocks: how many users are in each lifecycle stage now, and in each tenth of P(alive) as of their last evaluation."""

from typing import Final

from pipeline.sums.base import Sum

STAGE: Final = Sum("stage", ("kind", "stage"), ("users",))
RISK: Final = Sum("risk", ("p_alive",), ("users",))
P_ALIVE_BUCKETS: Final = tuple(f"{i / 10:.1f}" for i in range(10))  # the lower edge of each tenth
