"""Rule x arm, by day of the decision: how many were measured, came back at all, reached the goal, and what that was
worth.
"""

from typing import Final

from pipeline.sums.base import Sum

# value: minor units of the reporting currency.
OUTCOMES: Final = Sum("outcomes", ("day", "rule", "arm"), ("decided", "measured", "returned", "recalled", "value"))
DECIDED, MEASURED, RETURNED, RECALLED, VALUE = range(5)
