"""Churn models.

A model is a frozen struct of its parameters, in one file. A line in `MODELS` makes the policy know it, and the
conformance suite (`tests/unit/test_risk_conformance.py`) runs on it by itself.
"""

from typing import Final, Protocol

from pipeline.risk.mbg import FAR, MbgNbd

__all__ = ["FAR", "MODELS", "MbgNbd", "RiskModel"]


class RiskModel(Protocol):
    """What a churn model says of a user with `x` active days after the first, the last of them at the age of `t_x` ms.

    `T` is the age in ms: time since the first activity. Fields of the struct are the parameters: `float` above 0, or a
    duration in `int` ms; each has a default.
    """

    def p_alive(self, x: int, t_x: int, T: int) -> float:  # noqa: N803 - the literature's letter
        """P(the user is still a customer at age T): 0..1, falling in T."""
        ...

    def p_none(self, x: int, t_x: int, T: int, H: int) -> float:  # noqa: N803
        """P(no activity in the H ms after age T): 0..1, falling in H."""
        ...

    def crossing(self, x: int, t_x: int, threshold: float) -> int:
        """The first age T >= t_x (ms) with p_alive below the threshold (between 0 and 1); at most `FAR`."""
        ...


MODELS: Final[dict[str, type[RiskModel]]] = {"mbg": MbgNbd}
"""Name in the policy (`risk.model`) -> model."""
