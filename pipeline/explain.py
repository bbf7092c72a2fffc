"""Why a user is recalled, or not: every gate of every rule in words, as of now and as of the rule's deadline.

What will be is not guessed: a copy of the row is stepped through the deadlines to come, by the same `step` as a
worker's, as if silence went on and the source spoke. So what is foretold is what the decision will say, to the letter.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from pipeline.context import Context, Due, Transition
from pipeline.deadlines import NEVER
from pipeline.gates import judge, p_alive
from pipeline.guard import Guard
from pipeline.lifecycle import STAGES
from pipeline.policy import Policy, Rule
from pipeline.position import Position
from pipeline.recall import rule_deadlines, spread_out, waiting
from pipeline.risk.model import silence_start
from pipeline.state import UserState, decode_row, encode_row
from pipeline.units import DAY, HOUR
from pipeline.user import Deadline, next_wake, step
from schemas.codec import rfc3339
from schemas.decision import Decision, Verdict
from schemas.trigger import Gate

Status = Literal["pending", "settled", "before_adoption", "no_deadline"]
_FORESEEN: Final = 64
"""Wake-ups that are looked at: two for the lifecycle, one for each rule and its goal window."""
_MODEL: Final = "mbg"


class Sentence(msgspec.Struct):
    """A gate, and what it means in words."""

    feature: str
    value: float | int | str | None
    threshold: float | int | str | None
    passed: bool
    words: str


class RuleOutlook(msgspec.Struct, kw_only=True):
    """One rule and one user. Times are RFC 3339.

    `deadline`: when the rule falls due in this silence; None: never. `status`: `pending`; `settled`: it was decided, or
    passed over; `before_adoption`: it lies before the policy was adopted, and is passed over. `now`: the gates as they
    are. `foretold`: the decision at the deadline if silence goes on, and its gates `then`. `decided_from`: its hour has
    closed, with the allowed lateness. `why_not`: what stands in the way, in words; empty if it will send.
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
    """P(alive), and P(no activity in the `horizon` ms that follow), by which model."""

    p_alive: float
    p_none: float
    horizon: int
    model: str


class Outlook(msgspec.Struct, kw_only=True):
    """All of it. `next`: what falls due next, if silence goes on. `fires_at`: the first trigger that would be sent.

    `source_held`: meanwhile silence does not count.
    """

    as_of: str
    clock: str | None
    lifecycle: str
    silent_days: float | None
    risk: Risk | None
    next: "Upcoming | None"
    fires_at: str | None
    fires_rule: str | None
    source_held: bool
    rules: list[RuleOutlook]
    summary: str


class Upcoming(msgspec.Struct):
    """A deadline: `what` is `at_risk`, `dormant`, `rule <id>`, `goal window ends` or `expires` (of a visitor)."""

    at: str
    what: str


def context_of(position: Position, guard: Guard, policy: Policy, tenant: str) -> Context:
    """What a partition knows at its committed position: what `Partition.restore` makes of the same rows."""
    return Context(
        policy=policy,
        tenant=tenant,
        epoch=position.epoch,
        adopted=position.adopted,
        dark=guard.dark,
        clock=0 if position.horizon is None else position.horizon - policy.lateness,
        next_hour=position.judged + 1 if position.judged else position.next_hour,
        paused=frozenset(position.paused),
    )


def foresee(user: str, state: UserState, context: Context) -> Iterator[Decision]:
    """The decisions to come, in their order, if silence goes on, the source speaks and nothing is published."""
    copy, context = decode_row(encode_row(state)), msgspec.structs.replace(context)
    for _ in range(_FORESEEN):
        hour = next_wake(user, copy, context)
        if hour >= NEVER:
            return
        context.next_hour = hour + 1
        context.clock = max(context.clock, (hour + 1) * HOUR)
        transition = step(copy, Deadline(user, (hour + 1) * HOUR), context)
        yield from (message for message in transition.outputs if isinstance(message, Decision))
        if transition.state is None:
            return
        copy = transition.state


def explain(user: str, state: UserState, context: Context, as_of: int | None = None, *, held: bool = False) -> Outlook:
    """Everything about a user's recall. Pure; `state` is not changed.

    Args:
        user: the user's id.
        state: the row.
        context: of `context_of`.
        as_of: ms; the moment of `now` and of the risk. The partition's clock when None.
        held: an operator holds the source: no deadline is decided until `release`.
    """
    moment = context.clock if as_of is None else as_of
    foretold: dict[str, Decision] = {}
    if state.known and state.activity.days:
        for decision in foresee(user, state, context):
            foretold.setdefault(decision.data.rule_id, decision)
    due = {found.rule.id: found for found in _deadlines(user, state, context)}
    applying = context.policy.rules if state.known and state.activity.days else ()
    rules = [
        _rule(_gates_now(user, state, context, moment, rule), context, rule, due.get(rule.id), foretold.get(rule.id))
        for rule in applying
    ]
    sends = [d for d in foretold.values() if d.data.decision == "send"]
    first = min(sends, key=lambda d: d.time, default=None)
    silent = (moment - context.dark * HOUR - silence_start(state.activity)) / DAY if state.activity.days else None
    outlook = Outlook(
        as_of=rfc3339(moment),
        clock=rfc3339(context.clock) if context.clock else None,
        lifecycle=STAGES[state.stage],
        silent_days=None if silent is None else round(silent, 3),
        risk=_risk(state, context, moment),
        next=_next(user, state, context),
        fires_at=first.time if first else None,
        fires_rule=first.data.rule_id if first else None,
        source_held=held,
        rules=rules,
        summary="",
    )
    outlook.summary = _summary(state, context, outlook)
    return outlook


def sentence(gate: Gate) -> Sentence:
    """A gate of a trigger or a decision in words."""
    return Sentence(gate.feature, gate.value, gate.threshold, gate.passed, _words(gate))


def _deadlines(user: str, state: UserState, context: Context) -> list[Due]:
    if not state.activity.days:
        return []
    waits = waiting(state, context)
    later = {due.rule.id for due in waits}
    own = [spread_out(user, due, context) for due in rule_deadlines(state, context)]
    return [*waits, *(due for due in own if due.rule.id not in later)]


def _rule(gates: list[Gate], context: Context, rule: Rule, due: Due | None, foretold: Decision | None) -> RuleOutlook:
    now = [sentence(gate) for gate in gates]
    then = [] if foretold is None else [sentence(gate) for gate in foretold.data.explain]
    deadline = None if due is None else due.at + context.dark * HOUR
    status: Status = "pending"
    why = [] if foretold is None else [s.words for s in then if not s.passed]
    if due is None:
        status, why = "no_deadline", [s.words for s in now if s.feature == "active_days" and not s.passed]
    elif due.at < context.adopted:
        status = "before_adoption"
        why = ["its deadline lies before the policy was adopted: switching on sends nothing for the past"]
    elif foretold is None:
        status, why = "settled", ["its deadline of this silence is over: it was decided, or passed over"]
    elif foretold.data.decision == "holdout":
        why = ["the user is in the rule's holdout: measured, not sent to"]
    return RuleOutlook(
        rule=rule.id,
        mode=rule.mode,
        status=status,
        deadline=None if deadline is None else rfc3339(deadline),
        decided_from=None
        if deadline is None or foretold is None
        else rfc3339((deadline // HOUR + 1) * HOUR + context.policy.lateness),
        foretold=None if foretold is None else foretold.data.decision,
        reasons=[] if foretold is None else list(foretold.data.reasons),
        now=now,
        then=then,
        why_not=why,
    )


def _gates_now(user: str, state: UserState, context: Context, moment: int, rule: Rule) -> list[Gate]:
    """The gates as if the rule were due at `moment`; what makes it due is then tested, too."""
    effects = Transition(None)
    at = moment - context.dark * HOUR
    current = msgspec.structs.replace(context, clock=min(context.clock, moment))
    copy, due = decode_row(encode_row(state)), Due(at, 0, rule, state.activity.last)
    found = judge(user, copy, due, current, effects, revealed_by="clock").explain
    for gate in found:
        if gate.feature == "p_alive":
            gate.passed = p_alive(state, at, context.policy) < float(gate.threshold or 0)
        elif gate.feature in {"silence_days", "active_days"}:
            gate.passed = float(gate.value or 0) >= float(gate.threshold or 0)
    return [gate for gate in found if gate.feature not in {"still_silent", "in_time"}]


def _risk(state: UserState, context: Context, moment: int) -> Risk | None:
    activity = state.activity
    if not (state.known and activity.days):
        return None
    at, horizon = moment - context.dark * HOUR, 30 * DAY
    lived = activity.last - activity.first
    age = max(lived, lived + at - silence_start(state.activity))
    none = context.policy.risk.p_none(activity.days - 1, lived, age, horizon)
    return Risk(round(p_alive(state, at, context.policy), 4), round(none, 4), horizon, _MODEL)


def _next(user: str, state: UserState, context: Context) -> Upcoming | None:
    """What falls due next, by its own time; what was put off since its hour was dark is due at once."""
    shift = context.dark * HOUR
    start = silence_start(state.activity) + shift
    found: list[tuple[int, str]] = []
    if state.recall is not None and state.recall.window_end:
        found.append((state.recall.window_end, "goal window ends"))
    if state.activity.days and not state.known:
        found.append((start + 30 * DAY, "expires"))
    elif state.activity.days:
        stages = context.policy.lifecycle
        if STAGES[state.stage] in {"new", "active", "returned"}:
            found.append((start + stages.at_risk, "at_risk"))
        if STAGES[state.stage] != "dormant":
            found.append((start + stages.dormant, "dormant"))
        floor = max(state.decided, context.adopted)
        found += [(d.at + shift, f"rule {d.rule.id}") for d in _deadlines(user, state, context) if d.at >= floor]
    if not found:
        return None
    at, what = min(found)
    return Upcoming(rfc3339(at), what)


def _words(gate: Gate) -> str:
    value, threshold = _short(gate.value), _short(gate.threshold)
    said = {
        "silence_days": (f"silent for {value} days, the rule asks for {threshold}", "only "),
        "p_alive": (f"P(alive) is {value}, the rule asks for less than {threshold}", ""),
        "active_days": (f"{value} active days, the rule asks for {threshold}", "only "),
        "days_since_contact": (
            f"{value} days since the last contact, the next may come after {threshold}",
            "only ",
        ),
    }
    if gate.feature in said:
        words, only = said[gate.feature]
        return words if gate.passed else only + words
    if gate.feature.startswith("consent_"):
        channel = gate.feature.removeprefix("consent_")
        return f"consent to {channel} is not withdrawn" if gate.passed else f"consent to {channel} was withdrawn"
    yes, no = _YES_NO.get(gate.feature, (f"{gate.feature}: yes", f"{gate.feature}: no"))
    return yes if gate.passed else no


_YES_NO: Final = {
    "still_silent": ("still silent at the deadline", "came back before it was decided"),
    "in_time": ("decided in time", "it could not be sent before it expired"),
    "episode_free": ("no other rule has this silence", "another rule has this silence: one trigger per episode"),
    "not_paused": ("sending is not paused", "sending is paused (rekindle resume)"),
    "subscribed": ("subscribed", "unsubscribed"),
    "live": ("the rule is live", "the rule is in shadow: decisions are written, nothing is sent"),
}


def _short(value: float | str | None) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float | int) else str(value)


def _summary(state: UserState, context: Context, outlook: Outlook) -> str:
    if not state.activity.days:
        return "never active yet: no rule applies"
    if not state.known:
        return "an anonymous visitor: rules apply to users with a userId only"
    if not context.policy.rules:
        return "no policy with rules was adopted: nothing is decided"
    if outlook.source_held:
        return "the source is held: silence does not count until it is released"
    if outlook.fires_at is not None:
        return f"if silence goes on, {outlook.fires_rule} sends for the deadline {outlook.fires_at}"
    pending = [rule for rule in outlook.rules if rule.foretold is not None]
    if pending:
        first = min(pending, key=lambda rule: rule.deadline or "")
        return f"if silence goes on, {first.rule} decides {first.foretold}: {'; '.join(first.why_not)}"
    return "nothing more falls due in this silence"
