"""The decision: every user whom a rule considered, the no's too. CloudEvents 1.0, topic `decisions`."""

from typing import Literal

from schemas.trigger import CloudEvent, RecallData

DECISION_TYPE = "rekindle.decision.v1"

Verdict = Literal["send", "holdout", "suppressed", "shadow", "returned", "stale", "episode_taken"]
Reason = Literal[
    "returned",
    "expired",
    "episode_taken",
    "activated",
    "not_in_segment",
    "paused",
    "unsubscribed",
    "no_consent",
    "unreachable",
    "cooldown",
    "cap_day",
    "cap_week",
    "channel_cap_day",
    "channel_cap_week",
    "quiet_hours",
    "budget_spent",
    "shadow_mode",
    "ceiling",
    "global_holdout",
]
"""Stable codes, in the order of the gates."""


class DecisionData(RecallData, kw_only=True, gc=False):
    """The trigger's fields and the verdict. `trigger_id` is the id that the trigger has or would have had;
    `next_eligible_at`: when what stands in the way by time alone is over.
    """

    trigger_id: str
    decision: Verdict
    reasons: list[Reason]
    next_eligible_at: str | None


class Decision(CloudEvent, kw_only=True, gc=False):
    """One user, one rule, one deadline."""

    type: str = DECISION_TYPE
    dataschema: str = "rekindle/schemas/json/decision.json"
    data: DecisionData
