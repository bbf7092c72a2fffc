"""MBG/NBD (Batislam et al. 2007): P(alive) in closed form.

Customers are active at a gamma-distributed rate and may leave for good at once or after any activity. Unlike BG/NBD, it
doubts a one-time customer too.
"""

from math import exp, expm1, isfinite, log, log1p
from typing import Final

import msgspec

from pipeline.risk.calibration import CERTAIN
from pipeline.units import DAY

FAR: Final = 36_525 * DAY
"""A hundred years: no deadline lies later."""

_OVERFLOW: Final = 700.0  # exp of more is no float


def logit_none(log_back: float) -> float:
    """Log-odds of no activity, from the log of P(activity); at most `CERTAIN` either way."""
    if log_back > -1e-6:
        return -CERTAIN
    return min(max(log(-expm1(log_back)) - log_back, -CERTAIN), CERTAIN)


class MbgNbd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The four parameters, fitted with time in `unit` ms; the defaults are those of CDNOW, in weeks."""

    r: float = 0.525
    alpha: float = 6.183
    a: float = 0.891
    b: float = 1.614
    unit: int = 7 * DAY

    def __post_init__(self) -> None:
        """All of them are above 0."""
        if not all(isfinite(value) and value > 0 for value in (self.r, self.alpha, self.a, self.b, self.unit)):
            raise ValueError("MBG/NBD: every parameter must be above 0")

    def p_alive(self, x: int, t_x: int, T: int) -> float:  # noqa: N803 - the literature's letter
        """P(alive) at age T (ms) after x further active days, the last at t_x (ms).

        1 / (1 + a/(b+x) · ((α+T)/(α+t_x))^(r+x)), by way of logarithms: the power overflows for busy users.
        """
        silence = max(0, T - t_x)
        odds = log(self.a / (self.b + x)) + (self.r + x) * log1p(silence / (self.alpha * self.unit + t_x))
        return 1 / (1 + exp(odds)) if odds < _OVERFLOW else 0.0

    def p_none(self, x: int, t_x: int, T: int, H: int) -> float:  # noqa: N803
        """P(no activity in the H ms after age T): 1 - P(alive) · (1 - ((α+T)/(α+T+H))^(r+x))."""
        T = max(T, t_x)  # noqa: N806
        return 1 + self.p_alive(x, t_x, T) * expm1(-(self.r + x) * log1p(H / (self.alpha * self.unit + T)))

    def log_back(self, x: int, t_x: int, T: int, H: int) -> tuple[float, float]:  # noqa: N803
        """Logs of P(alive at age T) and of P(active in the H ms after, if alive); their sum is log(1 - p_none)."""
        start = self.alpha * self.unit
        pace = self.r + x
        odds = log(self.a / (self.b + x)) + pace * log1p(max(0, T - t_x) / (start + t_x))
        alive = -log1p(exp(odds)) if odds < _OVERFLOW else -odds
        return alive, log(-expm1(-pace * log1p(H / (start + max(T, t_x)))))

    def crossing(self, x: int, t_x: int, threshold: float) -> int:
        """The first age (ms, >= t_x) at which p_alive < threshold; at most `FAR`.

        T* = (α+t_x) · [(b+x)/a · (1-θ)/θ]^(1/(r+x)) - α
        """
        grown = (log((self.b + x) / self.a) + log((1 - threshold) / threshold)) / (self.r + x)
        if grown < 0:
            return min(t_x, FAR)
        if grown > log1p(FAR / (self.alpha * self.unit)):
            return FAR
        age = t_x + int((self.alpha * self.unit + t_x) * expm1(grown))
        step = 1
        while age < FAR and self.p_alive(x, t_x, age) >= threshold:  # the closed form is off by a rounding
            age += step
            step *= 2
        return min(age, FAR)
