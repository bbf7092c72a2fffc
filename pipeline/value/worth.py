"""A user's value and what of it is at stake, in minor units of the reporting currency."""

import msgspec

from pipeline.money import EXPONENTS
from pipeline.risk.mbgnbd import MbgNbd
from pipeline.units import DAY
from pipeline.value.gamma_gamma import GammaGamma
from pipeline.value.orders import expected_days


class ValueModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gamma-Gamma's parameters, `gamma` in major units of the reporting currency, and the `horizon` in ms.

    Raises ValueError: a parameter that is not above 0; q of at most 1, where no mean over all users exists.
    """

    p: float = 6.25
    q: float = 3.74
    gamma: float = 15.44
    horizon: int = 365 * DAY

    def __post_init__(self) -> None:
        """They are parameters of a Gamma-Gamma with a mean, and time goes on."""
        GammaGamma(self.p, self.q, self.gamma).mean(0, 0)
        if self.horizon <= 0:
            raise ValueError("value: the horizon must be above 0")

    def order_value(self, orders: int, spent: int, currency: str) -> float:
        """Expected value of the next order, in minor units, after `orders` that brought `spent` minor units.

        The fewer there are, the nearer it is to the mean of all users.
        """
        unit: int = 10 ** EXPONENTS[currency]
        mean = spent / orders / unit if orders else 0.0
        return GammaGamma(self.p, self.q, self.gamma).mean(orders, mean) * unit

    def worth(self, risk: MbgNbd, *, days: int, lived: int, age: int, orders: int, spent: int, currency: str) -> int:
        """Expected order value x expected orders to the horizon, in minor units.

        Args:
            risk: of the user's active days.
            days: active days, from 1 on.
            lived: ms between the first and the last of them.
            age: ms since the first.
            orders: how many there were; so many on each active day are expected. Without one the worth is 0.
            spent: what they brought, in minor units.
            currency: the reporting currency.
        """
        if not orders:
            return 0
        to_come = expected_days(risk, days - 1, lived, age, self.horizon) * orders / days
        return round(self.order_value(orders, spent, currency) * to_come)


def at_stake(worth: int, p_churn: float) -> int:
    """Worth x P(churn), in minor units: largest for those who waver and are worth much."""
    return round(worth * p_churn)
