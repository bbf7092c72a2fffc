"""Segments and tiers: that section of docs/semantics.md."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pipeline.policy import InSegment, Rule, Segment, Test
from tests.reference.deciding import begun
from tests.reference.person import NEVER, User
from tests.reference.reading import DAY, HOUR
from tests.reference.scores import activity_of
from tests.reference.world import World

WINDOWS = {"orders_90d": (90, 0), "value_90d": (90, 1), "orders_365d": (365, 0), "value_365d": (365, 1)}
LATEST = 36_525 * 24
"""Hours of silence: a hundred years."""


def concern(world: World, user: User) -> bool:
    """Whether the user is to be evaluated at all."""
    there = world.policy.segments or world.policy.tiers or user.segments or user.tier
    return user.known and user.days > 0 and bool(there)


def moment(user: User) -> int:
    """The text's m."""
    return max(user.silence, user.floor - 1)


def catch_up(world: World, user: User, until: int) -> int:
    """The first look after m; before it, what an adoption or backfill brought. `until`: effective time."""
    at = moment(user)
    if user.stale:
        at = max(at, min(adoption(world), until) - 1)
        evaluate(world, user, at)
        user.stale = False
    return look(world, user, at)


def adoption(world: World) -> int:
    """The last one that matters here, in effective time."""
    return max(world.adopted, world.model_since, world.measured)


def active(world: World, user: User, *, before: str, backfill: bool, late: bool) -> list[Rule]:
    """After an activity of a user who was at stage `before`: the rules that are due by it, at m."""
    if not concern(world, user):
        user.stale = False
        return []
    if backfill:
        user.stale = True
        return []
    unseen, user.stale = user.stale and before != "unseen", False
    at = moment(user)
    entered = evaluate(world, user, at)
    return [] if late or unseen else due(world, user, entered, at)


def due(world: World, user: User, entered: list[str], at: int) -> list[Rule]:
    """The rules of the segments that were entered at `at`."""
    if at < max(user.floor, adoption(world)):
        return []
    rules = [r for r in world.policy.rules if isinstance(r.when, InSegment) and r.when.segment in entered]
    return [rule for rule in rules if not begun(user, rule)]


def dates(world: World, user: User) -> list[int]:
    """When the first wake-up after an activity may have to be, in effective time."""
    if not concern(world, user):
        return []
    at = moment(user)
    if user.stale:
        return [at]
    tests = [test for group in (*world.policy.tiers, *world.policy.segments) for test in group.where]
    found = [change(world, user, test, at) for test in tests if test.feature.name in WINDOWS]
    for test in tests:
        if test.feature.name == "age_days":
            found += [user.beginning + int(limit) for limit in (test.at_least, test.below) if limit is not None]
    return [one for one in found if at < one < NEVER]


def evaluate(world: World, user: User, at: int) -> list[str]:
    """As of `at` (effective): the segments that were entered."""
    policy, time = world.policy, at + world.dark
    tier = next((tier.id for tier in policy.tiers if all(holds(world, user, t, at) for t in tier.where)), "")
    left, since = user.tier, user.tier_since
    if tier != left:
        user.tier, user.tier_since = tier, time if tier else 0
        _say(world, user, time, ("tier", "leave", left), since)
        _say(world, user, time, ("tier", "enter", tier), time)
    inside = [s.id for s in policy.segments if all(holds(world, user, t, at) for t in s.where)]
    before, user.segments = user.segments, {}
    for name in inside:
        user.segments[name] = before.get(name, time)
    for name, entered in before.items():
        if name not in inside:
            _say(world, user, time, ("segment", "leave", name), entered)
    for name in inside:
        if name not in before:
            _say(world, user, time, ("segment", "enter", name), time)
    return [name for name in inside if name not in before]


def look(world: World, user: User, at: int) -> int:
    """The first moment after `at` at which silence may change something."""
    return min((_look(world, user, g, at) for g in (*world.policy.tiers, *world.policy.segments)), default=NEVER)


def _look(world: World, user: User, group: Segment, at: int) -> int:
    failing = [test for test in group.where if not holds(world, user, test, at)]
    if failing:
        return max(change(world, user, test, at) for test in failing)
    return min(change(world, user, test, at) for test in group.where)


def holds(world: World, user: User, test: Test, at: int) -> bool:
    """Whether the comparison holds as of `at`."""
    found = value(world, user, test.feature.name, at)
    if test.among:
        return found in test.among
    if test.top is not None:
        threshold = _threshold(world, test)
        return threshold is not None and bool(found >= threshold)
    return (test.at_least is None or found >= test.at_least) and (test.below is None or found < test.below)


def value(world: World, user: User, name: str, at: int) -> Any:
    """Of a feature, as of `at` (effective)."""
    lived, quiet = user.last - user.first, max(0, at - user.silence)
    hours = quiet // HOUR * HOUR
    if name in WINDOWS:
        days, part = WINDOWS[name]
        today = (at + world.dark) // DAY
        return sum(entry[part] for day, entry in user.order_days.items() if day > today - days)
    if name == "risk" and world.model is not None:
        return world.model.predict(world.model.features(activity_of(user), user.silence + hours))
    found: dict[str, Callable[[], Any]] = {
        "silence_days": lambda: quiet,
        "age_days": lambda: max(0, at - user.beginning),
        "active_days": lambda: user.days,
        "activated": lambda: user.activated,
        "first_channel": lambda: user.channels[0],
        "last_channel": lambda: user.channels[1],
        "locale": lambda: user.profile.get("locale"),
        "orders": lambda: user.orders,
        "spent": lambda: user.spent,
        "lifecycle": lambda: _stage(world, user, quiet),
        "tier": lambda: user.tier,
        "p_alive": lambda: world.policy.risk.p_alive(user.days - 1, lived, lived + hours),
        "risk": lambda: world.policy.risk.p_none(user.days - 1, lived, lived + hours, 30 * DAY),
    }
    return found[name]()


def _stage(world: World, user: User, quiet: int) -> str:
    stages = world.policy.lifecycle
    if quiet >= stages.dormant:
        return "dormant"
    return "at_risk" if quiet >= stages.at_risk and user.stage in ("new", "active", "returned") else user.stage


def change(world: World, user: User, test: Test, at: int) -> int:
    """The first later moment at which the comparison is no longer as it is."""
    name = test.feature.name
    if test.among:
        return min((t for t in _stages(world, user) if t > at), default=NEVER) if name == "lifecycle" else NEVER
    limits = [limit for limit in (test.at_least, test.below, _threshold(world, test)) if limit is not None]
    if not holds(world, user, test, at) and len(limits) == 2:
        limits = limits[:1] if value(world, user, name, at) < limits[0] else limits[1:]
    return min((_reaches(world, user, name, limit, at) for limit in limits), default=NEVER)


def _threshold(world: World, test: Test) -> float | None:
    """Of a `top`, as adopted."""
    return None if test.top is None else world.quantiles.get(test.feature.name, {}).get(test.top)


def _stages(world: World, user: User) -> list[int]:
    awake = user.stage in ("new", "active", "returned")
    at_risk, dormant = user.silence + world.policy.lifecycle.at_risk, user.silence + world.policy.lifecycle.dormant
    return [*([at_risk] if awake else []), *([dormant] if user.stage != "dormant" else [])]


def _reaches(world: World, user: User, name: str, limit: float, at: int) -> int:
    def other(then: int) -> bool:
        return bool(value(world, user, name, then) >= limit) != bool(value(world, user, name, at) >= limit)

    if name in ("silence_days", "age_days"):
        when = (user.silence if name == "silence_days" else user.beginning) + int(limit)
        return when if when > at else NEVER
    if name in WINDOWS:
        midnights = sorted((day + WINDOWS[name][0]) * DAY - world.dark for day in user.order_days)
        return next((midnight for midnight in midnights if midnight > at and other(midnight)), NEVER)
    if name in ("p_alive", "risk"):  # they only fall, or rise
        low, high = max(0, at - user.silence) // HOUR, LATEST
        if not other(user.silence + high * HOUR):
            return NEVER
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if other(user.silence + middle * HOUR) else (middle, high)
        return user.silence + high * HOUR
    return NEVER


def _say(world: World, user: User, time: int, what: tuple[str, str, str], since: int) -> None:
    kind, change, name = what
    if not name:
        return
    user.changes += 1
    world.add("segments", (kind, name), "users", 1 if change == "enter" else -1)
    stamp = datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    parts = (world.tenant, user.key, kind, name, change, stamp, str(user.changes))
    identity = sha256("\x1f".join(parts).encode()).hexdigest()[:32]
    world.groups.append((user.key, kind, change, name, time, since, user.tier or None, identity))
