"""The two arms: uplift and what it is worth, with intervals; and whether the arms are as large as they were drawn."""

from collections.abc import Iterable, Sequence
from math import erfc, exp, lgamma, log, log1p, sqrt
from typing import Final, NamedTuple

Z: Final = 1.959963984540054
"""Two-sided 95 %."""

SPREAD: Final = 1.0
"""Assumed standard deviation over mean of what a payer paid, since sums hold no squares: that of an exponential
distribution. Measured: .87-.98 in Hillstrom's arms, .96 among CDNOW's orders; 3.5 among those of UCI's wholesalers.
"""

_EXACT: Final = 10_000  # users up to which the sample ratio is tested exactly
_NEGLIGIBLE: Final = 1e-17


class Arm(NamedTuple):
    """`users` who were drawn into it, how many of them were `recalled`, and the `value` in minor units that was paid by
    `payers` of those (None: by all).
    """

    users: int = 0
    recalled: int = 0
    value: int = 0
    payers: int | None = None

    @property
    def paying(self) -> int:
        """How many paid something."""
        return 0 if not self.value else self.recalled if self.payers is None else self.payers


class Stratum(NamedTuple):
    """The arms of one draw; `share`: the probability of the holdout, between 0 and 1."""

    share: float
    treated: Arm
    holdout: Arm


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    at: float
    low: float
    high: float


def wilson(part: float, whole: float) -> Estimate:
    """A share and its score interval (Wilson 1927). Nothing was tried: anything between 0 and 1 is possible."""
    if whole <= 0:
        return Estimate(0.0, 0.0, 1.0)
    share, weight = part / whole, Z * Z / whole
    centre = (share + weight / 2) / (1 + weight)
    reach = sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    return Estimate(share, max(0.0, min(share, centre - reach)), min(1.0, max(share, centre + reach)))


def combined(parts: Iterable[tuple[float, Estimate]]) -> Estimate:
    """The sum of weight x figure over independent figures.

    Its interval is recovered from theirs (MOVER, Zou & Donner 2008); of two shares with the weights 1 and -1 that is
    Newcombe's (1998, method 10).
    """
    at, below, above = 0.0, 0.0, 0.0
    for weight, part in parts:
        at += weight * part.at
        down, up = (part.low, part.high) if weight > 0 else (part.high, part.low)
        below += (weight * (part.at - down)) ** 2
        above += (weight * (up - part.at)) ** 2
    return Estimate(at, at - sqrt(below), at + sqrt(above))


def comparable(strata: Iterable[Stratum]) -> list[Stratum]:
    """Those with users in both arms."""
    return [s for s in strata if s.treated.users and s.holdout.users]


def incremental_users(strata: Iterable[Stratum]) -> Estimate | None:
    """Uplift x treated users, summed over the strata: who came back because of the recall. None: nothing to compare."""
    parts: list[tuple[float, Estimate]] = []
    for s in comparable(strata):
        n = s.treated.users
        parts += [(n, wilson(s.treated.recalled, n)), (-n, wilson(s.holdout.recalled, s.holdout.users))]
    return combined(parts) if parts else None


def uplift(strata: Iterable[Stratum]) -> Estimate | None:
    """p1 - p0 among the treated: each stratum weighs as many as were treated in it. None: nothing to compare."""
    found = comparable(strata)
    gained = incremental_users(found)
    treated = sum(s.treated.users for s in found)
    return None if gained is None else Estimate(*(figure / treated for figure in gained))


def incremental_value(strata: Iterable[Stratum]) -> Estimate | None:
    """What the treated spent more because of the recall, in minor units. None: nothing to compare.

    Only sums are known, so payments are assumed to vary by `SPREAD` (the interval is that of a compound binomial); an
    arm in which nobody paid takes the other's mean.
    """
    parts: list[tuple[float, Estimate]] = []
    for s in comparable(strata):
        payers = s.treated.paying + s.holdout.paying
        mean = (s.treated.value + s.holdout.value) / payers if payers else 0.0
        n = s.treated.users
        parts += [(n, _per_head(s.treated, mean)), (-n, _per_head(s.holdout, mean))]
    return combined(parts) if parts else None


def _per_head(arm: Arm, mean: float) -> Estimate:
    # Wilson's interval at the size at which a share would have the variance of the mean of a compound binomial:
    # (p (1 + cv²) - p²) / n = p (1 - p) / n', so n' = n (1 - p) / (1 + cv² - p).
    p = arm.paying / arm.users
    worth = arm.value / arm.paying if arm.paying else mean
    size = arm.users * (1 - p) / (1 + SPREAD**2 - p)
    if size == 0:  # everybody paid: only amounts vary
        reach = Z * SPREAD / sqrt(arm.users)
        return Estimate(worth, worth * max(0.0, 1 - reach), worth * (1 + reach))
    _, low, high = wilson(p * size, size)
    return Estimate(p * worth, low * worth, high * worth)


def holdout_ratio(strata: Sequence[Stratum]) -> float:
    """Sample-ratio mismatch: p of arms as unequal as these, had they been drawn by their shares. 1: nobody was drawn.

    Two-sided; exact binomial up to 10,000 users, above by the normal approximation (chi-square with one degree of
    freedom). Of several strata the smallest p times their number (Bonferroni).
    """
    found = [_ratio_p(s.holdout.users, s.treated.users + s.holdout.users, s.share) for s in strata if 0 < s.share < 1]
    return min(1.0, max(1, len(found)) * min(found, default=1.0))


def _ratio_p(held: int, users: int, share: float) -> float:
    if users > _EXACT:
        return erfc(abs(held - users * share) / sqrt(2 * users * share * (1 - share)))
    if held > users * share:  # the upper tail is the lower one of the other arm
        held, share = users - held, 1 - share
    ways = lgamma(users + 1) - lgamma(held + 1) - lgamma(users - held + 1)
    term = total = exp(ways + held * log(share) + (users - held) * log1p(-share))
    for k in range(held, 0, -1):
        term *= k * (1 - share) / ((users - k + 1) * share)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, 2 * total)
