"""Logistic regression over the O(1) state and the MBG/NBD's answer: the best of the three on every data set at hand."""

from collections.abc import Sequence
from math import exp, expm1, isfinite, log, log1p
from typing import ClassVar, Final, Self

import msgspec

from pipeline.activity import Activity
from pipeline.risk.calibration import IDENTITY, Calibration
from pipeline.risk.mbgnbd import MbgNbd, logit_none
from pipeline.risk.model import Features, Horizon, Sample, Term, quiet_days
from pipeline.units import DAY

_LN2: Final = log(2)
_FLOOR: Final = 0.01  # active days; a counter below it is as good as none
_EVEN: Final = 0.05


def state_features(activity: Activity, at: int, mbg: MbgNbd, mean_gap: float, horizon: int) -> Features:
    """The eight features of docs/methods/churn.md.

    Args:
        activity: of a user with at least one active day.
        at: ms, effective time.
        mbg: a fitted one.
        mean_gap: of the population, days.
        horizon: ms.
    """
    days = activity.days
    lived = activity.last - activity.first
    quiet = quiet_days(activity, at)
    gap = (lived / DAY + mean_gap) / days
    return (
        log(activity.c7 * exp(quiet * (-_LN2 / 7)) + _FLOOR),
        log(activity.c30 * exp(quiet * (-_LN2 / 30)) + _FLOOR),
        log(activity.c90 * exp(quiet * (-_LN2 / 90)) + _FLOOR),
        log1p(quiet),
        log(quiet / gap + _EVEN),
        log1p(days),
        log1p(lived / DAY + quiet),
        logit_none(sum(mbg.log_back(days - 1, lived, lived + int(quiet * DAY), horizon))),
    )


class Logistic(msgspec.Struct, frozen=True, tag_field="kind", tag="logistic/1", forbid_unknown_fields=True):
    """`horizon`: ms; `means` and `weights` of the features as they are, unscaled; `mean_gap`: days between two active
    days of the population.
    """

    name: ClassVar[str] = "logistic"
    feature_names: ClassVar[tuple[str, ...]] = (
        "active_days_7d",
        "active_days_30d",
        "active_days_90d",
        "silence_days",
        "silence_to_gap",
        "active_days",
        "tenure_days",
        "mbg_p_none",
    )
    rises: ClassVar[bool] = False
    """Decayed counters may have either sign."""

    horizon: Horizon
    base: float
    means: tuple[float, ...]
    weights: tuple[float, ...]
    mean_gap: float
    mbg: MbgNbd
    calibration: Calibration = IDENTITY

    def __post_init__(self) -> None:
        """As many means and weights as features."""
        if not len(self.means) == len(self.weights) == len(self.feature_names):
            raise ValueError(f"logistic: {len(self.feature_names)} means and weights are needed")
        if not all(map(isfinite, (self.base, *self.means, *self.weights))) or self.mean_gap <= 0:
            raise ValueError("logistic: parameters must be finite, and the mean gap above 0")

    def features(self, activity: Activity, at: int) -> Features:
        """See `state_features`."""
        return state_features(activity, at, self.mbg, self.mean_gap, self.horizon)

    def score(self, features: Features) -> float:
        """Log-odds before calibration."""
        total = self.base
        for value, mean, weight in zip(features, self.means, self.weights, strict=True):
            total += weight * (value - mean)
        return total

    def predict(self, features: Features) -> float:
        """P(no event within the horizon)."""
        return self.calibration.probability(self.score(features))

    def explain(self, features: Features) -> list[Term]:
        """A term for each feature."""
        c7, c30, c90, quiet, ratio, days, tenure, none = features
        values = (
            max(0.0, exp(c7) - _FLOOR),
            max(0.0, exp(c30) - _FLOOR),
            max(0.0, exp(c90) - _FLOOR),
            expm1(quiet),
            max(0.0, exp(ratio) - _EVEN),
            expm1(days),
            expm1(tenure),
            1 / (1 + exp(-none)),
        )
        rows = zip(self.feature_names, values, features, self.means, self.weights, strict=True)
        return [Term(code, value, weight * (feature - mean)) for code, value, feature, mean, weight in rows]

    @classmethod
    def fit(cls, samples: Sequence[Sample], horizon: int) -> Self:
        """MBG/NBD by scipy, the rest by scikit-learn; see `ChurnModel.fit`."""
        from pipeline.risk.learn import calibrate, eligible, fit_mbg, mean_gap, regress  # noqa: PLC0415 scikit-learn is no part of a worker

        seen = eligible(samples, horizon)
        mbg, gap = fit_mbg(samples), mean_gap(samples)
        rows = [state_features(sample.activity, sample.at, mbg, gap, horizon) for sample in seen]
        line = regress(rows, seen, horizon)
        return calibrate(cls(horizon, line.base, line.means, line.weights, gap, mbg), seen)

    def calibrated(self, calibration: Calibration) -> Self:
        """This model with another calibration."""
        return msgspec.structs.replace(self, calibration=calibration)

    def to_json(self) -> bytes:
        """See `ChurnModel.to_json`."""
        return msgspec.json.encode(self)
