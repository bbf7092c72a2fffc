"""Rule x stratum x arm, by day of the decision: how many were measured, came back at all, reached the goal, and what
that was worth; what was reported of their messages, and what perks cost.

A stratum is the share and the salt by which the arm was drawn: arms of different ones are not to be added up. Rule "*"
is the draw over all rules.
"""

from functools import lru_cache
from typing import Final

from pipeline.sums.base import Sum

# value, perk_cost: minor units of the reporting currency.
OUTCOMES: Final = Sum(
    "outcomes",
    ("day", "rule", "stratum", "arm"),
    (
        *("decided", "measured", "returned", "recalled", "value"),
        *("sent", "delivered", "clicked", "bounced", "failed", "perk_cost"),
    ),
)
DECIDED, MEASURED, RETURNED, RECALLED, VALUE, SENT, DELIVERED, CLICKED, BOUNCED, FAILED, PERK_COST = range(11)
ALL_RULES: Final = "*"


@lru_cache(maxsize=1024)
def stratum_of(share: float, salt: str) -> str:
    """The name of a stratum: `0.1/salt`."""
    return f"{share:g}/{salt}"
