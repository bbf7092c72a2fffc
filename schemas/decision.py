"""The decision: every user whom a rule considered, the no's too. CloudEvents 1.0, topic `decisions`."""

from typing import Literal

from schemas.trigger import CloudEvent, RecallData

DECISION_TYPE = "rekindle.decision.v1"

Verdict = Literal["send", "holdout", "suppressed", "shadow", "returned", "stale", "episode_taken"]
Reason = Literal[
    "paused", "no_consent", "unsubscribed", "cooldown", "returned", "expired", "episode_taken", "shadow_mode"
]


class DecisionData(RecallData, kw_only=True, gc=False):
    """The trigger's fields and the verdict. `trigger_id` is the id that the trigger has or would have had."""

    trigger_id: str
    decision: Verdict
    reasons: list[Reason]
    next_eligible_at: str | None


class Decision(CloudEvent, kw_only=True, gc=False):
    """One user, one rule, one deadline."""

    type: str = DECISION_TYPE
    dataschema: str = "rekindle/schemas/json/decision.json"
    data: DecisionData
