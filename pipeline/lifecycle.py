"""The lifecycle of a user: new -> active -> at_risk -> dormant -> returned -> active.

Events move a user up, silence moves them down at a deadline. `unseen` is a row without activity (consent that came
first).
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.policy import Lifecycle

UNSEEN, NEW, ACTIVE, AT_RISK, DORMANT, RETURNED = range(6)
STAGES: Final = ("unseen", "new", "active", "at_risk", "dormant", "returned")


def after_event(stage: int, since: int, first: int, time: int, policy: "Lifecycle") -> int:
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
