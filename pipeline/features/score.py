"""What models say: P(no event within the horizon) and P(alive)."""

from typing import Final

from pipeline.features.base import ACTIVITY, NEVER, Feature, Scene, first_flip, silence_start, whole_hours
from pipeline.risk import FAR
from pipeline.state import UserState
from pipeline.units import DAY, HOUR

HORIZON: Final = 30 * DAY
"""Of the risk, where no churn model is adopted."""


def risk(state: UserState, at: int, scene: Scene) -> float:
    """P(no event within the adopted model's horizon, else within 30 days by the policy's parameters)."""
    activity, at = state.activity, whole_hours(state, at)
    model = scene.model
    if model is not None:
        return model.predict(model.features(activity, at))
    lived = activity.last - activity.first
    return scene.policy.risk.p_none(activity.days - 1, lived, lived + at - silence_start(state), HORIZON)


def _risk_flips(state: UserState, at: int, scene: Scene, threshold: float) -> int:
    rises = scene.model is None or scene.model.rises
    if rises and risk(state, at, scene) >= threshold:
        return NEVER
    return first_flip(lambda moment: risk(state, moment, scene) >= threshold, silence_start(state), at)


def p_alive(state: UserState, at: int, scene: Scene) -> float:
    """P(the user is still a customer) by the policy's parameters."""
    activity = state.activity
    lived = activity.last - activity.first
    age = lived + whole_hours(state, at) - silence_start(state)
    return scene.policy.risk.p_alive(activity.days - 1, lived, age)


def _alive_falls(state: UserState, at: int, scene: Scene, threshold: float) -> int:
    activity = state.activity
    if p_alive(state, at, scene) < threshold:
        return NEVER
    lived = activity.last - activity.first
    age = scene.policy.risk.crossing(activity.days - 1, lived, threshold)
    if age >= FAR:
        return NEVER
    start = silence_start(state)
    hour = max((at - start) // HOUR, (age - lived) // HOUR - 1) + 1  # the closed form may be off by a rounding
    while p_alive(state, start + hour * HOUR, scene) >= threshold:
        hour += 1
    return start + hour * HOUR


RISK: Final = Feature("risk", "share", "score", ACTIVITY, risk, _risk_flips)
P_ALIVE: Final = Feature("p_alive", "share", "score", ACTIVITY, p_alive, _alive_falls)
