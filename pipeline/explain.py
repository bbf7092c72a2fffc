"""Why a user is recalled, or not: every gate of every rule in words, as of now and as of the rule's deadline.

What will be is not guessed: a copy of the row is stepped through the deadlines to come, by the same `step` as a
worker's, as if silence went on and the source spoke. So what is foretold is what the decision will say, to the letter.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Final

import msgspec

from pipeline.case import case_of
from pipeline.context import Context, Due, Transition
from pipeline.deadlines import NEVER
from pipeline.gates import judge, p_alive
from pipeline.guard import Guard
from pipeline.happening import Deadline
from pipeline.lifecycle import STAGES
from pipeline.outlook import GroupChange, Outlook, Risk, RuleOutlook, Status, Upcoming
from pipeline.policy import Policy, RiskAbove, Rule
from pipeline.position import Position
from pipeline.recall import risk_of, rule_deadlines, spread_out, waiting
from pipeline.risk import ChurnModel
from pipeline.risk.model import silence_start
from pipeline.risk.words import reasons
from pipeline.sentences import Sentence, sentence
from pipeline.silence import earliest_wake, next_wake
from pipeline.state import UserState, decode_row, encode_row
from pipeline.units import DAY, HOUR
from pipeline.user import step
from pipeline.wording import OUTLOOKS, REASONS, VERDICTS, Language, stated, words
from schemas.codec import rfc3339
from schemas.decision import Decision
from schemas.segment import SegmentChange
from schemas.trigger import Gate

_FORESEEN: Final = 256
"""Wake-ups that are looked at: two for the lifecycle, one for each rule and its goal window, a few for each group."""


def context_of(
    position: Position,
    guard: Guard,
    policy: Policy,
    tenant: str,
    model: ChurnModel | None = None,
    *,
    quantiles: Mapping[str, Mapping[float, float]] | None = None,
) -> Context:
    """What a partition knows at its committed position, but for budgets and ceilings: what `Partition.restore` makes
    of the same rows. `model` and `quantiles`: the adopted ones.
    """
    return Context(
        policy=policy,
        tenant=tenant,
        epoch=position.epoch,
        adopted=position.adopted,
        dark=guard.dark,
        clock=0 if position.horizon is None else position.horizon - policy.lateness,
        next_hour=position.judged + 1 if position.judged else position.next_hour,
        paused=frozenset(position.paused),
        since={rule: at for rule, (_, at) in position.since.items()},
        model=model,
        model_version=position.model[:12],
        modelled=position.modelled,
        quantiles=quantiles or {},
        measured=position.measured,
    )


def foresee(user: str, state: UserState, context: Context) -> Iterator[Decision | SegmentChange]:
    """The decisions, and the changes of segments and tiers, to come, in their order, if silence goes on, the source
    speaks and nothing is published.
    """
    copy, context = decode_row(encode_row(state)), msgspec.structs.replace(context)
    for _ in range(_FORESEEN):
        hour = next_wake(user, copy, context)
        if copy.epoch != context.epoch:  # nobody has looked since an adoption: as a worker, at the first bound
            hour = min(hour, max(earliest_wake(copy, context), context.next_hour))
        if hour >= NEVER:
            return
        context.next_hour = hour + 1
        context.clock = max(context.clock, (hour + 1) * HOUR)
        transition = step(copy, Deadline(user, (hour + 1) * HOUR), context)
        yield from (message for message in transition.outputs if isinstance(message, Decision | SegmentChange))
        if transition.state is None:
            return
        copy = transition.state


def explain(
    user: str,
    state: UserState,
    context: Context,
    as_of: int | None = None,
    *,
    held: bool = False,
    language: Language = "en",
) -> Outlook:
    """Everything about a user's recall. Pure; `state` is not changed.

    Args:
        user: the user's id.
        state: the row.
        context: of `context_of`.
        as_of: ms; the moment of `now` and of the risk. The partition's clock when None.
        held: an operator holds the source: no deadline is decided until `release`.
        language: of everything that is said in words.
    """
    moment = context.clock if as_of is None else as_of
    foretold: dict[str, Decision] = {}
    changes: list[GroupChange] = []
    for message in foresee(user, state, context) if state.known and state.activity.days else ():
        if isinstance(message, Decision):
            foretold.setdefault(message.data.rule_id, message)
        else:
            changes.append(GroupChange(message.time, message.data.change, message.data.kind, message.data.segment))
    due = {found.rule.id: found for found in _deadlines(user, state, context)}
    applying = context.policy.rules if state.known and state.activity.days else ()
    rules = [
        _rule(
            [sentence(gate, language) for gate in _gates_now(user, state, context, moment, rule)],
            context,
            rule,
            due.get(rule.id),
            foretold.get(rule.id),
            language=language,
        )
        for rule in applying
    ]
    sends = [d for d in foretold.values() if d.data.decision == "send"]
    first = min(sends, key=lambda d: d.time, default=None)
    silent = (moment - context.dark * HOUR - silence_start(state.activity)) / DAY if state.activity.days else None
    outlook = Outlook(
        as_of=rfc3339(moment),
        clock=rfc3339(context.clock) if context.clock else None,
        lifecycle=STAGES[state.stage],
        silent_days=None if silent is None else max(0.0, round(silent, 3)),  # a clock may be ahead of ours
        risk=_risk(state, context, moment, language),
        next=_next(user, state, context, changes),
        changes=changes,
        fires_at=first.time if first else None,
        fires_rule=first.data.rule_id if first else None,
        source_held=held,
        rules=rules,
        summary="",
    )
    outlook.summary = _summary(state, context, outlook, language)
    return outlook


def _deadlines(user: str, state: UserState, context: Context) -> list[Due]:
    if not state.activity.days:
        return []
    waits = waiting(state, context)
    later = {due.rule.id for due in waits}
    own = [spread_out(user, state, due, context) for due in rule_deadlines(state, context)]
    return [*waits, *(due for due in own if due.rule.id not in later)]


def _rule(
    now: list[Sentence], context: Context, rule: Rule, due: Due | None, foretold: Decision | None, *, language: Language
) -> RuleOutlook:
    then = [] if foretold is None else [sentence(gate, language) for gate in foretold.data.explain]
    deadline = None if due is None else due.at + context.dark * HOUR
    status: Status = "pending"
    why = [s.words for s in then if not s.passed]
    decided = None
    if foretold is not None:  # also of what nobody waits for yet: a segment that will be entered
        deadline, decided = _ms(foretold.data.episode.entered_at), _ms(foretold.time)
        if foretold.data.decision == "holdout":
            of_all = "global_holdout" in foretold.data.reasons
            why = [words(REASONS, "global_holdout", language) if of_all else words(OUTLOOKS, "own_holdout", language)]
    elif due is None:
        status, why = "no_deadline", _why_never(rule, now, context, language)
    else:
        status = "before_adoption" if due.at < context.adopted else "settled"
        why = [words(OUTLOOKS, status, language)]
    return RuleOutlook(
        rule=rule.id,
        mode=rule.mode,
        status=status,
        deadline=None if deadline is None else rfc3339(deadline),
        decided_from=None if decided is None else rfc3339((decided // HOUR + 1) * HOUR + context.policy.lateness),
        foretold=None if foretold is None else foretold.data.decision,
        reasons=[] if foretold is None else list(foretold.data.reasons),
        now=now,
        then=then,
        why_not=why,
    )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _why_never(rule: Rule, now: list[Sentence], context: Context, language: Language) -> list[str]:
    missing = [s.words for s in now if s.feature in {"active_days", "risk"} and not s.passed]
    if missing or not isinstance(rule.when, RiskAbove) or context.model is None:
        return missing
    return [words(OUTLOOKS, "before_model", language)]


def _gates_now(user: str, state: UserState, context: Context, moment: int, rule: Rule) -> list[Gate]:
    """The gates as if the rule were due at `moment`; what makes it due is then tested, too."""
    effects = Transition(None)
    at = moment - context.dark * HOUR
    current = msgspec.structs.replace(context, clock=min(context.clock, moment))
    copy, due = decode_row(encode_row(state)), Due(at, 0, rule, state.activity.last)
    for waits in waiting(state, context):
        if waits.rule.id == rule.id:
            due = msgspec.structs.replace(waits, at=at)
    found = judge(case_of(user, copy, due, current, effects, "clock")).explain
    for gate in found:
        if gate.feature == "p_alive":
            gate.passed = p_alive(state, at, context.policy) < float(gate.threshold or 0)
        elif gate.feature in {"silence_days", "active_days", "age_days", "risk"} and gate.value is not None:
            gate.passed = float(gate.value or 0) >= float(gate.threshold or 0)
        elif gate.feature == "segment":
            gate.passed = all(other.passed for other in found if other.feature == "in_segment")
    passed_over = {"still_silent", "in_time", "in_segment"}
    if state.recall is not None and state.recall.rule == rule.id and state.recall.decided_at >= state.recall.episode:
        passed_over.add("episode_free")  # the silence is its own
    return [gate for gate in found if gate.feature not in passed_over]


def _risk(state: UserState, context: Context, moment: int, language: Language) -> Risk | None:
    activity = state.activity
    if not (state.known and activity.days):
        return None
    at, model = moment - context.dark * HOUR, context.model
    told = risk_of(state, at, 30 * DAY, context)
    why = [] if model is None else reasons(model, model.features(activity, at), language)
    return Risk(round(p_alive(state, at, context.policy), 4), told.p, told.horizon, told.model_version, why)


def _next(user: str, state: UserState, context: Context, changes: list[GroupChange]) -> Upcoming | None:
    """What falls due next, by its own time, of equal ones in the core's order; what was put off since its hour was dark
    is due at once.
    """
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
        found += [(_ms(change.at), f"{change.change}s {change.kind} {change.name}") for change in changes]
        floor = max(state.decided, context.adopted)
        found += [(d.at + shift, f"rule {d.rule.id}") for d in _deadlines(user, state, context) if d.at >= floor]
    if not found:
        return None
    at, what = min(found, key=itemgetter(0))
    return Upcoming(rfc3339(at), what)


def _summary(state: UserState, context: Context, outlook: Outlook, language: Language) -> str:
    if not state.activity.days:
        return words(OUTLOOKS, "never_active", language)
    if not state.known:
        return words(OUTLOOKS, "visitor", language)
    if not context.policy.rules:
        return words(OUTLOOKS, "no_rules", language)
    if outlook.source_held:
        return words(OUTLOOKS, "held", language)
    if outlook.fires_at is not None:
        return words(OUTLOOKS, "sends", language, rule=outlook.fires_rule, at=outlook.fires_at)
    pending = [rule for rule in outlook.rules if rule.foretold is not None]
    if pending:
        first = min(pending, key=lambda rule: rule.deadline or "")
        what = stated(words(VERDICTS, first.foretold or "", language), first.why_not, language)
        return words(OUTLOOKS, "decides", language, rule=first.rule, what=what)
    return words(OUTLOOKS, "over", language)
