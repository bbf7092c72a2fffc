"""Recency: the longer the silence, the likelier it lasts. What every other model has to beat."""

from collections.abc import Sequence
from math import expm1, log1p
from typing import ClassVar, Self

import msgspec

from pipeline.activity import Activity
from pipeline.risk.calibration import IDENTITY, Calibration
from pipeline.risk.model import Features, Horizon, Sample, Term, quiet_days


class Recency(msgspec.Struct, frozen=True, tag_field="kind", tag="recency/1", forbid_unknown_fields=True):
    """Logistic regression on log(1 + days of silence). `horizon`: ms; `mean`: of the feature; `weight`: at least 0."""

    name: ClassVar[str] = "recency"
    feature_names: ClassVar[tuple[str, ...]] = ("silence_days",)
    rises: ClassVar[bool] = True

    horizon: Horizon
    base: float
    mean: float
    weight: float
    calibration: Calibration = IDENTITY

    def __post_init__(self) -> None:
        """A silence never speaks for a user."""
        if self.weight < 0:
            raise ValueError("recency: the weight must not be below 0")

    def features(self, activity: Activity, at: int) -> Features:
        """(log1p(days of silence),)."""
        return (log1p(quiet_days(activity, at)),)

    def score(self, features: Features) -> float:
        """Log-odds before calibration."""
        return self.base + self.weight * (features[0] - self.mean)

    def predict(self, features: Features) -> float:
        """P(no event within the horizon)."""
        return self.calibration.probability(self.score(features))

    def explain(self, features: Features) -> list[Term]:
        """The one term."""
        return [Term("silence_days", expm1(features[0]), self.weight * (features[0] - self.mean))]

    @classmethod
    def fit(cls, samples: Sequence[Sample], horizon: int) -> Self:
        """By scikit-learn; see `ChurnModel.fit`."""
        from pipeline.risk.learn import calibrate, eligible, regress  # noqa: PLC0415 scikit-learn is no part of a worker

        seen = eligible(samples, horizon)
        line = regress([(log1p(quiet_days(sample.activity, sample.at)),) for sample in seen], seen, horizon)
        return calibrate(cls(horizon, line.base, line.means[0], max(0.0, line.weights[0])), seen)

    def calibrated(self, calibration: Calibration) -> Self:
        """This model with another calibration."""
        return msgspec.structs.replace(self, calibration=calibration)

    def to_json(self) -> bytes:
        """See `ChurnModel.to_json`."""
        return msgspec.json.encode(self)
