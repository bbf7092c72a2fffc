"""Rule x stratum x arm, by day of the decision: users at their first contact under the rule and salt, and what became
of it.

A user stays in their arm. So later contacts add no independent evidence, and are with users who differ by what was
done to them before: whether a recall works is read from the first ones alone. A new salt draws anew, and everybody
counts again. Rule "*" is the draw over all rules.
"""

from typing import Final

from pipeline.sums.base import Sum

# value, perk_cost: minor units of the reporting currency; payers: those whose goal had a value above 0.
TRIALS: Final = Sum(
    "trials",
    ("day", "rule", "stratum", "arm"),
    ("users", "measured", "returned", "recalled", "payers", "value", "perk_cost"),
)
USERS, MEASURED, RETURNED, RECALLED, PAYERS, VALUE, PERK_COST = range(7)
