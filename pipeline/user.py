"""The one place where a user changes: `step`. No clock, no randomness, no I/O: time arrives with the item."""

from bisect import insort
from typing import NamedTuple

import msgspec

from pipeline import journey, lifecycle, scores, segments
from pipeline.activity import Activity, observe
from pipeline.contacts import Feedback, report
from pipeline.context import Context, Due, RevealedBy, Transition
from pipeline.deadlines import NEVER
from pipeline.features import base as brings
from pipeline.gates import p_alive
from pipeline.lifecycle import ACTIVE, AT_RISK, DORMANT, NEW, RETURNED, STAGES, UNSEEN
from pipeline.outcome import close, count, note_return
from pipeline.policy import InSegment
from pipeline.purchases import buy
from pipeline.recall import come_back, decide, episode_rule, rule_deadlines, spread_out, waiting
from pipeline.risk.model import silence_start
from pipeline.state import TOP_BUCKET, Orders, Profile, UserState
from pipeline.sums import CHANNELS, GROWTH, RISK, STAGE, Fact
from pipeline.sums import growth as grown
from pipeline.sums.channels import ACTIVATED, BUYERS, NEW_USERS, ORDERS, REVENUE, UNPRICED, VISITORS
from pipeline.sums.population import P_ALIVE_BUCKETS
from pipeline.units import DAY, HOUR
from schemas.event import UNSUBSCRIBE_EVENTS, Traits

VISITOR_EXPIRES = 30 * DAY
_MAX_CONSENTS = 16
_LOOK = (-1, 0, -1)
"""Order and kind of a look at segments and tiers among what is due: after the lifecycle, before the rules."""


class Order(NamedTuple):
    """An order's worth: minor units of its currency, and of the reporting one (None: no rate is declared); and the ids
    of its items, where a rule shows them.
    """

    minor: int
    currency: str
    reporting: int | None
    items: tuple[str, ...] = ()


class Happening(msgspec.Struct, gc=False):
    """Something that happened to a user: an admitted event. `key` is the user as bytes, `digest` stands for
    the messageId; `time` in ms; `channel` if it
    was a touch, `first_channel` if an identify call told how the user came as a visitor; `dark`: dark hours before
    `time`; `settled`: silence deadlines before this effective time open nothing (late and backfilled events).
    """

    user: str
    key: bytes
    known: bool
    time: int
    kind: str
    event: str | None
    message_id: str
    digest: bytes
    active: bool
    channel: str | None = None
    first_channel: str | None = None
    order: Order | None = None
    traits: Traits | None = None
    feedback: Feedback | None = None
    backfill: bool = False
    dark: int = 0
    settled: int = 0


class Deadline(NamedTuple):
    """Time has passed: everything of `user` that is due before `until` (ms)."""

    user: str
    until: int


def step(state: UserState, item: Happening | Deadline, context: Context) -> Transition:
    """Advance one user by one item. `state` is changed in place and returned with its next wake-up set."""
    effects = Transition(state)
    if isinstance(item, Deadline):
        if settle(state, item.user, item.until, context, effects, revealed_by="clock"):
            effects.state = None
        else:
            state.wake = next_wake(item.user, state, context, effects.look)
            state.epoch = context.epoch
        return effects

    if item.kind == "delete":
        leave(state, item.time // DAY, effects.facts)
        effects.state = None
        return effects
    if item.known and not state.known:  # the id turns out to be a user's: the visitor becomes a new user
        leave(state, item.time // DAY, effects.facts)
        state = effects.state = UserState(seen=state.seen, activity=Activity(erased=state.activity.erased))
    if state.known and (item.traits is not None or not item.active):  # nobody without a userId is ever sent to
        _update_profile(state, item)
    if item.feedback is not None and state.recall is not None:
        _hear(state, item.feedback, item.time, effects.facts)
    if item.active:
        if state.check is not None:
            scores.hear(state, item.time - item.dark * HOUR, effects.facts)
        dates_silence = item.time > state.activity.last
        if dates_silence and item.backfill:  # history: what fell due in it is nobody's return
            state.decided = max(state.decided, item.settled, item.time - context.dark * HOUR)
        # The hour of a wake-up is never a closed one, so it says nothing about what lies before a late event.
        if item.settled or item.time // HOUR >= state.wake or state.epoch != context.epoch:
            settle(state, item.user, item.time, context, effects, revealed_by="event")
        if dates_silence and item.settled > state.decided:
            state.decided = item.settled
        _act(state, item, context, effects)
    return effects


def _hear(state: UserState, feedback: Feedback, time: int, facts: list[Fact]) -> None:
    recall = state.recall
    assert recall is not None  # noqa: S101 - nobody else is asked
    profile = state.profile or Profile()
    report(recall, profile, feedback, time, lambda field: count(recall, facts, field))
    if profile != Profile():
        state.profile = profile


def _act(state: UserState, item: Happening, context: Context, effects: Transition) -> None:
    """Activity: counters, channel, order, lifecycle, an open goal window, the next wake-up."""
    activity, trip, time, facts = state.activity, state.journey, item.time, effects.facts
    day = time // DAY
    kind = "user" if state.known else "visitor"
    was, last = state.stage, activity.last
    if time > last and state.recall is not None and state.recall.pending:
        come_back(item.user, state, time, context, effects)
    new_day = observe(activity, time, item.dark)
    if item.first_channel is not None and not trip.touches:
        journey.touch(trip, item.first_channel, time)
    if item.channel is not None:
        journey.touch(trip, item.channel, time)
    if time >= last and state.known:
        activity.last_id = item.message_id
    if new_day:
        facts.append((CHANNELS, (day, trip.last), VISITORS, 1))
    newest, stage = time > last, was
    if newest or was == UNSEEN:  # what came before the silence doesn't end it
        stage = lifecycle.after_event(was, state.since, activity.first, time, context.policy.lifecycle)
        if stage != was:
            _move(state, kind, stage, time, facts)
    if was == UNSEEN:
        facts.append((GROWTH, (day, kind), grown.NEW, 1))
        if state.known:
            facts.append((RISK, (P_ALIVE_BUCKETS[state.risk],), 0, 1))
            facts.append((CHANNELS, (day, trip.first), NEW_USERS, 1))
    elif was == DORMANT and newest:
        facts.append((GROWTH, (day, kind), grown.RETURNED, 1))
    elif new_day:
        facts.append((GROWTH, (day, kind), grown.RETAINED, 1))
    if newest and state.risk != TOP_BUCKET:
        _rate(state, TOP_BUCKET, facts)

    order = item.order
    if order is not None:
        if state.known:
            state.orders = state.orders or Orders()
            buy(state.orders, time, order.reporting, order.items)
        where = (day, trip.last)
        facts.append((CHANNELS, where, ORDERS, 1))
        if order.reporting is None:
            facts.append((CHANNELS, where, UNPRICED, 1))
        else:
            facts.append((CHANNELS, where, REVENUE, order.reporting))
        if day != activity.order_day:
            activity.order_day = max(activity.order_day, day)
            facts.append((CHANNELS, where, BUYERS, 1))
    key_moment = context.policy.activation
    reaches = key_moment is not None and item.event == key_moment.event and time - activity.first <= key_moment.within
    if reaches and state.known and not activity.activated:
        activity.activated = True
        facts.append((CHANNELS, (day, trip.first), ACTIVATED, 1))
    recall = state.recall
    if recall is not None and recall.window_end:
        worth = None
        if order is not None and order.reporting is not None:
            worth = order.reporting, context.policy.currency.reporting
        outcome = note_return(recall, item.user, time, item.event, facts, worth=worth)
        if outcome is not None:
            effects.outputs.append(outcome)

    epoch = context.epoch
    if (context.policy.grouped or state.groups is not None) and segments.concern(state, context):
        if item.backfill:
            epoch -= 1  # as if nobody had looked since the adoption: it is done once, when the history is over
        else:
            anew = item.settled or not newest or was == UNSEEN or state.epoch != epoch
            brought = brings.ACTIVITY | (brings.DAY_OF_ACTIVITY if new_day else 0)
            brought |= brings.STAGE if stage != was else 0
            brought |= brings.KEY_MOMENT if reaches else 0
            brought |= brings.SILENCE if time - last >= context.policy.min_silence else 0
            brought |= brings.ORDER if order is not None else 0
            brought |= brings.TOUCH if item.channel is not None or item.first_channel is not None else 0
            brought = brings.ANYTHING if anew or item.traits is not None else brought
            if brought & context.policy.moved_by or anew:
                stale = state.epoch != epoch and was != UNSEEN
                _regroup(state, item, context, effects, brought=brought, stale=stale)
    state.epoch = epoch
    hour = earliest_wake(state, context)
    state.wake = hour if hour > context.next_hour else context.next_hour  # noqa: FURB136 max() costs three times as much


def _regroup(
    state: UserState, item: Happening, context: Context, effects: Transition, *, brought: int, stale: bool
) -> None:
    """Segments and tiers as of the activity, which `brought` this (see `pipeline.features.base`). Entering one makes
    its rules due at once, unless the activity is late or nobody has looked since the adoption (`stale`).
    """
    at = segments.as_of(state)
    entered = segments.refresh(item.user, state, at, context, effects, brought=brought)
    if entered and not stale and not item.settled and at >= max(state.decided, segments.since_when(context)):
        for due in _by_segment(state, entered, at, context):
            decide(item.user, state, due, context, effects, revealed_by="clock")


def _by_segment(state: UserState, entered: list[str], at: int, context: Context) -> list[Due]:
    """The rules that fall due at `at` (effective ms) since these segments were entered."""
    found = []
    for order, rule in enumerate(context.policy.rules):
        if isinstance(rule.when, InSegment) and rule.when.segment in entered:
            found.append(episode_rule(rule, order, at, at + context.dark * HOUR, state))
    return found


def settle(
    state: UserState, user: str, until: int, context: Context, effects: Transition, *, revealed_by: RevealedBy
) -> bool:
    """Everything due before `until` (ms, real time), in order of its deadline; True if the row expires."""
    activity, recall, facts = state.activity, state.recall, effects.facts
    shift = context.dark * HOUR
    if recall is not None and recall.window_end and recall.window_end < until:
        effects.outputs.append(close(recall, user, facts))
    if not activity.days:
        return False
    effective = until - shift
    if state.check is not None:
        scores.mature(state, effective, facts)
    start = silence_start(activity)
    if not state.known:
        if start + VISITOR_EXPIRES >= effective or revealed_by != "clock":
            return False
        leave(state, (start + VISITOR_EXPIRES + shift) // DAY, facts)
        return True
    stages = context.policy.lifecycle
    due: list[tuple[int, int, int, int | Due]] = []
    if segments.concern(state, context) and segments.as_of(state) + 1 < effective:
        effects.look = look = segments.catch_up(user, state, effective, context, effects)
        state.epoch = context.epoch
        if look < effective:
            due.append((look, *_LOOK))
    if state.stage in {NEW, ACTIVE, RETURNED} and start + stages.at_risk < effective:
        due.append((start + stages.at_risk, -3, 0, AT_RISK))
    if state.stage != DORMANT and start + stages.dormant < effective:
        due.append((start + stages.dormant, -2, 0, DORMANT))
    floor = max(state.decided, context.adopted)
    due.extend((d.at, d.order, 0, d) for d in _deadlines(user, state, context) if floor <= d.at < effective)
    if recall is not None and recall.pending:
        still = waiting(state, context)
        known = {(d.rule.id, d.step) for d in still}
        recall.pending = [p for p in recall.pending if (p.rule, p.step) in known]
        due.extend((d.at, d.order, d.step, d) for d in still if d.at < effective)
    due.sort(key=_order)
    for at, _, _, what in due:  # a look adds to what is due after it
        if isinstance(what, Due):
            decide(user, state, what, context, effects, revealed_by=revealed_by)
        elif what == _LOOK[-1]:
            entered = segments.refresh(user, state, at, context, effects)
            if at >= max(state.decided, segments.since_when(context)):
                for found in _by_segment(state, entered, at, context):
                    insort(due, (at, found.order, found.step, found), key=_order)
            effects.look = look = segments.next_look(state, at, context)
            if look < effective:
                insort(due, (look, *_LOOK), key=_order)
        else:
            _move(state, "user", what, at + shift, facts)
            if what == DORMANT:
                facts.append((GROWTH, ((at + shift) // DAY, "user"), grown.DORMANT, 1))
    state.decided = max(state.decided, effective)
    if revealed_by == "clock":
        if any(order != _LOOK[0] for _, order, _, _ in due):
            scores.tell(state, effective, context, facts)
        _rate(state, min(TOP_BUCKET, int(p_alive(state, effective, context.policy) * 10)), facts)
    return False


def _order(found: tuple[int, int, int, int | Due]) -> tuple[int, int, int]:
    """By time, of equal ones at risk, dormant, segments and tiers, the rules as listed."""
    return found[:3]


def _deadlines(user: str, state: UserState, context: Context) -> list[Due]:
    return [spread_out(user, due, context) for due in rule_deadlines(state, context)]


def earliest_wake(state: UserState, context: Context) -> int:
    """A cheap lower bound (hour): nothing falls due before the shortest silence that matters. At the wake-up the
    exact time is found.
    """
    activity, recall = state.activity, state.recall
    earliest = NEVER * HOUR
    if activity.days:
        earliest = activity.last + (context.dark - activity.dark) * HOUR
        earliest += context.policy.min_silence if state.known else VISITOR_EXPIRES
        if state.known and not activity.activated:
            first = activity.first - activity.dark_first * HOUR
            for after in context.policy.reminders:
                if first + after >= state.decided:
                    earliest = min(earliest, first + after + context.dark * HOUR)
        if state.known and (context.policy.grouped or state.groups is not None):
            earliest = segments.soonest(state, context, earliest)
    if recall is not None:
        if recall.window_end and recall.window_end < earliest:
            earliest = recall.window_end
        for kept in recall.pending:
            earliest = min(earliest, kept.at)
    if state.check is not None:
        earliest = min(earliest, scores.matures_at(state.check) + context.dark * HOUR)
    return earliest // HOUR


def next_wake(user: str, state: UserState, context: Context, look: int | None = None) -> int:
    """The hour in which something falls due next, exactly; NEVER if nothing can. `look`: the next one at segments and
    tiers, if it is known.
    """
    recall = state.recall
    shift = context.dark * HOUR
    times = [recall.window_end] if recall is not None and recall.window_end else []
    times.extend(d.at + shift for d in waiting(state, context))
    if state.check is not None:
        times.append(scores.matures_at(state.check) + shift)
    if state.activity.days:
        start = silence_start(state.activity)
        if state.known:
            stages = context.policy.lifecycle
            if state.stage in {NEW, ACTIVE, RETURNED}:
                times.append(start + stages.at_risk + shift)
            if state.stage != DORMANT:
                times.append(start + stages.dormant + shift)
            times.extend(d.at + shift for d in _deadlines(user, state, context) if d.at >= state.decided)
            if segments.concern(state, context):
                if look is None:
                    look = segments.next_look(state, segments.as_of(state), context)
                times.append(look + shift)
        else:
            times.append(start + VISITOR_EXPIRES + shift)
    return min(NEVER, max(min(times) // HOUR, context.next_hour)) if times else NEVER


def _move(state: UserState, kind: str, stage: int, time: int, facts: list[Fact]) -> None:
    if state.stage != UNSEEN:
        facts.append((STAGE, (kind, STAGES[state.stage]), 0, -1))
    facts.append((STAGE, (kind, STAGES[stage]), 0, 1))
    state.stage, state.since = stage, time


def _rate(state: UserState, bucket: int, facts: list[Fact]) -> None:
    if bucket != state.risk:
        facts.append((RISK, (P_ALIVE_BUCKETS[state.risk],), 0, -1))
        facts.append((RISK, (P_ALIVE_BUCKETS[bucket],), 0, 1))
        state.risk = bucket


def leave(state: UserState, day: int, facts: list[Fact]) -> None:
    """The row goes: the stocks lose it."""
    if state.stage == UNSEEN:
        return
    scores.lose(state, facts)
    kind = "user" if state.known else "visitor"
    facts.append((STAGE, (kind, STAGES[state.stage]), 0, -1))
    if state.known:
        facts.append((RISK, (P_ALIVE_BUCKETS[state.risk],), 0, -1))
    segments.forget(state, facts)
    if state.stage != DORMANT:
        facts.append((GROWTH, (day, kind), grown.EXPIRED, 1))


def withdraws_consent(item: Happening) -> bool:
    """Whether the event takes back a consent, which applies however late it comes."""
    traits = item.traits
    if traits is None:
        return item.kind == "track" and item.event in UNSUBSCRIBE_EVENTS
    return traits.unsubscribed is True or (traits.consent is not None and not all(traits.consent.values()))


def _update_profile(state: UserState, item: Happening) -> None:
    """Consent and locale. A withdrawal always applies; a grant does not undo a later withdrawal."""
    traits = item.traits
    unsubscribes = item.event in UNSUBSCRIBE_EVENTS and item.kind == "track"
    if traits is None and not unsubscribes:
        return
    profile = state.profile or Profile()
    if unsubscribes:
        profile.unsubscribed = True
        profile.at = max(profile.at, item.time)
    if traits is not None:
        current = item.time >= profile.at
        if current:
            profile.timezone = traits.timezone or profile.timezone
            profile.locale = traits.locale or profile.locale
        stated = dict(traits.consent or {})
        if traits.unsubscribed is not None and (traits.unsubscribed or current):
            profile.unsubscribed = traits.unsubscribed
        consent = dict(profile.consent)
        for channel, given in sorted(stated.items()):
            if (not given or current) and (channel in consent or len(consent) < _MAX_CONSENTS):
                consent[channel] = given
        profile.consent = consent
        if stated or traits.unsubscribed is not None:
            profile.at = max(profile.at, item.time)
    if profile != Profile():
        state.profile = profile
