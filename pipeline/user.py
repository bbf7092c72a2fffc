"""The one place where a user changes: `step`. No clock, no randomness, no I/O: time arrives with the item."""

from pipeline import journey, lifecycle, profile, scores, segments
from pipeline.activity import Activity, observe
from pipeline.contacts import Feedback, report
from pipeline.context import Context, Transition
from pipeline.features import base as brings
from pipeline.happening import Deadline, Happening
from pipeline.lifecycle import DORMANT, UNSEEN
from pipeline.outcome import count, note_return
from pipeline.purchases import buy
from pipeline.recall import come_back, decide
from pipeline.silence import by_segment, earliest_wake, next_wake, settle
from pipeline.state import TOP_BUCKET, Orders, Profile, UserState
from pipeline.stocks import leave, move, rate
from pipeline.sums import CHANNELS, GROWTH, RISK, Fact
from pipeline.sums import growth as grown
from pipeline.sums.channels import ACTIVATED, BUYERS, NEW_USERS, ORDERS, REVENUE, UNPRICED, VISITORS
from pipeline.sums.population import P_ALIVE_BUCKETS
from pipeline.units import DAY, HOUR


def step(state: UserState, item: Happening | Deadline, context: Context) -> Transition:
    """Advance one user by one item. `state` is changed in place and returned with its next wake-up set."""
    effects = Transition(state)
    if type(item) is Deadline:
        if settle(state, item.user, item.until, context, effects, revealed_by="clock"):
            effects.state = None
        else:
            state.wake = next_wake(item.user, state, context, effects)
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
        profile.update(state, item)
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
    known = state.profile or Profile()
    report(recall, known, feedback, time, lambda field: count(recall, facts, field))
    if known != Profile():
        state.profile = known


def _act(state: UserState, item: Happening, context: Context, effects: Transition) -> None:
    """Activity: counters, channel, order, lifecycle, an open goal window, the next wake-up."""
    activity, trip, time, facts = state.activity, state.journey, item.time, effects.facts
    day = time // DAY
    kind = "user" if state.known else "visitor"
    was, last = state.stage, activity.last
    if time > last and state.recall is not None and state.recall.pending:
        come_back(item.user, state, time, context, effects)
    first = not activity.days or time < activity.first
    new_day = observe(activity, time, item.dark)
    if item.first_channel is not None and not trip.touches:  # told of the time before, when nobody knew them
        journey.arrive(trip, item.first_channel, time)
        journey.touch(trip, item.first_channel, time)
    elif first:
        journey.arrive(trip, item.channel, time)
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
            move(state, kind, stage, time, facts)
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
        rate(state, TOP_BUCKET, facts)

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
            if effects.look is not None:  # one that falls on the activity itself was not taken before it
                anew = anew or effects.look <= time - context.dark * HOUR
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
        for due in by_segment(state, entered, at, context):
            decide(item.user, state, due, context, effects, revealed_by="clock")
