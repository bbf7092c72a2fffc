"""Recall: which rule is due for a silent user, what is decided, and whether they came back.

A trigger's or decision's time is the deadline, never when it was noticed. The order of the gates is fixed:
returned, stale, episode_taken, paused, consent, cooldown, shadow; the arm is drawn after all of them.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

import msgspec
import xxhash

from pipeline.lifecycle import STAGES
from pipeline.policy import PAliveBelow, Policy, Rule, Silence
from pipeline.state import FIRST_EPOCH, Recall, UserState
from pipeline.sums import DECISIONS, OUTCOMES, Fact
from pipeline.sums.outcomes import DECIDED, MEASURED, RECALLED, RETURNED, VALUE
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339
from schemas.decision import Decision, DecisionData, Reason, Verdict
from schemas.outcome import Outcome, OutcomeData
from schemas.trigger import Episode, Evidence, Experiment, Gate, Goal, RecallData, Risk, Trigger

Message = Trigger | Decision | Outcome
RevealedBy = Literal["clock", "event"]
_MODEL_VERSION: Final = "mbg"
ALL_RULES: Final = "*"


class Context(msgspec.Struct):
    """What a partition knows at a position of its log. Times in ms; `adopted` in effective time; `dark` in hours."""

    policy: Policy
    tenant: str
    epoch: int = FIRST_EPOCH
    adopted: int = 0
    dark: int = 0
    clock: int = 0
    next_hour: int = 0  # the first hour that is not swept yet
    paused: frozenset[str] = frozenset()  # rule ids; ALL_RULES stands for every one


class Transition(msgspec.Struct, gc=False):
    """What a step does: the state (None: the row is gone), what it says, and what the sums gain."""

    state: UserState | None
    outputs: list[Message] = []
    facts: list[Fact] = []


class Due(NamedTuple):
    """A rule and its deadline: effective time orders, real time is shown."""

    at: int
    order: int
    rule: Rule


def silence_start(state: UserState) -> int:
    """The user's last activity in effective time (ms)."""
    return state.activity.last - state.activity.dark * HOUR


def rule_deadlines(state: UserState, policy: Policy) -> list[Due]:
    """Every rule's deadline for the current silence, in effective time."""
    activity = state.activity
    start = silence_start(state)
    found = []
    for order, rule in enumerate(policy.rules):
        when = rule.when
        if isinstance(when, Silence):
            found.append(Due(start + when.after, order, rule))
        elif isinstance(when, PAliveBelow) and activity.days >= when.min_active_days:
            lived = activity.last - activity.first
            crossing = policy.risk.crossing(activity.days - 1, lived, when.threshold)
            found.append(Due(start + max(when.min_silence, crossing - lived), order, rule))
    return found


def trigger_id(tenant: str, user: str, rule: str, episode: int, step: int = 0) -> str:
    """Fixed when the episode opens; independent of the rule's version and of the wall clock."""
    return sha256("\x1f".join((tenant, user, rule, str(episode), str(step))).encode()).hexdigest()[:32]


def draw_holdout(salt: str, user: str, rule: str, share: float) -> bool:
    """Sticky: the same user is in the same arm of a rule as long as salt and share stay."""
    return xxhash.xxh3_64_intdigest(f"{salt}\x1f{user}\x1f{rule}".encode()) < int(share * 2**64)


def p_alive(state: UserState, at: int, policy: Policy) -> float:
    """P(alive) at effective time `at` (ms)."""
    activity = state.activity
    lived = activity.last - activity.first
    return policy.risk.p_alive(activity.days - 1, lived, max(lived, lived + at - silence_start(state)))


@lru_cache(maxsize=1024)
def _yes_or_no(feature: str, ok: bool) -> Gate:
    return Gate(feature, "yes" if ok else "no", "yes", ok)


def decide(
    user: str, state: UserState, due: Due, context: Context, effects: Transition, *, revealed_by: RevealedBy
) -> None:
    """Decide one due rule as of its deadline: by the clock, or by an event when the user is already back."""
    rule, activity = due.rule, state.activity
    deadline = due.at + context.dark * HOUR
    recall, profile = state.recall, state.profile
    expires = deadline + rule.expires_after
    identity = trigger_id(context.tenant, user, rule.id, activity.last)
    explain: list[Gate] = []
    verdict: Verdict | None = None
    reasons: list[Reason] = []
    eligible: int | None = None

    def gate(feature: str, ok: bool, no: Verdict, why: Reason, days: tuple[float, float] | None = None) -> None:
        nonlocal verdict
        explain.append(_yes_or_no(feature, ok) if days is None else Gate(feature, *days, ok))
        if not ok:
            verdict = verdict or no
            reasons.append(why)

    silence = due.at - silence_start(state)
    when = rule.when
    if isinstance(when, PAliveBelow):
        explain.append(Gate("p_alive", round(p_alive(state, due.at, context.policy), 4), when.threshold, True))
        explain.append(Gate("active_days", activity.days, when.min_active_days, True))
        explain.append(Gate("silence_days", round(silence / DAY, 3), round(when.min_silence / DAY, 3), True))
    elif isinstance(when, Silence):
        explain.append(Gate("silence_days", round(silence / DAY, 3), round(when.after / DAY, 3), True))

    gate("still_silent", revealed_by == "clock", "returned", "returned")
    gate("in_time", context.clock < expires, "stale", "expired")
    live = rule.mode == "live"
    taken = live and recall is not None and recall.episode == activity.last
    gate("episode_free", not taken, "episode_taken", "episode_taken")
    gate("not_paused", context.paused.isdisjoint({rule.id, ALL_RULES}), "suppressed", "paused")
    gate("subscribed", profile is None or not profile.unsubscribed, "suppressed", "unsubscribed")
    consents = profile is None or profile.consent.get(rule.channel) is not False
    gate(f"consent_{rule.channel}", consents, "suppressed", "no_consent")
    if recall is not None and recall.decided_at:
        free = max(recall.decided_at + rule.cooldown, recall.window_end)
        days = round((deadline - recall.decided_at) / DAY, 3), round((free - recall.decided_at) / DAY, 3)
        gate("days_since_contact", deadline >= free, "suppressed", "cooldown", days)
        if deadline < free:
            eligible = free
    gate("live", live, "shadow", "shadow_mode")

    experiment = None
    holdout = False
    if verdict is None:
        holdout = draw_holdout(context.policy.salt, user, rule.id, rule.holdout)
        experiment = Experiment(context.policy.salt, rule.holdout, "holdout" if holdout else "treatment")
        verdict = "holdout" if holdout else "send"
    if live and verdict in {"send", "holdout", "suppressed"}:
        if recall is None:
            recall = state.recall = Recall()
        recall.episode = activity.last
    window_end = deadline + rule.goal.within
    if recall is not None and verdict in {"send", "holdout"}:
        recall.trigger_id, recall.rule, recall.rule_version, recall.holdout = identity, rule.id, rule.version, holdout
        recall.decided_at, recall.window_end, recall.goal, recall.returned_at = deadline, window_end, rule.goal.event, 0
        effects.facts.append((OUTCOMES, (deadline // DAY, rule.id, "holdout" if holdout else "treatment"), DECIDED, 1))
    effects.facts.append((DECISIONS, (deadline // DAY, rule.id, verdict, reasons[0] if reasons else ""), 0, 1))

    lived = activity.last - activity.first
    p_none = context.policy.risk.p_none(activity.days - 1, lived, lived + silence, rule.goal.within)
    entered = rfc3339(deadline)
    start = rfc3339(activity.last)
    shared: dict[str, Any] = {
        "rule_id": rule.id,
        "rule_version": rule.version,
        "step": 0,
        "priority": rule.priority,
        "channel": rule.channel,
        "template_id": rule.template,
        "expires_at": rfc3339(expires),
        "episode": Episode(start, entered),
        "lifecycle": STAGES[state.stage],
        "locale": profile.locale if profile else None,
        "timezone": profile.timezone if profile else None,
        "experiment": experiment,
        "risk": Risk(round(p_none, 4), rule.goal.within, _MODEL_VERSION),
        "explain": explain,
        "evidence": Evidence(activity.last_id, start),
        "goal": Goal(rule.goal.event, rfc3339(window_end)),
    }
    if verdict == "send":
        trigger = Trigger(id=identity, subject=user, time=entered, partitionkey=user, data=RecallData(**shared))
        effects.outputs.append(trigger)
    data = DecisionData(
        **shared,
        trigger_id=identity,
        decision=verdict,
        reasons=reasons,
        next_eligible_at=None if eligible is None else rfc3339(eligible),
    )
    effects.outputs.append(
        Decision(id=f"{identity}.{rule.version}.{verdict}", subject=user, time=entered, partitionkey=user, data=data)
    )


def note_return(
    recall: Recall, user: str, time: int, event: str | None, worth: tuple[int, str] | None, *, effects: Transition
) -> None:
    """Activity at `time` (ms) within an open goal window: the outcome, if it is the goal. `worth`: minor units,
    currency.
    """
    if time < recall.decided_at:
        return
    if not recall.returned_at:
        recall.returned_at = time
    if time <= recall.window_end and recall.goal in {None, event}:
        close(recall, user, effects, goal_at=time, worth=worth)


def close(
    recall: Recall, user: str, effects: Transition, *, goal_at: int | None = None, worth: tuple[int, str] | None = None
) -> None:
    """Write the outcome of the measured contact and end its window."""
    arm = "holdout" if recall.holdout else "treatment"
    facts = effects.facts
    cell = (recall.decided_at // DAY, recall.rule, arm)
    facts.append((OUTCOMES, cell, MEASURED, 1))
    if recall.returned_at:
        facts.append((OUTCOMES, cell, RETURNED, 1))
    if goal_at is not None:
        facts.append((OUTCOMES, cell, RECALLED, 1))
        if worth is not None:
            facts.append((OUTCOMES, cell, VALUE, worth[0]))
    end = recall.window_end
    recall.window_end = 0
    outcome = Outcome(
        id=f"{recall.trigger_id}.outcome",
        subject=user,
        time=rfc3339(end if goal_at is None else goal_at),
        partitionkey=user,
        data=OutcomeData(
            trigger_id=recall.trigger_id,
            user=user,
            rule_id=recall.rule,
            rule_version=recall.rule_version,
            arm="holdout" if recall.holdout else "treatment",
            recalled=goal_at is not None,
            returned_at=rfc3339(recall.returned_at) if recall.returned_at else None,
            goal_at=None if goal_at is None else rfc3339(goal_at),
            latency=None if goal_at is None else goal_at - recall.decided_at,
            value=None if worth is None else worth[0],
            currency=None if worth is None else worth[1],
            window_end=rfc3339(end),
        ),
    )
    effects.outputs.append(outcome)
