"""How many active days are to come: the conditional expectation of MBG/NBD (Batislam et al. 2007)."""

from math import exp, expm1, log1p
from typing import Final

from pipeline.risk.mbgnbd import MbgNbd

_NEGLIGIBLE: Final = 1e-13
_TERMS: Final = 100_000


def expected_days(model: MbgNbd, x: int, t_x: int, T: int, H: int) -> float:  # noqa: N803 - the literature's letters
    """Expected active days in the `H` ms after age `T`, given `x` after the first, the last at age `t_x` (ms).

    P(alive) · (a+b+x)/(a-1) · [1 - (1-z)^(r+x) · 2F1(r+x, b+x+1; a+b+x; z)], z = H/(α+T+H). By Euler's transformation
    the bracket is 1 - (1-z)^(a-1) · 2F1(a+b-r, a-1; a+b+x; z), from which a - 1 is divided: a may be 1, and the series
    converges at once for regulars.
    """
    T = max(T, t_x)  # noqa: N806
    z = H / (model.alpha * model.unit + T + H)
    spread, shrunk = model.a - 1, log1p(-z)
    grown = -shrunk if spread == 0 else -expm1(spread * shrunk) / spread
    first, last = model.a + model.b - model.r, model.a + model.b + x
    series, term = 0.0, first / last * z
    for n in range(1, _TERMS):
        series += term
        if abs(term) <= _NEGLIGIBLE * (1 - z) * abs(series):
            break
        term *= (first + n) * (spread + n) / ((last + n) * (n + 1)) * z
    days = last * (grown - exp(spread * shrunk) * series)
    return model.p_alive(x, t_x, T) * max(0.0, days)
