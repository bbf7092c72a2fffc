"""BG/NBD (Fader, Hardie & Lee 2005), the older relative of the MBG/NBD: for comparison with what is published.

It lets customers leave after a repeated purchase only, so P(alive) of a one-time buyer is 1 for ever: no churn score.
Arrays or numbers throughout; time in any one unit.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaln, gammaln, hyp2f1

from pipeline.risk.learn import Floats, most_likely


class BgNbd(NamedTuple):
    """The four parameters."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, x: Floats, t_x: Floats, T: Floats) -> "BgNbd":  # noqa: N803 - the literature's letter
        """By maximum likelihood, for customers with x repeated purchases, the last at t_x, observed up to T."""
        return cls(*most_likely(lambda parameters, *user: cls(*parameters).log_likelihood(*user), x, t_x, T))

    def log_likelihood(self, x: Floats, t_x: Floats, T: Floats) -> Floats:  # noqa: N803
        """Of each customer."""
        r, alpha, a, b = self
        rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        alive = betaln(a, b + x) - (r + x) * np.log(alpha + T)
        gone = betaln(a + 1, b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
        return np.asarray(rate + np.where(x > 0, np.logaddexp(alive, gone), alive))

    def p_alive(self, x: Any, t_x: Any, T: Any) -> Any:  # noqa: N803
        """P(alive) at age T."""
        r, alpha, a, b = self
        odds = a / (b + np.maximum(x, 1) - 1) * ((alpha + T) / (alpha + t_x)) ** (r + x)
        return np.where(np.asarray(x) > 0, 1 / (1 + odds), 1.0)

    def expected(self, t: Any) -> Any:
        """Expected repeated purchases of a new customer within t."""
        r, alpha, a, b = self
        return (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + t)) ** r * hyp2f1(r, b, a + b - 1, t / (alpha + t)))

    def expected_given(self, t: float, x: Any, t_x: Any, T: Any) -> Any:  # noqa: N803
        """Expected purchases in the time t after age T."""
        r, alpha, a, b = self
        series = hyp2f1(r + x, b + x, a + b + x - 1, t / (alpha + T + t))
        more = (a + b + x - 1) / (a - 1) * (1 - ((alpha + T) / (alpha + T + t)) ** (r + x) * series)
        return more * self.p_alive(x, t_x, T)
