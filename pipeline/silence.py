"""What falls due while a user is silent: lifecycle, segments, rules, ends of goal windows; and when it does next."""

from bisect import insort
from typing import Final

from pipeline import scores, segments
from pipeline.context import Context, Due, RevealedBy, Transition
from pipeline.deadlines import NEVER
from pipeline.lifecycle import ACTIVE, AT_RISK, DORMANT, NEW, RETURNED
from pipeline.outcome import close
from pipeline.policy import InSegment
from pipeline.recall import begun, decide, episode_rule, rule_deadlines, spread_out, waiting
from pipeline.risk.model import silence_start
from pipeline.state import TOP_BUCKET, UserState
from pipeline.stocks import leave, move, rate
from pipeline.sums import GROWTH
from pipeline.sums import growth as grown
from pipeline.units import DAY, HOUR

VISITOR_EXPIRES: Final = 30 * DAY
_LOOK: Final = (-1, 0, -1)
"""Order and kind of a look at segments and tiers among what is due: after the lifecycle, before the rules."""


def by_segment(state: UserState, entered: list[str], at: int, context: Context) -> list[Due]:
    """The rules that fall due at `at` (effective ms) since these segments were entered."""
    found = []
    for order, rule in enumerate(context.policy.rules):
        if type(rule.when) is InSegment and rule.when.segment in entered:
            found.append(episode_rule(rule, order, at, at + context.dark * HOUR, state))
    return [due for due in found if not begun(state.recall, due)]


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
    stale = revealed_by == "clock" and state.epoch != context.epoch
    grouped = context.policy.grouped or state.groups is not None
    if grouped and segments.concern(state, context) and (stale or segments.as_of(state) + 1 < effective):
        effects.look = look = segments.catch_up(user, state, effective, context, effects)
        state.epoch = context.epoch
        if look < effective:
            due.append((look, *_LOOK))
    if state.stage in {NEW, ACTIVE, RETURNED} and start + stages.at_risk < effective:
        due.append((start + stages.at_risk, -3, 0, AT_RISK))
    if state.stage != DORMANT and start + stages.dormant < effective:
        due.append((start + stages.dormant, -2, 0, DORMANT))
    floor = max(state.decided, context.adopted)
    effects.deadlines = own = rule_deadlines(state, context)
    due.extend([(d.at, d.order, 0, d) for d in _open(user, state, own, context) if floor <= d.at < effective])
    if recall is not None and recall.pending:
        still = waiting(state, context)
        known = {(d.rule.id, d.step) for d in still}
        recall.pending = [p for p in recall.pending if (p.rule, p.step) in known]
        due.extend((d.at, d.order, d.step, d) for d in still if d.at < effective)
    due.sort(key=_order)
    for at, _, _, what in due:  # a look adds to what is due after it
        if type(what) is Due:
            decide(user, state, what, context, effects, revealed_by=revealed_by)
        elif what == _LOOK[-1]:
            entered = segments.refresh(user, state, at, context, effects)
            if at >= max(state.decided, segments.since_when(context)):
                for found in by_segment(state, entered, at, context):
                    insort(due, (at, found.order, found.step, found), key=_order)
            effects.look = look = segments.next_look(state, at, context)
            if look < effective:
                insort(due, (look, *_LOOK), key=_order)
        else:
            move(state, "user", what, at + shift, facts)
            if what == DORMANT:
                facts.append((GROWTH, ((at + shift) // DAY, "user"), grown.DORMANT, 1))
    state.decided = max(state.decided, effective)
    if revealed_by == "clock":
        if context.model is not None and any(order != _LOOK[0] for _, order, _, _ in due):
            scores.tell(state, effective, context, facts)
        lived = activity.last - activity.first
        alive = context.policy.risk.p_alive(activity.days - 1, lived, lived + effective - start)
        rate(state, min(TOP_BUCKET, int(alive * 10)), facts)
    return False


def _order(found: tuple[int, int, int, int | Due]) -> tuple[int, int, int]:
    """By time, of equal ones at risk, dormant, segments and tiers, the rules as listed."""
    return found[:3]


def _open(user: str, state: UserState, own: list[Due], context: Context) -> list[Due]:
    """Of the rules' deadlines those that can still come, in the backlog where there is one."""
    recall, policy = state.recall, context.policy
    if not policy.spreads and (recall is None or not (recall.pending or policy.reminders)):  # nothing has begun
        return own
    return [spread_out(user, state, due, context) for due in own if not begun(state.recall, due)]


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


def next_wake(user: str, state: UserState, context: Context, found: Transition | None = None) -> int:
    """The hour in which something falls due next, exactly; NEVER if nothing can. `found`: of the `settle` before, whose
    deadlines and look at segments and tiers still hold.
    """
    recall = state.recall
    shift = context.dark * HOUR
    times = [NEVER * HOUR]
    if recall is not None:
        if recall.window_end:
            times.append(recall.window_end - shift)
        if recall.pending:
            times.extend([due.at for due in waiting(state, context)])
    if state.check is not None:
        times.append(scores.matures_at(state.check))
    if state.activity.days:
        start = silence_start(state.activity)
        if state.known:
            stages = context.policy.lifecycle
            if state.stage in {NEW, ACTIVE, RETURNED}:
                times.append(start + stages.at_risk)
            if state.stage != DORMANT:
                times.append(start + stages.dormant)
            own = None if found is None else found.deadlines
            own = rule_deadlines(state, context) if own is None else own
            times.extend([due.at for due in _open(user, state, own, context) if due.at >= state.decided])
            if segments.concern(state, context):
                look = None if found is None else found.look
                if look is None:
                    look = segments.next_look(state, segments.as_of(state), context)
                times.append(look)
        else:
            times.append(start + VISITOR_EXPIRES)
    return min(NEVER, max((min(times) + shift) // HOUR, context.next_hour))
