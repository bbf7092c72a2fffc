"""What `pipeline.explain` says of a user: the outlook for each rule, the risk, what falls due next."""

from typing import Literal

import msgspec

from pipeline.segments import Change, Kind
from pipeline.sentences import Sentence
from schemas.decision import Verdict

Status = Literal["pending", "settled", "before_adoption", "no_deadline"]


class RuleOutlook(msgspec.Struct, kw_only=True):
    """One rule and one user. Times are RFC 3339.

    `deadline`: when the rule falls due in this silence; None: never. `status`: `pending`; `settled`: it was decided, or
    passed over; `before_adoption`: it lies before the policy was adopted, and is passed over. `now`: the gates as they
    are. `foretold`: the decision if silence goes on, and its gates `then`. `decided_from`: the hour of that decision,
    which may have waited, has closed, with the allowed lateness. `why_not`: what stands in the way, in words; empty if
    it will send.
    """

    rule: str
    mode: str
    status: Status
    deadline: str | None
    decided_from: str | None
    foretold: Verdict | None
    reasons: list[str]
    now: list[Sentence]
    then: list[Sentence]
    why_not: list[str]


class Risk(msgspec.Struct):
    """P(alive) by the policy's parameters; P(no activity in the `horizon` ms that follow) by the adopted churn model,
    else by the same parameters. `model`: its version; `why`: what its score is made of, in words, the strongest first.
    """

    p_alive: float
    p_none: float
    horizon: int
    model: str
    why: list[str] = []


class Outlook(msgspec.Struct, kw_only=True):
    """All of it, if silence goes on. `next`: what falls due next. `changes`: segments and tiers that will be entered or
    left, in their order. `fires_at`: the first trigger that would be sent.

    `source_held`: meanwhile silence does not count.
    """

    as_of: str
    clock: str | None
    lifecycle: str
    silent_days: float | None
    risk: Risk | None
    next: "Upcoming | None"
    changes: "list[GroupChange]"
    fires_at: str | None
    fires_rule: str | None
    source_held: bool
    rules: list[RuleOutlook]
    summary: str


class Upcoming(msgspec.Struct):
    """A deadline: `what` is `at_risk`, `dormant`, `rule <id>`, `goal window ends`, `expires` (of a visitor), or such as
    `enters segment <id>`, `leaves tier <id>`.
    """

    at: str
    what: str


class GroupChange(msgspec.Struct):
    """A segment or tier `name` that will be entered or left at `at` (RFC 3339)."""

    at: str
    change: Change
    kind: Kind
    name: str
