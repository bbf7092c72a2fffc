"""What falls due by silence, and what an activity changes: "Activity" and "Lifecycle" of docs/semantics.md."""

from typing import Literal
from urllib.parse import urlsplit

from pipeline.policy import NotActivated, Rule, channel_of
from tests.reference import contacts, deciding, groups, scores
from tests.reference.buying import bought
from tests.reference.person import NEVER, User, Waiting
from tests.reference.reading import DAY, HOUR, Admitted
from tests.reference.world import World


def earliest(world: World, user: User) -> int:
    """The hour of the first wake-up after an event: nothing can fall due before."""
    least = world.policy.min_silence if user.known else 30 * DAY
    times = [user.silence + least + world.dark] if user.days else []
    if user.known and user.days and not user.activated:
        whens = [rule.when for rule in world.policy.rules]
        ages = [user.beginning + when.after for when in whens if isinstance(when, NotActivated)]
        times += [at + world.dark for at in ages if at >= user.floor]
    times += [at + world.dark for at in groups.dates(world, user)]
    return _hour(world, user, times)


def following(world: World, user: User) -> int:
    """The hour of the wake-up after a wake-up: the next thing that can fall due."""
    found = [at + world.dark for at, _, what in due(world, user) if isinstance(what, str) or at >= user.floor]
    if groups.concern(world, user):
        look = groups.look(world, user, groups.moment(user)) if user.look is None else user.look
        found.append(min(look + world.dark, NEVER))
    return max(_hour(world, user, found), world.hour or 0)


def _hour(world: World, user: User, times: list[int]) -> int:
    windows = [user.measured.end] if user.measured else []
    windows += [user.score.until + world.dark] if user.score else []
    return min([*times, *windows, *(waits.at for waits in user.waiting)], default=NEVER) // HOUR


def due(world: World, user: User) -> list[tuple[int, int, str | Rule]]:
    """Deadlines of the user in effective time: (deadline, order among equals, stage or rule)."""
    stages, rules = world.policy.lifecycle, world.policy.rules
    if not user.days:
        return []
    if not user.known:
        return [(user.silence + 30 * DAY, 0, "gone")]
    found: list[tuple[int, int, str | Rule]] = []
    if user.stage in ("new", "active", "returned"):
        found.append((user.silence + stages.at_risk, -2, "at_risk"))
    if user.stage != "dormant":
        found.append((user.silence + stages.dormant, -1, "dormant"))
    times = [
        (deciding.deadline(world, user, rule), i, rule)
        for i, rule in enumerate(rules)
        if not deciding.begun(user, rule)
    ]
    return [*found, *(one for one in times if one[0] < NEVER)]


def settle(world: World, user: User, until: int, by: Literal["clock", "event"]) -> None:
    """Everything of this user that is due before `until`; what only begins to wait now is for the next time."""
    if user.measured is not None and user.measured.end < until:
        contacts.measure(world, user)
    if by == "clock":
        scores.close(world, user, until - world.dark)
    user.waiting = [waits for waits in user.waiting if deciding.rule_of(world, waits) is not None]
    order = {rule.id: number for number, rule in enumerate(world.policy.rules)}
    waits = [(w.at, order[w.rule], w.step, w) for w in user.waiting]
    floor = max(user.floor, world.adopted)
    fresh = [one for one in due(world, user) if isinstance(one[2], str) or one[0] >= floor]
    found: list[tuple[int, float, int, Waiting | str | Rule]] = [
        *waits,
        *((at + world.dark, number, 0, what) for at, number, what in fresh),
    ]
    told, user.look = False, None
    stale = user.stale and by == "clock"
    if groups.concern(world, user) and (stale or groups.moment(user) + 1 < until - world.dark):
        user.look = groups.catch_up(world, user, until - world.dark)
        found.append((user.look + world.dark, -0.5, 0, "look"))
    found.sort(key=lambda one: one[:3])
    for at, _, _, what in found:
        if at >= until:
            break
        if what == "look":
            entered = groups.evaluate(world, user, at - world.dark)
            found += [(at, order[rule.id], 0, rule) for rule in groups.due(world, user, entered, at - world.dark)]
            user.look = groups.look(world, user, at - world.dark)
            found.append((user.look + world.dark, -0.5, 0, "look"))
            found.sort(key=lambda one: one[:3])
            continue
        told = True
        if isinstance(what, Waiting):
            user.waiting.remove(what)
            deciding.decide(world, user, what, at, back=by == "event")
        elif what == "gone":
            if by == "clock":
                world.leave(user, at)
            return
        elif isinstance(what, str):
            world.move(user, what, at)
            if what == "dormant":
                world.grow(at, user, "dormant")
        else:
            deciding.decide(world, user, deciding.fresh(user, what, at), at, back=by == "event")
    if user.known and user.days:
        user.floor = max(user.floor, until - world.dark)
        if by == "clock":
            if told:
                scores.tell(world, user, until - world.dark)
            lived = user.last - user.first
            silent = max(0, until - world.dark - user.silence)
            world.rate(user, min(9, int(10 * world.policy.risk.p_alive(user.days - 1, lived, lived + silent))))


def comes_back(world: World, user: User, time: int) -> None:
    """An activity after the last ends what waits by rules of kind recall."""
    for waits in list(user.waiting):
        rule = deciding.rule_of(world, waits)
        if rule is not None and rule.kind == "recall":
            user.waiting.remove(waits)
            if waits.reasons:
                deciding.decide(world, user, waits, time, back=True)


def act(world: World, user: User, item: Admitted) -> None:
    """An activity: of the row, the lifecycle, the sums and the goal."""
    event, time, order, context = item.event, item.time, item.order, item.event.context
    day, before, begins = time // DAY, user.stage, time > user.last
    scores.hear(world, user, time)
    earliest = not user.days or time < user.first
    fresh = user.observe(time, world.dark_before(time), event.messageId)
    told = item.traits.first_touch if item.traits is not None and user.last_touch is None else None
    campaign, page = (context.campaign, context.page) if context is not None else (None, None)
    touches = [(told.source, told.medium, told.campaign, told.referrer)] if told is not None else []
    fields = (campaign.source, campaign.medium, campaign.name) if campaign is not None else (None, None, None)
    brought = []
    for *names, referrer in (*touches, (*fields, page.referrer if page is not None else None)):
        if any(names) or referrer:
            host = urlsplit(referrer).hostname if referrer else None
            brought.append(channel_of(world.policy, names[0], names[1], names[2], host))
            user.touch(time, brought[-1])
    if earliest or (told is not None and any(touches[0])):
        user.came = (time, brought[0] if brought else "direct")
    first_channel, last_channel = user.channels
    if fresh:
        world.add("channels", (day, last_channel), "visitors")
    if before == "unseen":
        world.move(user, "new", time)
        world.grow(time, user, "new")
        if user.known:
            world.add("channels", (day, first_channel), "new_users")
    elif before == "dormant" and begins:
        world.move(user, "returned", time)
        world.grow(time, user, "returned")
    elif fresh:
        world.grow(time, user, "retained")
    stays = {
        "new": user.first + world.policy.lifecycle.new_for,
        "returned": user.since + world.policy.lifecycle.returned_for,
        "active": 1 << 60,
    }
    if begins:
        if before not in ("unseen", "dormant") and time >= stays.get(before, 0):
            world.move(user, "active", time)
        world.rate(user, 9)
    activation = world.policy.activation
    reached = activation is not None and event.event == activation.event and time - user.first <= activation.within
    if reached and user.known and not user.activated:
        user.activated = True
        world.add("channels", (day, first_channel), "activated")
    if order is not None:
        world.add("channels", (day, last_channel), "orders")
        world.add("channels", (day, last_channel), "unpriced", order < 0)
        world.add("channels", (day, last_channel), "revenue", max(0, order))
        world.add("channels", (day, last_channel), "buyers", day != user.order_day)
        user.order_day = max(day, user.order_day)
        if user.known:
            bought(user, time, order, item.items)
    contact = user.measured
    if contact is not None and contact.at <= time:
        contact.back = contact.back or time
        if time <= contact.end and contact.goal in (None, event.event):
            contacts.measure(world, user, time, None if order is None or order < 0 else order)
