"""Whether an activity can bring a user into a segment, so that a rule by it is due right after they were here."""

from itertools import product
from typing import Final, NamedTuple

from pipeline.lifecycle import ACTIVE, NEW, RETURNED, STAGES
from pipeline.policy.compiled import Segment, Test

_AWAKE: Final = frozenset(STAGES[stage] for stage in (NEW, ACTIVE, RETURNED))
_COUNTS: Final = frozenset({"orders", "orders_90d", "orders_365d"})
_BOUGHT: Final = _COUNTS | {"spent", "value_90d", "value_365d"}
_WORTH: Final = frozenset({"value", "value_at_stake"})
_SINKING: Final = frozenset({"risk", "silence_days", "value_at_stake"})
"""What an activity makes smaller, at least if nothing is bought."""
_FIXED: Final = frozenset({"age_days", "first_channel"})
"""What the first activity says, and only time changes."""


class _Activity(NamedTuple):
    """Of a user: the first one or a later one, an order or none."""

    first: bool
    order: bool


def by_activity(segment: Segment, tiers: tuple[Segment, ...]) -> bool:
    """Whether one can: a test becomes true by it, and each of them may be true right after it."""
    for activity in map(_Activity._make, product((True, False), repeat=2)):
        if all(_may_hold(test, activity, tiers) for test in segment.where) and (
            activity.first or any(_becomes(test, activity, tiers) for test in segment.where)
        ):
            return True
    return False


def _may_hold(test: Test, activity: _Activity, tiers: tuple[Segment, ...]) -> bool:
    """Right after the activity, with a silence of nothing."""
    name, least = test.feature.name, _least(test)
    if name == "tier":
        named = [tier for tier in tiers if tier.id in test.among]
        return any(all(_may_hold(each, activity, ()) for each in tier.where) for tier in named)
    if name == "lifecycle":
        return bool(_AWAKE.intersection(test.among)) and (not activity.first or STAGES[NEW] in test.among)
    if name == "silence_days" or (name == "age_days" and activity.first):
        return not least
    if name == "active_days" and activity.first:
        return least <= 1
    if name in _COUNTS and activity.order:
        return (not activity.first or least <= 1) and (test.below is None or test.below > 1)
    if name in _BOUGHT | _WORTH and activity.first and not activity.order:
        return not least
    return True


def _becomes(test: Test, activity: _Activity, tiers: tuple[Segment, ...]) -> bool:
    """Whether a later activity can make a test true that was not."""
    name, rising = test.feature.name, bool(_least(test))
    if name in _FIXED or test.among == (False,):
        return False
    if name == "tier":
        better = tiers[: max(number for number, tier in enumerate(tiers) if tier.id in test.among) + 1]
        return any(_becomes(each, activity, ()) for tier in better for each in tier.where)
    if name in _BOUGHT:
        return rising and activity.order
    falling = test.below is not None
    if name in _SINKING and not (name == "value_at_stake" and activity.order):
        return falling
    return rising or (falling and name in _SINKING) or bool(test.among)


def _least(test: Test) -> float:
    """What a value has to reach; 0: nothing."""
    return 1.0 if test.top is not None else test.at_least or 0.0
