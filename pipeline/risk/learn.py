"""What the churn models learn by: maximum likelihood (scipy), logistic regression and calibration (scikit-learn).

Imported by `fit` alone, so that a worker never loads numpy. Everything here is deterministic.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from pipeline.activity import Activity
from pipeline.risk.calibration import Calibration
from pipeline.risk.mbgnbd import MbgNbd
from pipeline.risk.model import ChurnModel, Features, Sample, TooLittle, quiet_days, silence_start
from pipeline.units import DAY

Floats = NDArray[np.float64]
M = TypeVar("M", bound=ChurnModel)

_LEAST: Final = 50  # samples; fewer say nothing
_PRIOR: Final = 3000.0
_DEVIATION: Final = 0.3
_WEEK: Final = 7 * DAY


class Line(NamedTuple):
    """A logistic regression, centred: log-odds = base + sum of weight · (feature - mean)."""

    base: float
    means: tuple[float, ...]
    weights: tuple[float, ...]


def eligible(samples: Sequence[Sample], horizon: int) -> list[Sample]:
    """Those who were active in the two horizons before: of others it is known that they are gone.

    Raises:
        TooLittle: too few, or all of them silent or active afterwards.
    """
    found = [sample for sample in samples if sample.at - silence_start(sample.activity) <= 2 * horizon]
    silent = sum(sample.silent for sample in found)
    if len(found) < _LEAST or not 0 < silent < len(found):
        line = f"{len(found)} samples of users active in the last {2 * horizon / DAY:g} days, {silent} of them silent"
        raise TooLittle(f"{line} afterwards: at least {_LEAST}, of both kinds, are needed")
    return found


def regress(rows: Sequence[Features], samples: Sequence[Sample], horizon: int) -> Line:
    """Logistic regression of `silent` on the rows of the samples: least mean log loss + |weights|² / 6000, on
    standardised features.

    A sample's weight in the mean halves with every two horizons of age: populations drift, and the recent past is the
    best guess of what comes.
    """
    x, y = np.array(rows), np.array([sample.silent for sample in samples])
    weight = _ages(samples, horizon)
    centre = np.average(x, axis=0, weights=weight)
    scale = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weight))
    scale[scale == 0] = 1.0
    base, weights = _logistic((x - centre) / scale, y, weight, _PRIOR / weight.sum())
    return Line(base, _tuple(centre), _tuple(weights / scale))


def means(rows: Sequence[Features]) -> tuple[float, ...]:
    """The average of each feature."""
    return _tuple(np.array(rows).mean(axis=0))


def calibrate(model: M, samples: Sequence[Sample]) -> M:
    """The model, calibrated by Platt's scaling on the snapshots of the last two horizons: fewer follow a season, more
    the past.
    """
    since = max(sample.at for sample in samples) - 2 * model.horizon
    recent = [sample for sample in samples if sample.at > since]
    labels = np.array([sample.silent for sample in recent])
    if labels.min() == labels.max():
        raise TooLittle(f"all {len(recent)} users of the last two horizons' snapshots are alike")
    scores = np.array([model.score(model.features(sample.activity, sample.at)) for sample in recent])
    return model.calibrated(platt(scores, labels, len({sample.user for sample in recent})))


def platt(scores: Floats, labels: NDArray[Any], users: int) -> Calibration:
    """The likeliest line in log-odds; it never falls.

    However often a user was sampled, together they count as `users` observations, against a normal prior of deviation
    .3 around the line that changes nothing: a handful of users does not turn a model around.
    """
    weight = users / len(labels)
    signs = 1 - 2 * labels

    def loss(line: Floats) -> float:
        change = float((line[0] - 1) ** 2 + line[1] ** 2)
        return weight * float(np.logaddexp(0, signs * (line[0] * scores + line[1])).sum()) + change / (
            2 * _DEVIATION**2
        )

    with threadpool_limits(1):
        slope, base = map(float, minimize(loss, (1.0, 0.0), method="L-BFGS-B", bounds=((0, None), (None, None))).x)
    return Calibration((0.0, 1.0), (base, base + slope))


def platt_of(logits: Sequence[float], silent: Sequence[int], came: Sequence[int]) -> tuple[float, float]:
    """Base and slope of the likeliest line by counts of those who were silent and who came, at each of some log-odds;
    every one is an observation, against the prior of `platt`.
    """
    x, silences, returns = (np.array(each, dtype=float) for each in (logits, silent, came))

    def loss(line: Floats) -> float:
        z = line[0] * x + line[1]
        change = float((line[0] - 1) ** 2 + line[1] ** 2)
        return float(silences @ np.logaddexp(0, -z) + returns @ np.logaddexp(0, z)) + change / (2 * _DEVIATION**2)

    slope, base = map(float, minimize(loss, (1.0, 0.0), method="L-BFGS-B", bounds=((0, None), (None, None))).x)
    return base, slope


def _logistic(x: Floats, y: NDArray[Any], weight: Floats, prior: float) -> tuple[float, Floats]:
    """Intercept and weights. `prior`: the variance of the weights' normal prior."""
    with threadpool_limits(1):  # several would sum in any order, and take longer on problems so small
        model = LogisticRegression(C=prior, max_iter=1000, tol=1e-8).fit(x, y, sample_weight=weight)
    return float(model.intercept_[0]), model.coef_[0]


def _ages(samples: Sequence[Sample], horizon: int) -> Floats:
    at = np.array([sample.at for sample in samples], dtype=float)
    return np.asarray(0.5 ** ((at.max() - at) / (2 * horizon)))


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(map(float, values))


def mean_gap(samples: Sequence[Sample]) -> float:
    """Days between two active days, over all users of the latest snapshot; 30 if nobody came twice."""
    latest = max(sample.at for sample in samples)
    lived = gaps = 0
    for _, activity, at, _ in samples:
        if at == latest:
            lived += activity.last - activity.first
            gaps += activity.days - 1
    return lived / gaps / DAY if gaps and lived else 30.0


def fit_mbg(samples: Sequence[Sample]) -> MbgNbd:
    """MBG/NBD by maximum likelihood, over all users of the latest snapshot; time in weeks."""
    latest = max(sample.at for sample in samples)
    return mbg_of([sample.activity for sample in samples if sample.at == latest], latest)


def mbg_of(activities: Sequence[Activity], at: int) -> MbgNbd:
    """MBG/NBD by maximum likelihood, over users with at least one active day as of `at` (ms, effective time); time in
    weeks.
    """
    users = [
        (activity.days - 1, (activity.last - activity.first) / _WEEK, quiet_days(activity, at) / 7)
        for activity in activities
    ]
    x, t_x, quiet = np.array(users).T
    r, alpha, a, b = most_likely(log_likelihood, x, t_x, t_x + quiet)
    return MbgNbd(r, alpha, a, b, _WEEK)


def most_likely(
    log_likelihood: Callable[[Floats, Floats, Floats, Floats], Floats],
    x: Floats,
    t_x: Floats,
    T: Floats,  # noqa: N803
) -> tuple[float, float, float, float]:
    """(r, alpha, a, b) of the greatest likelihood for users with x repeated active days, the last at t_x, observed up
    to T. `log_likelihood`: of each user, given the parameters, x, t_x and T.
    """
    distinct, counts = np.unique(np.column_stack((x, t_x, T)), axis=0, return_counts=True)
    with threadpool_limits(1):
        found = minimize(
            lambda logs: -float(counts @ log_likelihood(np.exp(logs), *distinct.T)) / len(x),
            np.array((-0.5, np.log(max(T.mean() / 4, 1e-3)), 0.0, 0.5)),
            method="L-BFGS-B",
            bounds=((-7, 7),) * 4,
            options={"ftol": 1e-12, "gtol": 1e-7, "maxiter": 500},
        )
    r, alpha, a, b = map(float, np.exp(found.x))
    return r, alpha, a, b


def log_likelihood(parameters: Floats, x: Floats, t_x: Floats, T: Floats) -> Floats:  # noqa: N803
    """Of each user under the MBG/NBD (Batislam et al. 2007) with (r, alpha, a, b)."""
    r, alpha, a, b = parameters
    rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    alive = betaln(a, b + x + 1) - (r + x) * np.log(alpha + T)
    gone = betaln(a + 1, b + x) - (r + x) * np.log(alpha + t_x)
    return np.asarray(rate + np.logaddexp(alive, gone))
