"""Churn models.

A model is a frozen struct of its parameters, in one file, and a line in a registry here; the conformance suite
(`tests/unit/test_risk_conformance.py`) runs on it by itself. `MODELS` are those whose parameters a policy can state,
for P(alive) in closed form; `CHURN_MODELS` are those that `rekindle fit` learns: P(no event in a horizon), calibrated.
"""

from typing import Final, Protocol

from pipeline.risk.calibration import Calibration
from pipeline.risk.crossing import crossing
from pipeline.risk.document import AnyModel, Fitted, from_json
from pipeline.risk.logistic import Logistic
from pipeline.risk.mbg import Mbg
from pipeline.risk.mbgnbd import FAR, MbgNbd
from pipeline.risk.model import ChurnModel, Features, Sample, Term, TooLittle, silence_start
from pipeline.risk.recency import Recency

__all__ = [
    "CHURN_MODELS",
    "FAR",
    "MODELS",
    "AnyModel",
    "Calibration",
    "ChurnModel",
    "Features",
    "Fitted",
    "Logistic",
    "Mbg",
    "MbgNbd",
    "Recency",
    "RiskModel",
    "Sample",
    "Term",
    "TooLittle",
    "crossing",
    "from_json",
    "silence_start",
]


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

CHURN_MODELS: Final[dict[str, type[AnyModel]]] = {model.name: model for model in (Recency, Mbg, Logistic)}
"""Name -> model that can be fitted."""
