"""What a holdout can detect: the smallest uplift that a test of two shares finds, most of the time."""

from collections.abc import Iterable
from math import sqrt
from typing import Final, NamedTuple

# Standard normal quantiles: two-sided 5 %, and the power of 80 %.
_ALPHA: Final = 1.959963984540054
_POWER: Final = 0.8416212335729143
_HALVINGS: Final = 60  # of the interval between the base rate and 1: more than a float tells apart


class Arms(NamedTuple):
    """Users in two arms that are compared with each other, and the share that reaches the goal untreated."""

    base: float
    treated: int
    held: int


def smallest_uplift(strata: Iterable[Arms]) -> float | None:
    """The smallest rise of a share that is found with 80 % power at 5 % (two-sided), in points of share.

    Of several strata: the same rise in each, weighted by their treated users, as the report weighs them. None if no
    rise can be found: an arm is empty, or even a share of 1 would not show. Source: Fleiss, Levin & Paik (2003),
    Statistical Methods for Rates and Proportions, 4.14 solved for the difference:
    d = z_a sqrt(m(1-m)(1/n1 + 1/n0)) + z_b sqrt(p1(1-p1)/n1 + p0(1-p0)/n0), m the pooled share; variances of
    independent strata add up by the squares of their weights.
    """
    told = [arms for arms in strata if arms.treated and arms.held and 0 <= arms.base < 1]
    if not told:
        return None
    whole = sum(arms.treated for arms in told)

    def found(rise: float) -> tuple[float, bool]:
        """The rise that is left where shares end at 1, and whether it shows."""
        risen = under_none = under_this = 0.0
        for base, treated, held in told:
            share, weight = min(1.0, base + rise), treated / whole
            pooled = (treated * share + held * base) / (treated + held)
            risen += weight * (share - base)
            under_none += weight**2 * pooled * (1 - pooled) * (1 / treated + 1 / held)
            under_this += weight**2 * (share * (1 - share) / treated + base * (1 - base) / held)
        return risen, risen >= _ALPHA * sqrt(under_none) + _POWER * sqrt(under_this)

    low, high = 0.0, 1 - min(arms.base for arms in told)
    if not found(high)[1]:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle)[1] else (middle, high)
    return found(high)[0]
