"""What the API answers; OpenAPI is made from it. Times are RFC 3339 in UTC, amounts minor units, shares 0..1."""

from typing import Any

from pydantic import BaseModel, Field


class Health(BaseModel):
    """Whether it works, and why not."""

    status: str = Field(examples=["ok"])
    why: str | None = None
    fresh: str | None = Field(None, description="when the views last showed all there was")


class Problem(BaseModel):
    """What is wrong."""

    detail: str


class Gate(BaseModel):
    """A gate and its verdict in words."""

    feature: str
    value: float | int | str | None
    threshold: float | int | str | None
    passed: bool
    words: str


class RuleOutlook(BaseModel):
    """One rule and this user: when it falls due, what it would decide, and what stands in the way."""

    rule: str
    mode: str
    status: str = Field(description="pending, settled, before_adoption or no_deadline")
    deadline: str | None
    decided_from: str | None = Field(description="the deadline's hour has closed, with the allowed lateness")
    foretold: str | None = Field(description="the decision at the deadline, if silence goes on")
    reasons: list[str]
    now: list[Gate]
    then: list[Gate]
    why_not: list[str]


class Risk(BaseModel):
    """P(alive) as of `as_of`, and P(no activity in the `horizon` ms after it)."""

    p_alive: float
    p_none: float = Field(description="by the adopted churn model, else by the policy's parameters")
    horizon: int
    model: str = Field(description="version of the churn model; mbg: none is adopted")
    why: list[str] = Field(description="what the model's score is made of, the strongest first")


class Upcoming(BaseModel):
    """What falls due next."""

    at: str
    what: str


class GroupChange(BaseModel):
    """A segment or tier that will be entered or left."""

    at: str
    change: str = Field(description="enter or leave")
    kind: str = Field(description="segment or tier")
    name: str


class Why(BaseModel):
    """Why this user is recalled or not."""

    as_of: str
    clock: str | None = Field(description="of the user's partition, event time")
    lifecycle: str
    silent_days: float | None
    risk: Risk | None
    next: Upcoming | None
    changes: list[GroupChange] = Field(description="segments and tiers to be entered or left, if silence goes on")
    fires_at: str | None = Field(description="deadline of the next trigger, if silence goes on")
    fires_rule: str | None
    source_held: bool
    rules: list[RuleOutlook]
    summary: str


class Episode(BaseModel):
    """The silence that a rule owns."""

    start: str
    rule_id: str | None
    trigger_id: str | None
    arm: str | None


class User(BaseModel):
    """A user: the row, the episode, the outlook, and the last decisions."""

    user: str
    as_of: str
    state: dict[str, Any] = Field(description="activity, journey, recall and profile, as `rekindle dump` names them")
    risk: Risk | None
    next_deadline: Upcoming | None
    episode: Episode | None
    why: Why
    decisions: list[dict[str, Any]] = Field(description="newest first: schemas/json/decision.json")


class Erased(BaseModel):
    """How far an erasure has come: its certificate, as `rekindle certificate` says it."""

    state: str = Field(description="sent: not applied yet; applied; complete: no topic holds anything of before")
    mark: str | None = Field(None, description="what stands for the user from now on; it names nobody")
    erased_until: str | None = None
    applied_at: str | None = None
    partition: int | None = None
    offset: int | None = None
    refused: int = Field(0, description="records of before that came since")
    last_record_at: str | None = None
    complete_from: str | None = None
    remains: list[str] = []


class Trigger(BaseModel):
    """A decision that can be asked for by its trigger's id, with its gates in words."""

    decision: dict[str, Any] = Field(description="schemas/json/decision.json")
    gates: list[Gate]
    summary: str


class Page(BaseModel):
    """A page, and the cursor of the next one."""

    items: list[dict[str, Any]]
    next: str | None = Field(None, description="cursor of the next page; null: this is the last")


class ReportName(BaseModel):
    """A report that can be asked for."""

    name: str
    says: str


class Amounts(BaseModel):
    """Which columns are money: integers, of which 10^`exponent` make one of the currency."""

    unit: str = Field(examples=["minor units of EUR"])
    currency: str
    exponent: int
    columns: list[str]


class Report(BaseModel):
    """A report's table."""

    name: str
    columns: list[str]
    rows: list[list[str | int | float | None]]
    amounts: Amounts | None = Field(description="null: no column is money")
