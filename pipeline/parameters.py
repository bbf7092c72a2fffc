"""What a history says of a policy's `risk:` and `value:`: MBG/NBD and Gamma-Gamma, fitted on how all users stand."""

from collections.abc import Iterable, Sequence
from statistics import StatisticsError, correlation
from typing import Final, NamedTuple

from pipeline.money import EXPONENTS
from pipeline.policy.form import spell
from pipeline.risk import MbgNbd
from pipeline.state import UserState
from pipeline.value import ValueModel

RARE: Final = 0.01
"""Share who leave after an active day below which P(alive) says little."""


class Parameters(NamedTuple):
    """`risk`: of the active days of all `users`; `value`: of the orders of all `buyers` with a priced one, in major
    units of `currency`, or None, and `missing` says why. `correlation`: of how often they ordered with how much, over
    those with two orders or more (None: there is none); the value takes it for 0.
    """

    risk: MbgNbd
    users: int
    value: ValueModel | None
    buyers: int
    currency: str
    correlation: float | None
    missing: str = ""

    @property
    def lines(self) -> list[str]:
        """As a policy states them: a line of YAML for each section that could be fitted."""
        risk = {"model": "mbg"} | {name: f"{getattr(self.risk, name):.6g}" for name in ("r", "alpha", "a", "b")}
        found = [_line("risk", risk | {"unit": spell(self.risk.unit)})]
        if self.value is not None:
            value = {name: f"{getattr(self.value, name):.6g}" for name in ("p", "q", "gamma")}
            found.append(_line("value", value | {"horizon": spell(self.value.horizon)}))
        return found

    @property
    def says(self) -> list[str]:
        """What the lines are of, in words, and what to know of them."""
        found = [f"risk: of the active days of {self.users:,} users (MBG/NBD, time in weeks)"]
        leave = self.risk.a / (self.risk.a + self.risk.b)
        if leave < RARE:
            found.append(
                f"risk: by it only {leave:.2%} leave after an active day, so P(alive) stays near 1 and a rule by "
                "p_alive_below is hardly ever due: decide by risk_above"
            )
        if self.value is None:
            return [*found, f"value: not fitted: {self.missing}"]
        text = f"value: of the orders of {self.buyers:,} users, in {self.currency} (Gamma-Gamma)"
        if self.correlation is not None:
            text += f"; how often and for how much they order correlates by {self.correlation:+.2f}, taken for 0"
        return [*found, text]

    @property
    def markdown(self) -> str:
        """As a section of a report."""
        words = "P(alive), value and value at stake go by these sections of a policy; the model does not hold them."
        said = "\n".join(f"- {line}" for line in self.says)
        return "\n\n".join(("## For the policy", words, said, "\n".join(("```yaml", *self.lines, "```")))) + "\n"


def parameters(states: Iterable[UserState], at: int, currency: str, horizon: int) -> Parameters:
    """Fit both on the users who are known and were active, as of `at` (ms, effective time).

    Args:
        states: rows, as of the end of the history.
        at: no activity lies behind it.
        currency: in which their orders are added up.
        horizon: of the value, ms.

    Raises:
        ValueError: there is no such user.
    """
    from pipeline.risk.learn import mbg_of  # noqa: PLC0415 scipy is no part of a worker

    users = [state for state in states if state.known and state.activity.days]
    if not users:
        raise ValueError("there is no user to fit on")
    unit = 10 ** EXPONENTS[currency]
    bought = [state.orders for state in users if state.orders is not None and state.orders.spent > 0]
    counts = [float(orders.count) for orders in bought]
    means = [orders.spent / orders.count / unit for orders in bought]
    value, missing = _value(counts, means, horizon)
    risk = mbg_of([state.activity for state in users], at)
    return Parameters(risk, len(users), value, len(bought), currency, _correlation(counts, means), missing)


def _value(counts: Sequence[float], means: Sequence[float], horizon: int) -> tuple[ValueModel | None, str]:
    """The value model, or why there is none."""
    from pipeline.value.gamma_gamma import fit  # noqa: PLC0415 scipy is no part of a worker

    try:
        found, _ = fit(counts, means)
        return ValueModel(found.p, found.q, found.gamma, horizon), ""
    except ValueError as error:
        return None, str(error)


def _correlation(counts: Sequence[float], means: Sequence[float]) -> float | None:
    repeaters = [(count, mean) for count, mean in zip(counts, means, strict=True) if count > 1]
    try:
        return correlation(*zip(*repeaters, strict=True)) if repeaters else None
    except StatisticsError:  # fewer than two of them, or all alike
        return None


def _line(section: str, fields: dict[str, str]) -> str:
    return f"{section}: {{{', '.join(f'{name}: {value}' for name, value in fields.items())}}}"
