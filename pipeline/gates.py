"""The gates of a decision, in their order. What is tested is written down, whether it passed or not.

The first gate that fails for good gives the verdict. Gates that only time can open (cooldown, caps, quiet hours) make
the decision wait, if nothing else stands in the way. A gate that can't be evaluated doesn't pass.
"""

from functools import lru_cache
from typing import Final

import msgspec

from pipeline.case import Case
from pipeline.contacts import caps
from pipeline.context import EVERY_RULE, Context, Due, Transition
from pipeline.perks import slot_of
from pipeline.policy import InSegment, NotActivated, PAliveBelow, Policy, RiskAbove, Silence, Step
from pipeline.quiet import quiet_until
from pipeline.risk.model import silence_start
from pipeline.risk.words import addends
from pipeline.state import Profile, UserState
from pipeline.units import DAY, HOUR
from schemas.decision import Reason, Verdict
from schemas.trigger import Gate


def _yes_or_no(feature: str, ok: bool) -> Gate:
    return Gate(feature, "yes" if ok else "no", "yes", ok)


_TESTS: Final = {
    feature: (_yes_or_no(feature, False), _yes_or_no(feature, True))
    for feature in (
        *("still_silent", "in_time", "episode_free", "not_activated", "in_segment", "not_paused", "subscribed"),
        *("not_quiet_hours", "live"),
    )
}
"""The gates that are open or shut, as they are told: made once."""


class Ruling(msgspec.Struct, gc=False):
    """What the gates say of one due message. `verdict` None: all that is not a matter of time was passed; `until`:
    when what is one is over (ms; 0: now). `channel`: the one that may be used, else the step's own.
    """

    channel: str
    explain: list[Gate]
    reasons: list[Reason]
    verdict: Verdict | None = None
    until: int = 0

    def test(self, feature: str, ok: bool, no: Verdict, why: Reason) -> None:
        """A gate that is open or shut."""
        self.explain.append(_TESTS[feature][ok])
        if not ok:
            self.verdict = self.verdict or no
            self._because(why)

    def wait(self, gate: Gate, why: Reason, until: int) -> None:
        """A gate that opens at `until` (ms), if it is shut."""
        self.explain.append(gate)
        if not gate.passed:
            self.until = max(self.until, until)
            self._because(why)

    def _because(self, why: Reason) -> None:
        if why not in self.reasons:
            self.reasons.append(why)


@lru_cache(maxsize=1024)
def _of_channel(channel: str, agreed: bool, reached: bool) -> tuple[Gate, Gate]:
    return _yes_or_no(f"consent_{channel}", agreed), _yes_or_no(f"reachable_{channel}", reached)


def judge(case: Case) -> Ruling:
    """Run all gates, as of the moment at which the message is due."""
    state, due, context, moment, step = case.state, case.due, case.context, case.moment, case.step
    rule, policy, recall, profile = due.rule, context.policy, state.recall, state.profile
    live = rule.mode == "live"
    ruling = Ruling(step.channel, _condition(state, due, context), list(due.reasons))
    test, wait = ruling.test, ruling.wait

    if rule.kind == "recall":
        test("still_silent", case.revealed_by == "clock", "returned", "returned")
    in_time = context.clock < case.deadline + rule.expires_after
    test("in_time", in_time, "suppressed" if due.is_retry else "stale", "expired")
    if rule.kind == "recall" and not due.step and not due.is_retry:
        taken = live and recall is not None and recall.episode == state.activity.last
        test("episode_free", not taken, "episode_taken", "episode_taken")
    if type(rule.when) is NotActivated:
        test("not_activated", not state.activity.activated, "suppressed", "activated")
    elif type(rule.when) is InSegment:
        mine = state.groups is not None and any(m.segment == rule.when.segment for m in state.groups.segments)
        test("in_segment", mine, "suppressed", "not_in_segment")
    paused = rule.id in context.paused or EVERY_RULE in context.paused
    test("not_paused", not paused, "suppressed", "paused")
    test("subscribed", profile is None or not profile.unsubscribed, "suppressed", "unsubscribed")
    _choose_channel(ruling, step, profile, policy)
    if recall is not None and recall.decided_at and not due.step:
        free = max(recall.decided_at + rule.cooldown, recall.window_end)
        since, least = moment - recall.decided_at, free - recall.decided_at
        gate = Gate("days_since_contact", _days(since), _days(least), moment >= free)
        wait(gate, "cooldown", free)
    for cap in caps([] if recall is None else recall.contacts, moment, ruling.channel, policy):
        wait(Gate(cap.reason, cap.used, cap.limit, cap.until is None), cap.reason, cap.until or 0)
    if policy.quiet_hours is not None:
        until = quiet_until(moment, profile.timezone if profile else None, policy.quiet_hours)
        wait(_TESTS["not_quiet_hours"][until is None], "quiet_hours", until or 0)
    if step.perk is not None and context.purse is not None:
        room, cost = context.purse.room(step.perk, slot_of(case.user), case.effects.facts), policy.perks[step.perk].cost
        ruling.explain.append(Gate("budget", room, cost, room >= cost))
        if room < cost:
            ruling.verdict = ruling.verdict or "suppressed"
            ruling.reasons.append("budget_spent")
    test("live", live, "shadow", "shadow_mode")
    if rule.ceiling is not None and live:
        mine_hourly = _used(rule.id, context, case.effects)
        limit = -(-rule.ceiling // context.partitions)
        ruling.explain.append(Gate("ceiling", mine_hourly, limit, mine_hourly < limit))
        if mine_hourly >= limit and ruling.verdict is None and not ruling.until:
            ruling.verdict = "suppressed"
            ruling.reasons.append("ceiling")
            case.effects.crossed += (rule.id,)
    return ruling


def _condition(state: UserState, due: Due, context: Context) -> list[Gate]:
    """What made the rule due; a later message of a contact says how long the user has been silent."""
    activity, when = state.activity, due.rule.when
    silence = due.at - silence_start(activity)
    if type(when) is Silence:
        return [Gate("silence_days", _days(silence), _days(when.after), True)]
    if type(when) is NotActivated:
        age = due.at - activity.first + activity.dark_first * HOUR
        return [Gate("age_days", _days(age), _days(when.after), True)]
    if type(when) is InSegment:
        return [Gate("segment", when.segment, when.segment, True)]
    found = [
        Gate("active_days", activity.days, when.min_active_days, True),
        Gate("silence_days", _days(silence), _days(when.min_silence), True),
    ]
    if type(when) is PAliveBelow:
        return [Gate("p_alive", round(p_alive(state, due.at, context.policy), 4), when.threshold, True), *found]
    return [*_score(state, due.at, when, context), *found]


@lru_cache(maxsize=1024)
def _days(span: int) -> float:
    """As it is written; most spans are a policy's, so they recur."""
    return round(span / DAY, 3)


def _score(state: UserState, at: int, when: RiskAbove, context: Context) -> list[Gate]:
    """The risk, and what adds up to its log-odds."""
    model = context.model
    if model is None:
        return [Gate("risk", None, when.threshold, False)]
    features = model.features(state.activity, at)
    parts = addends(model, features)
    return [
        Gate("risk", round(model.predict(features), 4), when.threshold, True),
        *(Gate(f"risk.{t.code}", round(t.value, 4), None, True, round(t.contribution, 4)) for t in parts),
    ]


def p_alive(state: UserState, at: int, policy: Policy) -> float:
    """P(alive) at effective time `at` (ms)."""
    activity = state.activity
    lived = activity.last - activity.first
    return policy.risk.p_alive(activity.days - 1, lived, max(lived, lived + at - silence_start(activity)))


def _choose_channel(ruling: Ruling, step: Step, profile: Profile | None, policy: Policy) -> None:
    """The step's channel if it may be used, else its fallback."""
    failed: list[Reason] = []
    for channel in (step.channel, step.fallback):
        if channel is None:
            continue
        agreed, reached = _consents(profile, channel, policy), profile is None or channel not in profile.unreachable
        ruling.explain += _of_channel(channel, agreed, reached)
        if agreed and reached:
            ruling.channel = channel
            return
        failed += [] if agreed else ["no_consent"]
        failed += [] if reached else ["unreachable"]
    ruling.verdict = ruling.verdict or "suppressed"
    ruling.reasons += [why for why in dict.fromkeys(failed) if why not in ruling.reasons]


def _consents(profile: Profile | None, channel: str, policy: Policy) -> bool:
    consent = policy.consent.get(channel)
    if consent is None:  # can't be evaluated
        return False
    said = None if profile is None else profile.consent.get(consent.trait)
    return said is True if consent.basis == "opt_in" else said is not False


def _used(rule: str, context: Context, effects: Transition) -> int:
    hour, count = context.hourly.get(rule, (0, 0))
    return (count if hour == context.next_hour else 0) + effects.contacted.count(rule)
