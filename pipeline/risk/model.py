"""What a churn model is: P(no event within the horizon), calibrated and explained, from a user's O(1) activity state.

A model is a frozen struct. Its score is a sum of contributions in log-odds, and its probability a monotone map of the
score (`pipeline.risk.calibration`): so the explanation is exact and the calibration can be renewed by itself.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple, Protocol, Self

import msgspec

from pipeline.activity import Activity
from pipeline.risk.calibration import Calibration
from pipeline.units import DAY, HOUR

Features = tuple[float, ...]
Horizon = Annotated[int, msgspec.Meta(gt=0)]
"""ms."""


class Term(NamedTuple):
    """One reason of a score. `code`: stable, of `feature_names`; `value`: in the unit of the code (days, a count, a
    ratio, a probability); `contribution`: log-odds added to the risk, against the average user of the fit.
    """

    code: str
    value: float
    contribution: float


class Sample(NamedTuple):
    """A user as of a snapshot at `at` (ms), and whether nothing happened in the horizon after it (1) or something
    did (0).
    """

    user: bytes
    activity: Activity
    at: int
    silent: int


class ChurnModel(Protocol):
    """P(no event in the next `horizon` ms).

    Times are ms of effective time (dark hours are no silence; see docs/semantics.md).
    """

    name: ClassVar[str]
    feature_names: ClassVar[tuple[str, ...]]
    rises: ClassVar[bool]
    """Whether the probability never falls while the user is silent, whatever the parameters of a fit."""

    @property
    def horizon(self) -> int:
        """Ms."""
        ...

    @property
    def calibration(self) -> Calibration:
        """From the score's log-odds to the probability."""
        ...

    @property
    def base(self) -> float:
        """The average user's score, log-odds."""
        ...

    def features(self, activity: Activity, at: int) -> Features:
        """Finite numbers, one for each of `feature_names`, of a user with at least one active day as of `at`; a
        moment before their last activity counts as that activity's.
        """
        ...

    def score(self, features: Features) -> float:
        """Log-odds before calibration: `base` and all contributions of `explain`, to rounding."""
        ...

    def predict(self, features: Features) -> float:
        """P(no event in the next `horizon` ms), calibrated: strictly between 0 and 1."""
        ...

    def explain(self, features: Features) -> list[Term]:
        """Why the score differs from `base`: a term for each feature, in their order."""
        ...

    @classmethod
    def fit(cls, samples: Sequence[Sample], horizon: int) -> Self:
        """Learn from the matured samples of some snapshots, each of all users; the same samples give the same model.
        Needs scipy and scikit-learn; see `pipeline.risk.learn` for what counts how much.

        Raises:
            TooLittle: too few samples, or only silent or only active ones.
        """
        ...

    def calibrated(self, calibration: Calibration) -> Self:
        """This model with another calibration."""
        ...

    def to_json(self) -> bytes:
        """The model as a JSON object, which `pipeline.risk.from_json` reads; equal models give equal bytes."""
        ...


class TooLittle(ValueError):
    """A history that nothing can be learned from; the message says what is missing."""


def silence_start(activity: Activity) -> int:
    """The last activity in effective time, ms."""
    return activity.last - activity.dark * HOUR


def quiet_days(activity: Activity, at: int) -> float:
    """Days of silence as of `at` (ms, effective time); 0 before the last activity."""
    return max(0, at - activity.last + activity.dark * HOUR) / DAY
