"""What a holdout can detect: the smallest uplift that a test of two shares finds, most of the time."""

from math import sqrt
from typing import Final

# Standard normal quantiles: two-sided 5 %, and the power of 80 %.
_ALPHA: Final = 1.959963984540054
_POWER: Final = 0.8416212335729143
_HALVINGS: Final = 60  # of the interval between the base rate and 1: more than a float tells apart


def smallest_uplift(base: float, treated: int, held: int) -> float | None:
    """The smallest rise of a share `base` that is found with 80 % power at 5 % (two-sided), in points of share.

    `treated` and `held` are users in the two arms. None if no rise can be: an arm is empty, or even a share of 1 would
    not show. Source: Fleiss, Levin & Paik (2003), Statistical Methods for Rates and Proportions, 4.14 solved for the
    difference: d = z_a sqrt(m(1-m)(1/n1 + 1/n0)) + z_b sqrt(p1(1-p1)/n1 + p0(1-p0)/n0), m the pooled share.
    """
    if not (treated and held and 0 <= base < 1):
        return None

    def shows(share: float) -> bool:
        pooled = (treated * share + held * base) / (treated + held)
        under_none = sqrt(pooled * (1 - pooled) * (1 / treated + 1 / held))
        under_this = sqrt(share * (1 - share) / treated + base * (1 - base) / held)
        return share - base >= _ALPHA * under_none + _POWER * under_this

    if not shows(1.0):
        return None
    low, high = base, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high - base
