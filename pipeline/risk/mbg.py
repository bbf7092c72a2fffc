"""MBG/NBD (Batislam et al. 2007): P(alive) in closed form, and the churn model that it makes.

Customers are active at a gamma-distributed rate and may leave for good at once or after any activity. Unlike BG/NBD, it
doubts a one-time customer too.
"""

from collections.abc import Sequence
from math import exp, expm1, isfinite, log, log1p
from typing import ClassVar, Final, Self

import msgspec

from pipeline.activity import Activity
from pipeline.risk.calibration import CERTAIN, IDENTITY, Calibration
from pipeline.risk.model import Features, Horizon, Sample, Term, silence_start
from pipeline.units import DAY

FAR: Final = 36_525 * DAY
"""A hundred years: no deadline lies later."""

_OVERFLOW: Final = 700.0  # exp of more is no float


def logit_none(log_back: float) -> float:
    """Log-odds of no activity, from the log of P(activity); at most `CERTAIN` either way."""
    if log_back > -1e-6:
        return -CERTAIN
    return min(max(log(-expm1(log_back)) - log_back, -CERTAIN), CERTAIN)


class MbgNbd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The four parameters, fitted with time in `unit` ms; the defaults are those of CDNOW, in weeks."""

    r: float = 0.525
    alpha: float = 6.183
    a: float = 0.891
    b: float = 1.614
    unit: int = 7 * DAY

    def __post_init__(self) -> None:
        """All of them are above 0."""
        if not all(isfinite(value) and value > 0 for value in (self.r, self.alpha, self.a, self.b, self.unit)):
            raise ValueError("MBG/NBD: every parameter must be above 0")

    def p_alive(self, x: int, t_x: int, T: int) -> float:  # noqa: N803 - the literature's letter
        """P(alive) at age T (ms) after x further active days, the last at t_x (ms).

        1 / (1 + a/(b+x) · ((α+T)/(α+t_x))^(r+x)), by way of logarithms: the power overflows for busy users.
        """
        silence = max(0, T - t_x)
        odds = log(self.a / (self.b + x)) + (self.r + x) * log1p(silence / (self.alpha * self.unit + t_x))
        return 1 / (1 + exp(odds)) if odds < _OVERFLOW else 0.0

    def p_none(self, x: int, t_x: int, T: int, H: int) -> float:  # noqa: N803
        """P(no activity in the H ms after age T): 1 - P(alive) · (1 - ((α+T)/(α+T+H))^(r+x))."""
        T = max(T, t_x)  # noqa: N806
        return 1 + self.p_alive(x, t_x, T) * expm1(-(self.r + x) * log1p(H / (self.alpha * self.unit + T)))

    def log_back(self, x: int, t_x: int, T: int, H: int) -> tuple[float, float]:  # noqa: N803
        """Logs of P(alive at age T) and of P(active in the H ms after, if alive); their sum is log(1 - p_none)."""
        start = self.alpha * self.unit
        pace = self.r + x
        odds = log(self.a / (self.b + x)) + pace * log1p(max(0, T - t_x) / (start + t_x))
        alive = -log1p(exp(odds)) if odds < _OVERFLOW else -odds
        return alive, log(-expm1(-pace * log1p(H / (start + max(T, t_x)))))

    def crossing(self, x: int, t_x: int, threshold: float) -> int:
        """The first age (ms, >= t_x) at which p_alive < threshold; at most `FAR`.

        T* = (α+t_x) · [(b+x)/a · (1-θ)/θ]^(1/(r+x)) - α
        """
        grown = (log((self.b + x) / self.a) + log((1 - threshold) / threshold)) / (self.r + x)
        if grown < 0:
            return min(t_x, FAR)
        if grown > log1p(FAR / (self.alpha * self.unit)):
            return FAR
        age = t_x + int((self.alpha * self.unit + t_x) * expm1(grown))
        step = 1
        while age < FAR and self.p_alive(x, t_x, age) >= threshold:  # the closed form is off by a rounding
            age += step
            step *= 2
        return min(age, FAR)


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
