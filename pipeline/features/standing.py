"""Where a user stands: lifecycle, tier, the key moment."""

from typing import Final

from pipeline.features import base as brings
from pipeline.features.base import NEVER, Feature, Scene, by_events_only, silence_start
from pipeline.lifecycle import ACTIVE, AT_RISK, DORMANT, NEW, RETURNED, STAGES, UNSEEN
from pipeline.state import UserState

_AWAKE: Final = frozenset((NEW, ACTIVE, RETURNED))


def _lifecycle(state: UserState, at: int, scene: Scene) -> str:
    stages, quiet, stage = scene.policy.lifecycle, at - silence_start(state), state.stage
    if stage != UNSEEN and quiet >= stages.dormant:
        return STAGES[DORMANT]
    return STAGES[AT_RISK if stage in _AWAKE and quiet >= stages.at_risk else stage]


def _stage_falls(state: UserState, at: int, scene: Scene, threshold: float) -> int:  # noqa: ARG001
    stages, start = scene.policy.lifecycle, silence_start(state)
    if state.stage in _AWAKE and start + stages.at_risk > at:
        return start + stages.at_risk
    if state.stage not in {UNSEEN, DORMANT} and start + stages.dormant > at:
        return start + stages.dormant
    return NEVER


def _tier(state: UserState, at: int, scene: Scene) -> str:  # noqa: ARG001
    return "" if state.groups is None else state.groups.tier


LIFECYCLE: Final = Feature("lifecycle", "text", "event", brings.STAGE, _lifecycle, _stage_falls, "stages")
TIER: Final = Feature("tier", "text", "event", brings.TIER, _tier, by_events_only, "tiers")
ACTIVATED: Final = Feature(
    "activated", "flag", "event", brings.KEY_MOMENT, lambda s, _at, _scene: s.activity.activated, by_events_only
)
