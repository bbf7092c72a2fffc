"""Recall: which rule is due for a user, and what is decided.

A decision holds as of the moment at which it is due, never of when that was noticed. Its gates are in
`pipeline.gates`; the arm is drawn after all of them. What only time stands in the way of waits in the row.
"""

from functools import lru_cache
from typing import Any

import xxhash
from msgspec import structs

from pipeline.case import Case, case_of
from pipeline.contacts import remember
from pipeline.context import Context, Due, RevealedBy, Transition
from pipeline.gates import Ruling, judge
from pipeline.lifecycle import STAGES
from pipeline.outcome import arm_name, count, note_draw, note_reminder, was_reminded
from pipeline.perks import slot_of
from pipeline.policy import NotActivated, PAliveBelow, RiskAbove, Rule, Silence
from pipeline.purchases import shown
from pipeline.risk import crossing
from pipeline.risk.model import silence_start
from pipeline.state import Contact, Pending, Recall, UserState
from pipeline.sums import DECISIONS, PERKS
from pipeline.sums.outcomes import DECIDED, PERK_COST, stratum_of
from pipeline.sums.perks import OFFERS, SPENT
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339
from schemas.decision import Decision, DecisionData, Reason, Verdict
from schemas.trigger import Content, Episode, Evidence, Experiment, Goal, Perk, Risk

_CLOSED_FORM = "mbg"
"""Model version of a risk by the policy's own parameters."""


def rule_deadlines(state: UserState, context: Context) -> list[Due]:
    """Every rule's deadline by itself, in effective time; rules by segment have none."""
    activity = state.activity
    start = silence_start(activity)
    found = []
    for order, rule in enumerate(context.policy.rules):
        when = rule.when
        if type(when) is Silence:
            at = start + when.after
        elif type(when) is PAliveBelow and activity.days >= when.min_active_days:
            lived = activity.last - activity.first
            age = context.policy.risk.crossing(activity.days - 1, lived, when.threshold)
            at = start + max(when.min_silence, age - lived)
        elif type(when) is RiskAbove and context.model is not None and activity.days >= when.min_active_days:
            at = crossing(context.model, activity, when.threshold, start, start + when.min_silence)
            if at < context.modelled:
                continue
        elif type(when) is NotActivated and not activity.activated:
            at = activity.first - activity.dark_first * HOUR + when.after
        else:
            continue
        found.append(Due(at, order, rule, activity.first if rule.kind == "activate" else activity.last))
    return found


def spread_out(user: str, state: UserState, due: Due, context: Context) -> Due:
    """The deadline; of a user who lapsed before the rule was switched on, the one in its backlog, if it has one."""
    spread = due.rule.backlog
    if spread is None:
        return due
    since = context.since.get(due.rule.id, 0)
    if due.at >= since or begun(state.recall, due):
        return due
    return structs.replace(due, at=since + _hash(f"backlog\x1f{user}\x1f{due.rule.id}") * spread // 2**64)


def begun(recall: Recall | None, due: Due) -> bool:
    """Whether the rule waits in this episode already, or has contacted the user in one that comes once in a life: it
    is not due again, by another policy, a later deadline or a backlog.
    """
    if recall is None:
        return False
    if type(due.rule.when) is NotActivated:
        return any(kept.rule == due.rule.id for kept in recall.pending) or was_reminded(recall, due.rule.id)
    if not recall.pending:
        return False
    mine = due.rule.id, 0, due.episode
    return any((kept.rule, kept.step, kept.episode) == mine for kept in recall.pending)


def waiting(state: UserState, context: Context) -> list[Due]:
    """What waits in the row, of rules that there still are."""
    recall = state.recall
    if recall is None or not recall.pending:
        return []
    shift = context.dark * HOUR
    rules = {rule.id: (order, rule) for order, rule in enumerate(context.policy.rules)}
    found = []
    for kept in recall.pending:
        order, rule = rules.get(kept.rule, (0, None))
        if rule is not None and kept.step <= len(rule.steps):
            reasons: tuple[Any, ...] = tuple(kept.reasons)
            found.append(Due(kept.at - shift, order, rule, kept.episode, kept.step, kept.deadline, reasons))
    return found


def draw_holdout(salt: str, user: str, rule: str, share: float) -> bool:
    """Sticky: the same user is in the same arm of a rule as long as salt and share stay."""
    return share > 0 and _hash(f"{salt}\x1f{user}\x1f{rule}") < _hashes(share)


@lru_cache(maxsize=1024)
def _hashes(share: float) -> int:
    """How many of all hashes that is."""
    return int(share * 2**64)


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())


def decide(
    user: str, state: UserState, due: Due, context: Context, effects: Transition, *, revealed_by: RevealedBy
) -> None:
    """Decide one due message: by the clock, or by an event that shows that the moment has passed."""
    _forget(state, due)
    rule, case = due.rule, case_of(user, state, due, context, effects, revealed_by)
    ruling = judge(case)
    waits = ruling.verdict is None and ruling.until
    experiment, verdict = None, ruling.verdict
    if verdict is None and not waits:
        experiment, verdict = _draw(case, ruling)
    live = rule.mode == "live"
    if live and rule.kind == "recall" and (waits or verdict in {"send", "holdout", "suppressed"}):
        recall = state.recall = state.recall or Recall()
        recall.episode = state.activity.last
    if verdict is None:
        _postpone(case, ruling)
        return
    if experiment is not None:
        _contact(case, ruling, experiment)
    goes_on = experiment is not None or (due.step and verdict == "suppressed")
    if due.step < len(rule.steps) and live and goes_on:
        _next_step(case)
    _say(case, ruling, verdict, experiment)


def _postpone(case: Case, ruling: Ruling) -> None:
    """Try again when the last of what stands in the way is over, at the latest when it expires."""
    due = case.due
    again = min(ruling.until, case.deadline + due.rule.expires_after)
    recall = case.state.recall = case.state.recall or Recall()
    reasons = [str(why) for why in ruling.reasons]
    kept = Pending(due.rule.id, due.step, due.episode, case.deadline, again, reasons)
    recall.pending = [*recall.pending, kept]


def _forget(state: UserState, due: Due) -> None:
    """What waited waits no longer."""
    recall = state.recall
    if recall is not None and due.deadline is not None:
        mine = (due.rule.id, due.step, due.episode)
        recall.pending = [p for p in recall.pending if (p.rule, p.step, p.episode) != mine]


def _draw(case: Case, ruling: Ruling) -> tuple[Experiment, Verdict]:
    """The arm: of a contact's first message by hash, of the later ones as the first."""
    rule, policy, recall = case.due.rule, case.context.policy, case.state.recall
    share = policy.held_out(rule)
    if case.due.step and recall is not None:
        withheld, holdout = recall.withheld, recall.holdout
    else:
        withheld = draw_holdout(policy.salt, case.user, "*", policy.holdout)
        holdout = withheld or draw_holdout(policy.salt, case.user, rule.id, rule.holdout)
    if withheld:
        ruling.reasons.append("global_holdout")
    return Experiment(policy.salt, share, arm_name(holdout=holdout)), "holdout" if holdout else "send"


def _contact(case: Case, ruling: Ruling, experiment: Experiment) -> None:
    """Take in that the user is contacted, or would be: caps, ceiling and perk, and the measurement, once a contact."""
    rule, policy, facts = case.due.rule, case.context.policy, case.effects.facts
    holdout = experiment.arm == "holdout"
    recall = case.state.recall = case.state.recall or Recall()
    if not case.due.step:
        recall.trigger_id, recall.rule, recall.rule_version = case.identity, rule.id, rule.version
        recall.holdout, recall.decided_at, recall.window_end = holdout, case.moment, case.moment + rule.goal.within
        recall.goal, recall.returned_at = rule.goal.event, 0
        recall.stratum = stratum_of(experiment.share, policy.salt)
        recall.program = stratum_of(policy.holdout, policy.salt) if policy.holdout else ""
        recall.withheld = "global_holdout" in ruling.reasons
        note_draw(recall)
        if type(rule.when) is NotActivated:
            note_reminder(recall)
        count(recall, facts, DECIDED)
    remember(recall.contacts, Contact(case.moment, ruling.channel, case.identity))
    if rule.ceiling is not None:
        case.effects.contacted += (rule.id,)
    perk = case.step.perk
    if perk is not None and not holdout:
        cost, cell = policy.perks[perk].cost, (perk, slot_of(case.user))
        facts += [(PERKS, cell, SPENT, cost), (PERKS, cell, OFFERS, 1)]
        count(recall, facts, PERK_COST, cost)


def _next_step(case: Case) -> None:
    due, recall = case.due, case.state.recall
    if recall is None or recall.rule != due.rule.id or not recall.window_end:
        return  # the contact is over
    at = case.moment + due.rule.step(due.step + 1).after
    recall.pending = [*recall.pending, Pending(due.rule.id, due.step + 1, due.episode, at, at)]


def come_back(user: str, state: UserState, time: int, context: Context, effects: Transition) -> None:
    """The user was active at `time` (ms): what waits for their silence ends, what was postponed with a decision."""
    recall = state.recall
    if recall is None or not recall.pending:
        return
    for due in waiting(state, context):
        if due.rule.kind == "recall" and due.is_retry:
            told = structs.replace(due, at=time - context.dark * HOUR)
            decide(user, state, told, context, effects, revealed_by="event")
    recalls = {rule.id for rule in context.policy.rules if rule.kind == "recall"}
    recall.pending = [p for p in recall.pending if p.rule not in recalls]


def risk_of(state: UserState, at: int, horizon: int, context: Context) -> Risk:
    """P(no event) as of effective time `at` (ms): by the adopted model in its horizon, else in `horizon` (ms)."""
    activity, model = state.activity, context.model
    if model is not None:
        return Risk(round(model.predict(model.features(activity, at)), 4), model.horizon, context.model_version)
    lived = activity.last - activity.first
    age = max(lived, lived + at - silence_start(activity))
    return Risk(round(context.policy.risk.p_none(activity.days - 1, lived, age, horizon), 4), horizon, _CLOSED_FORM)


def _say(case: Case, ruling: Ruling, verdict: Verdict, experiment: Experiment | None) -> None:
    """The decision. One to send is all that its trigger says (`pipeline.outbox`)."""
    user, state, due, context, effects = case.user, case.state, case.due, case.context, case.effects
    rule, profile, activity = due.rule, state.profile, state.activity
    moment, deadline, step, identity = case.moment, case.deadline, case.step, case.identity
    reasons: list[Reason] = ruling.reasons
    if experiment is not None:  # what stood in the way once does so no longer
        reasons = [why for why in reasons if why == "global_holdout"]
    first = reasons[0] if reasons else ""
    effects.facts.append((DECISIONS, (deadline // DAY, rule.id, verdict, first), 0, 1))
    entered, last = rfc3339(deadline), rfc3339(activity.last)
    window_end = moment + rule.goal.within
    if due.step and state.recall is not None and state.recall.window_end:
        window_end = state.recall.window_end
    content = rule.content
    eligible = rfc3339(ruling.until) if ruling.until else None
    data = DecisionData(  # by place what `RecallData` lists: by name it would cost ten times as much
        rule.id,
        rule.version,
        due.step,
        rule.priority,
        ruling.channel,
        step.template,
        rfc3339(deadline + rule.expires_after),
        Episode(last if due.episode == activity.last else rfc3339(due.episode), entered),
        STAGES[state.stage],
        profile.locale if profile else None,
        profile.timezone if profile else None,
        experiment,
        risk_of(state, due.at, rule.goal.within, context),
        ruling.explain,
        Evidence(activity.last_id, last),
        Goal(rule.goal.event, rfc3339(window_end)),
        state.groups.tier or None if state.groups else None,
        None if content is None else Content(content.feature_id, shown(state.orders, content.items)),
        None if step.perk is None else Perk(step.perk, context.policy.perks[step.perk].cost),
        trigger_id=identity,
        decision=verdict,
        reasons=reasons,
        next_eligible_at=eligible,
    )
    time = entered if moment == deadline else rfc3339(moment)
    effects.outputs.append(
        Decision(id=f"{identity}.{rule.version}.{verdict}", subject=user, time=time, partitionkey=user, data=data)
    )


def episode_rule(rule: Rule, order: int, at: int, since: int, state: UserState) -> Due:
    """A rule by segment that falls due since the user entered it: at `at` (effective ms), `since` in real ms."""
    return Due(at, order, rule, state.activity.last if rule.kind == "recall" else since)
