"""How much more often one group has something than another, how sure that is, and how to look at many such questions.

Sources: Fisher's exact test (Fisher 1935); the interval of a ratio of shares on the log scale (Katz et al. 1978); the
design effect of observations that are not independent (Kish 1965); the false discovery rate (Benjamini & Hochberg
1995).
"""

from collections.abc import Sequence
from math import erfc, exp, lgamma, sqrt
from typing import Final, NamedTuple

Z95: Final = 1.959963984540054
_NEGLIGIBLE: Final = 1e-17


class Comparison(NamedTuple):
    """Two shares, 0..1. `lift` = the first over the second with its 95 % interval; `p`: two-sided, that they differ."""

    share: float
    other: float
    lift: float
    low: float
    high: float
    p: float


def compare(having: int, of: int, other_having: int, other_of: int, effect: float = 1.0) -> Comparison:
    """`having` of `of` windows against `other_having` of `other_of`; both groups hold some.

    `effect`: by how much the variance of their difference is greater than that of as many independent windows. The
    p value is the larger of Fisher's, which is right for few of them, and that of a z test with this variance. Where
    none of a group has it, lift and interval add half a window to both groups.
    """
    a, b = float(having), float(other_having)
    n, m = float(of), float(other_of)
    p = fisher(having, of, other_having, other_of)
    if effect > 1:
        pooled = (a + b) / (n + m)
        z = (a / n - b / m) / sqrt(pooled * (1 - pooled) * (1 / n + 1 / m) * effect)
        p = max(p, erfc(abs(z) / sqrt(2)))
    if not having or not other_having:
        a, b, n, m = a + 0.5, b + 0.5, n + 0.5, m + 0.5
    lift = (a / n) / (b / m)
    spread = exp(Z95 * sqrt((1 / a - 1 / n + 1 / b - 1 / m) * max(1.0, effect)))
    return Comparison(having / of, other_having / other_of, lift, lift / spread, lift * spread, p)


def fisher(having: int, of: int, other_having: int, other_of: int) -> float:
    """P value of Fisher's exact test, two-sided: twice the smaller tail. Never too small, whatever the counts."""
    total = having + other_having
    least, most = max(0, total - other_of), min(of, total)
    chance = exp(
        _log_choose(of, having) + _log_choose(other_of, other_having) - _log_choose(of + other_of, total)
    )  # of exactly this split, given the margins
    lower, upper, term = chance, chance, chance
    for k in range(having, least, -1):  # from k to k - 1 of the first group
        term *= k * (other_of - total + k) / ((of - k + 1) * (total - k + 1))
        lower += term
        if term < _NEGLIGIBLE * lower:
            break
    term = chance
    for k in range(having, most):
        term *= (of - k) * (total - k) / ((k + 1) * (other_of - total + k + 1))
        upper += term
        if term < _NEGLIGIBLE * upper:
            break
    return min(1.0, 2 * min(lower, upper))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: taking those of at most q as found, the expected share of false ones
    among them is at most q.
    """
    adjusted = [1.0] * len(p_values)
    least = 1.0
    for rank, at in sorted(enumerate(sorted(range(len(p_values)), key=p_values.__getitem__), 1), reverse=True):
        least = min(least, p_values[at] * len(p_values) / rank)
        adjusted[at] = least
    return adjusted


class Lift(NamedTuple):
    """A group's mean over everybody's, with its 95 % interval; None where too little is there to tell."""

    value: float
    low: float | None
    high: float | None


def lift_of_part(part: tuple[int, int, int], whole: tuple[int, int, int]) -> Lift:
    """How much more a part's users are worth on average than all users, the part included.

    Both as (users, sum of values, sum of squared values), the whole's sum above 0. The interval is the delta method's
    on the log scale: with shares of value and of users, log lift = log V_g - log V - log n_g + log n, whose variance is
    the sum of its users' squared influences (Taylor linearisation; Cochran 1977, chapter 6). It needs a part with
    value, and another user besides.
    """
    count, total, squares = part
    n, everything, all_squares = whole
    if not total:
        return Lift(0.0, None, None)
    lift = total / count / (everything / n)
    if count == n:
        return Lift(lift, lift, lift)
    # A user of the part: v (1/V_g - 1/V) - (1/n_g - 1/n); any other: -(v/V - 1/n).
    by_value, by_user = 1 / total - 1 / everything, 1 / count - 1 / n
    inside = squares * by_value**2 - 2 * total * by_value * by_user + count * by_user**2
    rest_n, rest, rest_squares = n - count, everything - total, all_squares - squares
    outside = rest_squares / everything**2 - 2 * rest / everything / n + rest_n / n**2
    spread = exp(Z95 * sqrt(max(0.0, inside + outside)))
    return Lift(lift, lift / spread, lift * spread)
