"""The lifecycle of a user: new -> active -> at_risk -> dormant -> returned -> active.

Events move a user up, silence moves them down at a deadline. `unseen` is a row without activity (consent that came
first).
"""

from typing import Final

import msgspec

from pipeline.units import DAY

UNSEEN, NEW, ACTIVE, AT_RISK, DORMANT, RETURNED = range(6)
STAGES: Final = ("unseen", "new", "active", "at_risk", "dormant", "returned")


class Lifecycle(msgspec.Struct, frozen=True):
    """How long a user is new or returned, and after what silence they are at risk or dormant; ms."""

    new_for: int = 7 * DAY
    at_risk: int = 14 * DAY
    dormant: int = 30 * DAY
    returned_for: int = 7 * DAY


def after_event(stage: int, since: int, first: int, time: int, policy: Lifecycle) -> int:
    """The stage after activity at `time`, given the stage before it, since when it holds, and the first activity (all
    ms).
    """
    if stage == UNSEEN:
        return NEW
    if stage == DORMANT:
        return RETURNED
    if stage == RETURNED and time - since < policy.returned_for:
        return RETURNED
    return NEW if stage == NEW and time - first < policy.new_for else ACTIVE
