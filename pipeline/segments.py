"""Segments and tiers of a user: which ones hold, when silence changes that next, and what is said of it.

They are evaluated after an activity and at looks: moments at which a comparison of theirs can change by silence.
"""

from hashlib import sha256
from typing import Final, Literal, NamedTuple

from pipeline.context import Context, Transition
from pipeline.features import NEVER
from pipeline.features.base import Unit
from pipeline.money import EXPONENTS
from pipeline.policy import Segment, Test
from pipeline.state import Groups, Membership, UserState
from pipeline.sums import SEGMENTS, Fact
from pipeline.units import DAY, HOUR
from schemas.codec import rfc3339
from schemas.segment import SegmentChange, SegmentData
from schemas.trigger import Gate

Kind = Literal["segment", "tier"]
Change = Literal["enter", "leave"]
_NO_GROUPS: Final = Groups()


class _Moment(NamedTuple):
    """What an evaluation is of: `at` in effective ms."""

    user: str
    state: UserState
    at: int
    context: Context
    effects: Transition

    @property
    def time(self) -> int:
        """Real ms."""
        return self.at + self.context.dark * HOUR


def concern(state: UserState, context: Context) -> bool:
    """Whether there is anything to evaluate for this user."""
    groups = state.groups
    stale = groups is not None and bool(groups.segments or groups.tier)
    return state.known and state.activity.days > 0 and (stale or context.policy.grouped)


def since_when(context: Context) -> int:
    """The last adoption (policy, model or quantiles) in effective time: entries before it open no episode."""
    return max(context.adopted, context.modelled, context.measured)


def overdue(state: UserState, until: int, context: Context) -> bool:
    """Whether anything lies between the last evaluation and `until` (effective ms)."""
    return as_of(state) + 1 < until or state.epoch != context.epoch


def catch_up(user: str, state: UserState, until: int, context: Context, effects: Transition) -> int:
    """Establish what changed otherwise than by an activity or by silence (an adoption, history, a locale), and return
    the next look. `until`: effective ms, up to which time has come.
    """
    at = max(as_of(state), min(since_when(context), until) - 1)
    refresh(user, state, at, context, effects)
    return next_look(state, at, context)


def as_of(state: UserState) -> int:
    """The moment of the last evaluation, effective ms: the last activity, or just before what is not settled yet."""
    activity = state.activity
    return max(activity.last - activity.dark * HOUR, state.decided - 1)


def refresh(user: str, state: UserState, at: int, context: Context, effects: Transition) -> list[str]:
    """Evaluate as of `at` (effective ms): memberships, messages, sums. The ids of the segments that were entered."""
    policy, groups = context.policy, state.groups or _NO_GROUPS
    moment = _Moment(user, state, at, context, effects)
    tier = next((tier.id for tier in policy.tiers if _holds(tier.where, state, at, context)), "")
    if tier != groups.tier:
        groups = state.groups = state.groups or Groups()
        left, since = groups.tier, groups.tier_since
        groups.tier, groups.tier_since = tier, moment.time if tier else 0
        if left:
            _say(moment, "tier", "leave", left, since)
        if tier:
            _say(moment, "tier", "enter", tier, moment.time)
    inside = [segment.id for segment in policy.segments if _holds(segment.where, state, at, context)]
    if inside == [kept.segment for kept in groups.segments]:
        return []
    groups = state.groups = state.groups or Groups()
    before = groups.segments
    known = {kept.segment: kept for kept in before}
    groups.segments = [known.get(name) or Membership(name, moment.time) for name in inside]
    for kept in before:
        if kept.segment not in inside:
            _say(moment, "segment", "leave", kept.segment, kept.since)
    entered = [name for name in inside if name not in known]
    for name in entered:
        _say(moment, "segment", "enter", name, moment.time)
    return entered


def next_look(state: UserState, at: int, context: Context) -> int:
    """The first moment after `at` at which a segment or tier can change by silence; NEVER. A lower bound, and at it
    the comparison that it goes by has changed: of one that holds the first to change, of one that does not the last
    of those that fail, each when it first changes.
    """
    look = NEVER
    for group in (*context.policy.tiers, *context.policy.segments):
        look = min(look, _look(group, state, at, context))
    return look


def soonest(state: UserState, context: Context) -> int:
    """A cheap lower bound (effective ms) of the next look, but for what the policy's `min_silence` bounds."""
    if state.epoch != context.epoch and since_when(context) > 0:
        return since_when(context)  # by another policy or other thresholds: look at once
    at, look = as_of(state), NEVER
    for test in context.policy.dated:
        for limit in _limits(test, context):
            look = min(look, test.feature.next_change(state, at, context, limit))
    return look


def forget(state: UserState, facts: list[Fact]) -> None:
    """The row goes: the stocks lose it, and nothing is said."""
    groups = state.groups
    if groups is not None:
        facts.extend((SEGMENTS, ("segment", kept.segment), 0, -1) for kept in groups.segments)
        if groups.tier:
            facts.append((SEGMENTS, ("tier", groups.tier), 0, -1))


def _holds(where: tuple[Test, ...], state: UserState, at: int, context: Context) -> bool:
    for test in where:  # the innermost loop of an event: no call that isn't needed
        value = test.feature.value(state, at, context)
        if test.among:
            if value not in test.among:
                return False
        elif value is None or isinstance(value, str):
            return False
        elif test.top is not None:
            least = context.quantiles.get(test.feature.name, {}).get(test.top)
            if least is None or value < least:
                return False
        elif (test.at_least is not None and value < test.at_least) or (test.below is not None and value >= test.below):
            return False
    return True


def _look(group: Segment, state: UserState, at: int, context: Context) -> int:
    failing = [test for test in group.where if not _holds((test,), state, at, context)]
    look = 0 if failing else NEVER
    for test in failing or group.where:
        limits = _limits(test, context)
        if failing and len(limits) > 1:  # between the two: the one that stands in the way
            value = test.feature.value(state, at, context)
            limits = limits[:1] if isinstance(value, int | float) and value < limits[0] else limits[1:]
        changes = [test.feature.next_change(state, at, context, limit) for limit in limits]
        change = min(changes, default=NEVER)
        look = max(look, change) if failing else min(look, change)
        if look >= NEVER and failing:
            break
    return look


def _limits(test: Test, context: Context) -> list[float]:
    """What the value is compared with; of a text, which is compared as a whole, anything."""
    if test.among:
        return [0]
    limits = (test.at_least, test.below)
    if test.top is not None:
        limits = (context.quantiles.get(test.feature.name, {}).get(test.top), None)
    return [limit for limit in limits if limit is not None]


def _say(moment: _Moment, kind: Kind, change: Change, name: str, since: int) -> None:
    user, state, at, context, effects = moment
    groups = state.groups
    assert groups is not None  # noqa: S101 - they have just changed
    groups.changes += 1
    effects.facts.append((SEGMENTS, (kind, name), 0, 1 if change == "enter" else -1))
    time = rfc3339(moment.time)
    parts = (context.tenant, user, kind, name, change, time, str(groups.changes))
    identity = sha256("\x1f".join(parts).encode()).hexdigest()[:32]
    among = context.policy.tiers if kind == "tier" else context.policy.segments
    where = next((group.where for group in among if group.id == name), ())
    data = SegmentData(
        segment=name,
        kind=kind,
        change=change,
        since=rfc3339(since),
        tier=groups.tier or None,
        explain=[_gate(test, state, at, context) for test in where],
    )
    effects.outputs.append(SegmentChange(id=identity, subject=user, time=time, partitionkey=user, data=data))


def _gate(test: Test, state: UserState, at: int, context: Context) -> Gate:
    """A comparison in the policy's words and units."""
    unit, currency = test.feature.unit, context.policy.currency.reporting
    value = test.feature.value(state, at, context)
    if test.among:
        wanted = " or ".join(str(each).lower() if isinstance(each, bool) else each for each in test.among)
    else:
        told = {"at_least": test.at_least, "below": test.below, "top": test.top}
        wanted = ", ".join(
            f"{name} {limit if name == 'top' else _major(limit, unit, currency)}"
            for name, limit in told.items()
            if limit is not None
        )
    shown = str(value).lower() if isinstance(value, bool) else value
    if isinstance(shown, int | float):
        shown = _major(shown, unit, currency)
    return Gate(test.feature.name, shown, wanted, _holds((test,), state, at, context))


def _major(value: float, unit: Unit, currency: str) -> float:
    if unit == "days":
        return round(value / DAY, 3)
    if unit == "money":
        return float(round(value / 10 ** EXPONENTS[currency], 2))
    return round(value, 4)
