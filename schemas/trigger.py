"""The recall trigger: CloudEvents 1.0 (https://cloudevents.io), topic `triggers`, only what is to be sent now."""

from typing import Literal

import msgspec

SOURCE = "rekindle"
SPEC_VERSION = "1.0"
TRIGGER_TYPE = "rekindle.trigger.v1"

Arm = Literal["treatment", "holdout"]


class CloudEvent(msgspec.Struct, kw_only=True, gc=False):
    """The envelope; `time` is when the fact holds (the deadline, the goal), never when it was written."""

    id: str
    source: str = SOURCE
    specversion: str = SPEC_VERSION
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    dataschema: str
    partitionkey: str


class Gate(msgspec.Struct, gc=False):
    """One gate that was tested: `value` met `threshold` or not. `contribution` is for additive scores."""

    feature: str
    value: float | int | str | None
    threshold: float | int | str | None
    passed: bool
    contribution: float | None = None


class Episode(msgspec.Struct, gc=False):
    """The silence, or the stay in a segment: since when, and when the rule's deadline was crossed. RFC 3339."""

    start: str
    entered_at: str


class Experiment(msgspec.Struct, gc=False):
    """How the arm was drawn: a sticky hash of salt, user and rule against the holdout share; `share` includes the one
    over all rules.
    """

    salt: str
    share: float
    arm: Arm


class Risk(msgspec.Struct, gc=False):
    """P(no event within `horizon` ms) at the deadline, by which model."""

    p: float
    horizon: int
    model_version: str


class Evidence(msgspec.Struct, gc=False):
    """The last message before the silence."""

    last_message_id: str
    last_seen: str


class Goal(msgspec.Struct, gc=False):
    """What counts as recalled (None: any activity), and until when. RFC 3339."""

    event: str | None
    window_end: str


class Content(msgspec.Struct, gc=False):
    """What to show: a new feature, or items by their id."""

    feature_id: str | None = None
    items: list[str] = []


class Perk(msgspec.Struct, gc=False):
    """What is offered, and how much of its budget is reserved for it, in minor units of the reporting currency."""

    id: str
    reserved: int


class RecallData(msgspec.Struct, gc=False):
    """What was considered about one user under one rule; triggers and decisions share it. `step` counts the messages
    of a contact from 0.
    """

    rule_id: str
    rule_version: str
    step: int
    priority: int
    channel: str
    template_id: str
    expires_at: str
    episode: Episode
    lifecycle: str
    locale: str | None
    timezone: str | None
    experiment: Experiment | None
    risk: Risk | None
    explain: list[Gate]
    evidence: Evidence
    goal: Goal
    tier: str | None = None
    content: Content | None = None
    perk: Perk | None = None


class Trigger(CloudEvent, kw_only=True, gc=False):
    """Send this now. Dedupe by `id`; drop after `data.expires_at`."""

    type: str = TRIGGER_TYPE
    dataschema: str = "rekindle/schemas/json/trigger.json"
    data: RecallData
