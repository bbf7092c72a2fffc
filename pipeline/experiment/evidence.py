"""An anytime-valid test over converters only: it may be looked at after every conversion, and stopped at will.

If the recall changes nothing, each user who comes back was treated with probability 1 - share, whatever else is true of
them. The evidence E is how much more likely a Beta mixture makes the arms of those who came back: under that hypothesis
a martingale that begins at 1, so it ever reaches 1/alpha with probability alpha at most (Ville 1939).
"""

from collections.abc import Callable, Sequence
from math import ceil, exp, lgamma, log, log1p, sqrt
from typing import Final

from pipeline.experiment.arms import Stratum

ALPHA: Final = 0.05
POWER: Final = 0.8

_WEIGHT: Final = 100.0  # of the mixture, in conversions: finds lifts of 10 to 50 % about equally well
_FAR: Final = log(1e6)
_Z_POWER: Final = 0.8416212335729143
_MOST: Final = 10**12


def log_evidence(treated: float, converters: float, pi: float, chance: float | None = None) -> float:
    """The log of E for `treated` among `converters`; `chance`: that one of them was treated, `pi` (1 - share) if None.

    B(cπ + k, c(1-π) + n - k) / B(cπ, c(1-π)) / (chance^k (1 - chance)^(n-k)), with the weight c; real k and n will do.
    """
    chance = pi if chance is None else chance
    a, b, held = _WEIGHT * pi, _WEIGHT * (1 - pi), converters - treated
    mixture = lgamma(a + treated) - lgamma(a) + lgamma(b + held) - lgamma(b) + lgamma(_WEIGHT)
    return mixture - lgamma(_WEIGHT + converters) - treated * log(chance) - held * log1p(-chance)


def anytime_p(strata: Sequence[Stratum]) -> float:
    """min(1, 1/E), with E the product over the strata: looked at whenever one likes, it is below alpha with probability
    alpha at most. A share of 0 or 1 says nothing.
    """
    total = sum(log_evidence(k, n, pi) for k, n, pi in _converters(strata))
    return exp(-max(0.0, total))


def ratio_bounds(strata: Sequence[Stratum]) -> tuple[float, float | None]:
    """The ratios p1/p0 that the evidence does not rule out at 95 %: anytime-valid, too. (0, None): all of them.

    A ratio ρ makes the chance πρ / (πρ + 1 - π). Strata whose ratios do not agree can rule out every common one; then
    the interval is the best fitting one alone.
    """
    found = _converters(strata)

    def chance(pi: float, shift: float) -> float:
        odds = exp(shift + log(pi) - log1p(-pi))
        return odds / (1 + odds)

    def slope(shift: float) -> float:
        return sum(n * chance(pi, shift) - k for k, n, pi in found)

    def excess(shift: float) -> float:
        return sum(log_evidence(k, n, pi, chance(pi, shift)) for k, n, pi in found) + log(ALPHA)

    # the evidence is convex in log ρ: it falls up to the best fit and rises from there on
    best = _root(slope, -_FAR, _FAR)
    low = 0.0 if excess(-_FAR) <= 0 else exp(_root(lambda shift: -excess(shift), -_FAR, best))
    high = None if excess(_FAR) <= 0 else exp(_root(excess, best, _FAR))
    return low, high


def converters_needed(share: float, lift: float) -> int:
    """How many must come back, in both arms, for a relative lift (.2: p1 = 1.2 p0) to be found with `POWER`.

    By the count of treated that is passed with that probability at the last look; earlier looks find some sooner.
    """
    pi = 1 - share
    chance = pi * (1 + lift) / (pi * (1 + lift) + share)

    def enough(n: int) -> bool:
        treated = n * chance - _Z_POWER * sqrt(n * chance * share / (pi * (1 + lift) + share))
        return treated > n * pi and log_evidence(treated, n, pi) >= -log(ALPHA)

    low, high = 0, 64
    while not enough(high):
        if high >= _MOST:
            return _MOST
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def users_needed(strata: Sequence[Stratum], lift: float) -> int | None:
    """How many users more must be drawn, in both arms, for a relative lift to be found: at the share of the stratum
    with most users, and if as large a part of them comes back as so far. None: nobody has come back yet.
    """
    users = sum(s.treated.users + s.holdout.users for s in strata)
    back = sum(s.treated.recalled + s.holdout.recalled for s in strata)
    if not back:
        return None
    main = max(strata, key=lambda s: s.treated.users + s.holdout.users)
    return max(0, ceil(converters_needed(main.share, lift) * users / back) - users)


def leaning(strata: Sequence[Stratum]) -> float:
    """How many more of those who came back were treated than would have been by chance; below 0: fewer."""
    return sum(k - n * pi for k, n, pi in _converters(strata))


def _converters(strata: Sequence[Stratum]) -> list[tuple[int, int, float]]:
    return [
        (s.treated.recalled, s.treated.recalled + s.holdout.recalled, 1 - s.share) for s in strata if 0 < s.share < 1
    ]


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function passes 0, to 1e-9; the nearer end where it does not."""
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
