"""Gamma-Gamma (Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value"): what an order is worth, by customer.

Amounts of one customer vary around a mean of their own (gamma with shape p), means vary among customers (gamma of shape
q and rate gamma), independently of how often they order.
"""

from collections.abc import Sequence
from math import exp, fsum, isfinite, lgamma, log
from typing import Final

import msgspec

_FEWEST: Final = 10
_LEAST, _MOST = 1e-3, 1e4  # where a parameter is looked for


class GammaGamma(msgspec.Struct, frozen=True):
    """The parameters, `gamma` in major units of one currency; the defaults are those of CDNOW, in USD.

    A mean over all customers exists for q > 1 only.
    """

    p: float = 6.25
    q: float = 3.74
    gamma: float = 15.44

    def __post_init__(self) -> None:
        """All of them are above 0."""
        if not all(isfinite(value) and value > 0 for value in (self.p, self.q, self.gamma)):
            raise ValueError("Gamma-Gamma: every parameter must be above 0")

    def mean(self, orders: float, mean: float) -> float:
        """E[order value | `orders` with this observed mean], in major units: p (gamma + x m) / (p x + q - 1).

        Without orders: that of all users. Raises ValueError where it does not exist (q of at most 1).
        """
        if self.p * orders + self.q <= 1:
            raise ValueError("Gamma-Gamma: with q of at most 1 there is no mean over all users")
        return self.p * (self.gamma + orders * mean) / (self.p * orders + self.q - 1)

    def log_likelihood(self, orders: Sequence[float], means: Sequence[float]) -> float:
        """Of customers with so many orders of such a mean, both above 0."""
        p, q, gamma = self.p, self.q, self.gamma
        constant = q * log(gamma) - lgamma(q)
        return fsum(
            constant
            + lgamma(p * x + q)
            - lgamma(p * x)
            + (p * x - 1) * log(m)
            + p * x * log(x)
            - (p * x + q) * log(gamma + x * m)
            for x, m in zip(orders, means, strict=True)
        )


def fit(orders: Sequence[float], means: Sequence[float]) -> tuple[GammaGamma, float]:
    """The most likely parameters, and their log likelihood: Nelder-Mead over their logarithms, the same on each run.

    Args:
        orders: how many orders each customer had, above 0.
        means: their mean, in major units of one currency, above 0. Leave customers without a priced order out.

    Raises:
        ValueError: fewer than 10 customers, an amount or a count that is not above 0, or no maximum is found.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 reports and workers never fit

    if len(orders) != len(means) or len(orders) < _FEWEST:
        raise ValueError(f"at least {_FEWEST} customers with orders are needed, each with a count and a mean")
    if not all(isfinite(each) and each > 0 for each in (*orders, *means)):
        raise ValueError("counts and means of orders must be above 0")
    scale = fsum(means) / len(means)  # gamma is proportional to the currency's unit
    scaled = [m / scale for m in means]

    def loss(logs: Sequence[float]) -> float:
        p, q, gamma = (exp(float(each)) for each in logs)
        return -GammaGamma(p, q, gamma).log_likelihood(orders, scaled)

    options = {"xatol": 1e-6, "fatol": 1e-9 * len(orders), "maxiter": 4000, "maxfev": 4000}
    bounds = [(log(_LEAST), log(_MOST))] * 3
    found = minimize(loss, [log(2.0), log(2.0), 0.0], method="Nelder-Mead", bounds=bounds, options=options)
    if not found.success:
        raise ValueError(f"no maximum was found: {found.message}")
    p, q, gamma = (exp(float(each)) for each in found.x)
    model = GammaGamma(p, q, gamma * scale)
    return model, model.log_likelihood(orders, means)
