"""Segments and tiers of a user: which ones hold, when silence changes that next, and what is said of it.

They are evaluated after an activity and at looks: moments at which a comparison of theirs can change by silence.
"""

from hashlib import sha256
from typing import Final, Literal, NamedTuple

from pipeline.context import Context, Transition
from pipeline.features import NEVER
from pipeline.features.base import ANYTHING, ORDER, TIER, Unit
from pipeline.money import EXPONENTS
from pipeline.policy import Test
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
    """Whether there is anything to evaluate for somebody who was active."""
    if context.policy.grouped:
        return state.known
    groups = state.groups
    return groups is not None and bool(groups.segments or groups.tier)


def since_when(context: Context) -> int:
    """The last adoption (policy, model or quantiles) in effective time: entries before it open no episode."""
    return max(context.adopted, context.modelled, context.measured)


def as_of(state: UserState) -> int:
    """What was evaluated holds as of this, effective ms: the last activity, or just before what is not settled."""
    activity = state.activity
    return max(activity.last - activity.dark * HOUR, state.decided - 1)


def catch_up(user: str, state: UserState, until: int, context: Context, effects: Transition) -> int:
    """The next look. Whoever was not looked at since the last adoption, or has a history of before, is so first: what
    that changes is no entering at a moment. `until`: effective ms, up to which time has come.
    """
    at = as_of(state)
    if state.epoch != context.epoch:
        at = max(at, min(since_when(context), until) - 1)
        refresh(user, state, at, context, effects)
    return next_look(state, at, context)


def refresh(
    user: str, state: UserState, at: int, context: Context, effects: Transition, *, brought: int = ANYTHING
) -> list[str]:
    """Evaluate as of `at` (effective ms) what can have changed by what was `brought` (bits of
    `pipeline.features.base`): memberships, messages, sums. The ids of the segments that were entered.
    """
    policy, groups = context.policy, state.groups or _NO_GROUPS
    tier = _tier(state, at, context) if brought & policy.tiers_moved_by else groups.tier
    moment = _Moment(user, state, at, context, effects)
    if tier != groups.tier:
        brought |= TIER
        groups = state.groups = state.groups or Groups()
        left, since = groups.tier, groups.tier_since
        groups.tier, groups.tier_since = tier, moment.time if tier else 0
        if left:
            _say(moment, "tier", "leave", left, since)
        if tier:
            _say(moment, "tier", "enter", tier, moment.time)
    before = groups.segments
    known = {kept.segment: kept for kept in before}
    inside = [
        segment.id
        for segment in policy.segments
        if (_holds(segment.where, state, at, context) if segment.moved_by & brought else segment.id in known)
    ]
    if state.orders is not None and brought & ORDER:
        fades = _fading(state, at, context)
        day = fades // DAY if fades < NEVER else 0
        if day != groups.fades:
            groups = state.groups = state.groups or Groups()
            groups.fades = day
    if inside == list(known):
        return []
    groups = state.groups = state.groups or Groups()
    groups.segments = [known.get(name) or Membership(name, moment.time) for name in inside]
    for kept in before:
        if kept.segment not in inside:
            _say(moment, "segment", "leave", kept.segment, kept.since)
    entered = [name for name in inside if name not in known]
    for name in entered:
        _say(moment, "segment", "enter", name, moment.time)
    return entered


def _tier(state: UserState, at: int, context: Context) -> str:
    for tier in context.policy.tiers:
        if _holds(tier.where, state, at, context):
            return tier.id
    return ""


def next_look(state: UserState, at: int, context: Context) -> int:
    """The first moment after `at` at which a segment or tier can change by silence; NEVER. A lower bound, and at it
    the comparison that it goes by has changed: of one that holds the first to change, of one that does not the last
    of those that fail, each when it first changes.
    """
    look = NEVER
    for groups in (context.policy.tiers, context.policy.segments):
        for group in groups:
            holds, first, last = True, NEVER, 0
            for test in group.where:
                passes, change = _change(test, state, at, context)
                if not passes:
                    holds, last = False, max(last, change)
                    if change >= NEVER:
                        break
                elif change < first:
                    first = change
            look = min(look, first if holds else last)
    return look


def soonest(state: UserState, context: Context, look: int) -> int:
    """A cheap lower bound (real ms) of the next look; `look`: by what the policy's `min_silence` bounds."""
    shift = context.dark * HOUR
    if state.epoch != context.epoch:
        return min(look, as_of(state) + shift)  # not looked at since the adoption: at once
    groups, activity = state.groups, state.activity
    if groups is not None and groups.fades:
        fades = groups.fades * DAY
        if fades <= as_of(state) + shift:  # nobody's membership went by it
            fades = _fading(state, as_of(state), context)
        look = min(look, fades)
    for age in context.policy.ages:
        reached = activity.first - activity.dark_first * HOUR + age
        if reached + shift < look and reached > as_of(state):
            look = reached + shift
    return look


def _fading(state: UserState, at: int, context: Context) -> int:
    """The midnight (real ms) with which orders first leave a window that matters; NEVER."""
    fades = min((_change(test, state, at, context)[1] for test in context.policy.windows), default=NEVER)
    return NEVER if fades >= NEVER else fades + context.dark * HOUR


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


def _change(test: Test, state: UserState, at: int, context: Context) -> tuple[bool, int]:
    """Whether a comparison holds, and when it first does not, or does: of two limits the one that stands in the way."""
    feature = test.feature
    if test.among:
        return feature.value(state, at, context) in test.among, feature.next_change(state, at, context, 0)
    low, high = test.at_least, test.below
    if test.top is not None:
        low = context.quantiles.get(feature.name, {}).get(test.top)
        if low is None:
            return False, NEVER
    value = feature.value(state, at, context)
    if value is None or isinstance(value, str):
        return False, NEVER
    if low is not None and value < low:
        return False, feature.next_change(state, at, context, low)
    if high is not None and value >= high:
        return False, feature.next_change(state, at, context, high)
    changes = [feature.next_change(state, at, context, limit) for limit in (low, high) if limit is not None]
    return True, min(changes)


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
