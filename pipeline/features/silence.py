"""How long a user has been silent or known, and on how many days active."""

from typing import Final

from pipeline.features.base import DAY_OF_ACTIVITY, NEVER, SILENCE, Feature, Scene, by_events_only, silence_start
from pipeline.state import UserState
from pipeline.units import HOUR


def _silence(state: UserState, at: int, scene: Scene) -> int:  # noqa: ARG001
    return max(0, at - silence_start(state))


def _silence_reaches(state: UserState, at: int, scene: Scene, threshold: float) -> int:  # noqa: ARG001
    when = silence_start(state) + int(threshold)
    return when if when > at else NEVER


def _first(state: UserState) -> int:
    return state.activity.first - state.activity.dark_first * HOUR


def _age(state: UserState, at: int, scene: Scene) -> int:  # noqa: ARG001
    return max(0, at - _first(state))


def _age_reaches(state: UserState, at: int, scene: Scene, threshold: float) -> int:  # noqa: ARG001
    when = _first(state) + int(threshold)
    return when if when > at else NEVER


SILENCE_DAYS: Final = Feature("silence_days", "days", "silence", SILENCE, _silence, _silence_reaches)
AGE_DAYS: Final = Feature("age_days", "days", "age", 0, _age, _age_reaches)
ACTIVE_DAYS: Final = Feature(
    "active_days", "count", "event", DAY_OF_ACTIVITY, lambda s, _at, _scene: s.activity.days, by_events_only
)
