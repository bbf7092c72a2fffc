"""The churn model that MBG/NBD makes."""

from collections.abc import Sequence
from math import exp, isfinite
from typing import ClassVar, Self

import msgspec

from pipeline.activity import Activity
from pipeline.risk.calibration import IDENTITY, Calibration
from pipeline.risk.mbgnbd import MbgNbd, logit_none
from pipeline.risk.model import Features, Horizon, Sample, Term, silence_start


class Mbg(msgspec.Struct, frozen=True, tag_field="kind", tag="mbg/1", forbid_unknown_fields=True):
    """P(no activity within the horizon) by a fitted MBG/NBD, recalibrated. `horizon`: ms; `means` of the features."""

    name: ClassVar[str] = "mbg"
    feature_names: ClassVar[tuple[str, ...]] = ("p_alive", "p_active_if_alive")
    rises: ClassVar[bool] = True

    horizon: Horizon
    mbg: MbgNbd
    means: tuple[float, float]
    calibration: Calibration = IDENTITY

    def __post_init__(self) -> None:
        """The means are logs of probabilities."""
        if not all(isfinite(mean) and mean <= 0 for mean in self.means):
            raise ValueError("mbg: the means must be finite and at most 0")

    @property
    def base(self) -> float:
        """Log-odds of a user with average features."""
        return logit_none(sum(self.means))

    def features(self, activity: Activity, at: int) -> Features:
        """Logs of P(alive) and of P(active within the horizon, if alive)."""
        lived = activity.last - activity.first
        quiet = max(0, at - silence_start(activity))
        return self.mbg.log_back(activity.days - 1, lived, lived + quiet, self.horizon)

    def score(self, features: Features) -> float:
        """Log-odds before calibration."""
        return logit_none(features[0] + features[1])

    def predict(self, features: Features) -> float:
        """P(no event within the horizon)."""
        return self.calibration.probability(logit_none(features[0] + features[1]))

    def explain(self, features: Features) -> list[Term]:
        """What each of the two adds, on average over both orders of adding them (Shapley): log-odds of a product are
        no sum.
        """
        (alive, active), (mean_alive, mean_active) = features, self.means
        whole = logit_none(alive + active) - self.base
        alone = logit_none(alive + mean_active) - self.base
        other = logit_none(mean_alive + active) - self.base
        gone = (alone + whole - other) / 2
        return [Term("p_alive", exp(alive), gone), Term("p_active_if_alive", exp(active), whole - gone)]

    @classmethod
    def fit(cls, samples: Sequence[Sample], horizon: int) -> Self:
        """By scipy's optimiser; see `ChurnModel.fit`."""
        from pipeline.risk.learn import calibrate, eligible, fit_mbg, means  # noqa: PLC0415 scipy is no part of a worker

        seen = eligible(samples, horizon)
        model = cls(horizon, fit_mbg(samples), (0.0, 0.0))
        alive, active = means([model.features(sample.activity, sample.at) for sample in seen])
        return calibrate(msgspec.structs.replace(model, means=(alive, active)), seen)

    def calibrated(self, calibration: Calibration) -> Self:
        """This model with another calibration."""
        return msgspec.structs.replace(self, calibration=calibration)

    def to_json(self) -> bytes:
        """See `ChurnModel.to_json`."""
        return msgspec.json.encode(self)
