"""Rule x decision x reason, by day of the deadline."""

from typing import Final

from pipeline.sums.base import Sum

DECISIONS: Final = Sum("decisions", ("day", "rule", "decision", "reason"), ("count",))
