"""What a feature is: a named property of a user as of a moment, which says by itself when silence will change it."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, Protocol

from pipeline.deadlines import NEVER as NEVER_HOUR
from pipeline.lifecycle import Lifecycle
from pipeline.money import Currency
from pipeline.risk import FAR, ChurnModel, RiskModel
from pipeline.state import UserState
from pipeline.units import DAY, HOUR
from pipeline.value import ValueModel

NEVER: Final = NEVER_HOUR * HOUR
"""ms; later than every deadline."""

Value = int | float | str | bool | None
Unit = Literal["count", "days", "share", "money", "text", "flag"]
Pace = Literal["event", "silence", "age", "window", "score"]
Options = Literal["stages", "tiers", "channels"]

ORDER, TOUCH, DAY_OF_ACTIVITY, STAGE, KEY_MOMENT = 1, 2, 4, 8, 16
TRAITS, SILENCE, ACTIVITY, TIER, NEWS = 32, 64, 128, 256, 512
ANYTHING: Final = -1
"""What an activity brings, as bits: an order, a touch, a newly counted day, another stage, the key moment, traits, the
end of a silence that was long enough to matter, itself, another tier; what nobody looked at yet moves everything."""


class Terms(Protocol):
    """What features go by of a policy, which itself is stated over features."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Its spans."""
        ...

    @property
    def risk(self) -> RiskModel:
        """Of P(alive)."""
        ...

    @property
    def value(self) -> ValueModel:
        """What an order is worth, and to which horizon."""
        ...

    @property
    def currency(self) -> Currency:
        """In which that is told."""
        ...


class Scene(Protocol):
    """What is known beside the row. `dark`: the partition's dark hours; `quantiles`: feature -> share of the top ->
    threshold, as published.
    """

    @property
    def policy(self) -> Terms:
        """The adopted one."""
        ...

    @property
    def dark(self) -> int:
        """Hours."""
        ...

    @property
    def model(self) -> ChurnModel | None:
        """The adopted churn model."""
        ...

    @property
    def quantiles(self) -> Mapping[str, Mapping[float, float]]:
        """Published thresholds."""
        ...


class Feature(NamedTuple):
    """A feature of a user with at least one active day. Moments are ms of effective time.

    `value(state, at, scene)`: as of `at`, not before the last evaluation; None if nothing is known, and then no
    comparison holds. Days are int ms, money is int minor units of the reporting currency.

    `next_change(state, at, scene, threshold)`: the first moment after `at` at which `value >= threshold` (of text:
    the value) is another than at `at`, if nothing happens meanwhile; `NEVER` if it stays. Between two calls nothing
    else changes it: a value that creeps is looked at by the whole hours of silence.

    `moved_by`: what an activity must bring to change it. `pace` is what a cheap lower bound of the next change after an
    activity goes by: `event`: what happens, or the lifecycle's own deadlines; `silence`: the threshold is itself a
    silence; `age`: one since the first activity; `window`: the days of orders; `score`: anything, an hour later.
    `options`: what a text is one of.
    """

    name: str
    unit: Unit
    pace: Pace
    moved_by: int
    value: Callable[[UserState, int, Scene], Value]
    next_change: Callable[[UserState, int, Scene, float], int]
    options: Options | None = None


def by_events_only(state: UserState, at: int, scene: Scene, threshold: float) -> int:  # noqa: ARG001 the protocol's
    """The `next_change` of what silence leaves alone."""
    return NEVER


def silence_start(state: UserState) -> int:
    """The last activity, effective ms."""
    return state.activity.last - state.activity.dark * HOUR


def whole_hours(state: UserState, at: int) -> int:
    """The last whole hour of silence up to `at`, effective ms; not before the last activity."""
    start = silence_start(state)
    return start + max(0, at - start) // HOUR * HOUR


_GROWTH: Final = 1.3


def first_flip(reached: Callable[[int], bool], start: int, at: int) -> int:
    """The first whole hour after `start`, and after `at`, at which `reached` is another than at `at`; `NEVER` if it
    stays for `FAR`. As `pipeline.risk.crossing`: a grid from `start` on, each step 1.3 times as far out, finds where,
    bisection finds the hour; what comes and goes between two grid points is passed over.
    """
    now = reached(at)
    low, step, high = max(0, at - start) // HOUR, 1, 0
    while high <= low or reached(start + high * HOUR) == now:
        low = max(low, high)
        if low * HOUR >= FAR:
            return NEVER
        high, step = step, max(step + 1, int(step * _GROWTH))
    while high - low > 1:
        middle = (low + high) // 2
        if reached(start + middle * HOUR) == now:
            low = middle
        else:
            high = middle
    return start + high * HOUR


def midnight_after(day: int, days: int, scene: Scene) -> int:
    """When `day` is `days` days ago: the beginning of that UTC day, effective ms."""
    return (day + days) * DAY - scene.dark * HOUR
