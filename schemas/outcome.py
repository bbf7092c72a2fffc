"""The outcome: whether a user in either arm came back within the goal window. CloudEvents 1.0, topic `outcomes`."""

import msgspec

from schemas.trigger import Arm, CloudEvent

OUTCOME_TYPE = "rekindle.outcome.v1"


class OutcomeData(msgspec.Struct, kw_only=True, gc=False):
    """`latency` in ms from the deadline to the goal; `value` in minor units of `currency`; times RFC 3339."""

    trigger_id: str
    user: str
    rule_id: str
    rule_version: str
    arm: Arm
    recalled: bool
    returned_at: str | None
    goal_at: str | None
    latency: int | None
    value: int | None
    currency: str | None
    window_end: str


class Outcome(CloudEvent, kw_only=True, gc=False):
    """Written once per trigger and per holdout: at the goal, or when the window ends."""

    type: str = OUTCOME_TYPE
    dataschema: str = "rekindle/schemas/json/outcome.json"
    data: OutcomeData
