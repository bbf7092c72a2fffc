"""What the churn models learn by: maximum likelihood (scipy), logistic regression and calibration (scikit-learn).

Imported by `fit` alone, so that a worker never loads numpy. Everything here is deterministic.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln
from sklearn.linear_model import LogisticRegression

from pipeline.risk.calibration import Calibration
from pipeline.risk.mbg import MbgNbd
from pipeline.risk.model import ChurnModel, Features, Sample, TooLittle, quiet_days
from pipeline.units import DAY

Floats = NDArray[np.float64]
M = TypeVar("M", bound=ChurnModel)

_LEAST: Final = 50  # samples; fewer say nothing
_WEEK: Final = 7 * DAY


class Line(NamedTuple):
    """A logistic regression, centred: log-odds = base + sum of weight · (feature - mean)."""

    base: float
    means: tuple[float, ...]
    weights: tuple[float, ...]


def regress(rows: Sequence[Features], samples: Sequence[Sample]) -> Line:
    """Logistic regression of `silent` on the rows of the samples, with a weak L2 penalty on standardised features.

    Raises:
        TooLittle: too few samples, or all alike.
    """
    x, y = np.array(rows), np.array([sample.silent for sample in samples])
    if len(y) < _LEAST or y.min() == y.max():
        raise TooLittle(f"{len(y)} samples, {int(y.sum())} of them silent: at least {_LEAST} of both kinds are needed")
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit((x - centre) / scale, y)
    weights = model.coef_[0] / scale
    return Line(float(model.intercept_[0]), tuple(map(float, centre)), tuple(map(float, weights)))


def means(rows: Sequence[Features]) -> tuple[float, ...]:
    """The average of each feature."""
    return tuple(map(float, np.array(rows).mean(axis=0)))


def platt(scores: Floats, labels: Floats) -> Calibration:
    """The line in log-odds of the greatest likelihood; it never falls."""
    model = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8).fit(scores[:, None], labels)
    slope, base = max(float(model.coef_[0][0]), 1e-3), float(model.intercept_[0])
    return Calibration((0.0, 1.0), (base, base + slope))


def calibrate(model: M, samples: Sequence[Sample]) -> M:
    """The model, calibrated on the latest snapshot of the samples."""
    latest = max(sample.at for sample in samples)
    recent = [sample for sample in samples if sample.at == latest]
    scores = np.array([model.score(model.features(sample.activity, sample.at)) for sample in recent])
    labels = np.array([float(sample.silent) for sample in recent])
    if labels.min() == labels.max():
        raise TooLittle(f"all {len(recent)} users of the latest snapshot are alike")
    return model.calibrated(platt(scores, labels))


def mean_gap(samples: Sequence[Sample]) -> float:
    """Days between two active days, over all users of the latest snapshot; 30 if nobody came twice."""
    latest = max(sample.at for sample in samples)
    lived = gaps = 0
    for activity, at, _ in samples:
        if at == latest:
            lived += activity.last - activity.first
            gaps += activity.days - 1
    return lived / gaps / DAY if lived else 30.0


def fit_mbg(samples: Sequence[Sample]) -> MbgNbd:
    """MBG/NBD by maximum likelihood, over all users of the latest snapshot; time in weeks."""
    latest = max(sample.at for sample in samples)
    users = [
        (activity.days - 1, (activity.last - activity.first) / _WEEK, quiet_days(activity, at) / 7)
        for activity, at, _ in samples
        if at == latest
    ]
    x, t_x, quiet = np.array(users).T
    return MbgNbd(*maximum_likelihood(x, t_x, t_x + quiet), unit=_WEEK)


def maximum_likelihood(x: Floats, t_x: Floats, T: Floats) -> tuple[float, float, float, float]:  # noqa: N803
    """(r, alpha, a, b) of the MBG/NBD for users with x repeated active days, the last at t_x, observed up to T."""
    distinct, counts = np.unique(np.column_stack((x, t_x, T)), axis=0, return_counts=True)
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
