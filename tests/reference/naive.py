"""A second implementation of docs/semantics.md: one list of records, plain dictionaries; no wheel, chunks or partitions.

Written from the text, not from `pipeline/`. What it finds is compared with what the core finds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import xxhash

from pipeline.money import MoneyError, minor_units, to_reporting
from pipeline.policy import DEFAULT, Policy, Rule, Silence, channel_of, parse
from pipeline.records import LogRecord
from schemas.codec import DECODE_ERRORS, decode_control, decode_event, decode_order, decode_traits
from schemas.control import CONTROL_HEADER, CONTROL_KEY, Adopt, Domain, Gap, Hold, Pause, Release, Resume, Tick
from schemas.event import HOPELESS_IDS, MAX_BYTES, PASSIVE_EVENTS, SCHEMA_VERSION, UNSUBSCRIBE_EVENTS, Event, event_time

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
YEAR_1990: Final = 631_152_000_000
YEAR_2200: Final = 7_258_118_400_000
NEVER: Final = 1 << 62
Touch = tuple[int, str]


class Refused(Exception):
    """A dead letter, by its reason."""


class User:
    """A user, or a visitor (not `known`). `floor`: silence deadlines before it are settled (effective time)."""

    def __init__(self, known: bool) -> None:
        self.known, self.stage, self.since, self.risk, self.floor = known, "unseen", 0, 9, 0
        self.first = self.last = self.dark = self.days = self.ring = 0
        self.decayed, self.order_day, self.activated, self.last_id = (0.0, 0.0, 0.0), -1, False, ""
        self.wake: int | None = NEVER  # hour; None: to be found anew
        self.first_touch: Touch | None = None
        self.last_touch: Touch | None = None
        self.seen: list[tuple[str, int]] = []
        self.episode, self.contact = 0, None  # type: int, dict[str, Any] | None
        self.profile: dict[str, Any] = {}

    @property
    def channels(self) -> tuple[str, str]:
        """First and last."""
        return self.first_touch[1] if self.first_touch else "direct", self.last_touch[1] if self.last_touch else "direct"


class Naive:
    """Folds the records of one partition, one after the other."""

    def __init__(self, registry: Mapping[str, bytes], tenant: str = "default") -> None:
        self.registry, self.tenant, self.policy = registry, tenant, DEFAULT
        self.users: dict[str, User] = {}
        self.counts: Counter[str] = Counter()
        self.sums: Counter[tuple[str, tuple[str | int, ...], str]] = Counter()
        self.decisions: list[tuple[Any, ...]] = []
        self.outcomes: list[tuple[Any, ...]] = []
        self.deadletters: list[tuple[int, str]] = []
        self.live, self.tick, self.horizon, self.adopted = True, None, None, 0  # type: bool, int | None, int | None, int
        self.paused: set[str | None] = set()
        self.held, self.hour, self.dark_hours = False, None, []  # type: bool, int | None, list[int]
        self.rates: dict[int, int] = {}
        self.heard: Counter[int] = Counter()
        self.soonest = NEVER  # no user's wake-up lies before this hour: only saves time

    @property
    def clock(self) -> int | None:
        return None if self.horizon is None else self.horizon - self.policy.lateness

    @property
    def dark(self) -> int:
        return len(self.dark_hours)

    # -- records --------------------------------------------------------------------------------------------------------

    def fold(self, records: Sequence[LogRecord]) -> "Naive":
        for record in records:
            reserved = record.key == CONTROL_KEY
            marks = [value for name, value in record.headers if name == CONTROL_HEADER]
            try:
                if reserved and len(marks) == 1:
                    self.control(record, marks[0])
                    self.counts["control"] += 1
                    continue
                if reserved or marks:
                    raise Refused("forged_control")
                self.event(record)
            except Refused as reason:
                self.counts["rejected"] += 1
                self.deadletters.append((record.offset, str(reason)))
            self.counts["read"] += 1
        return self

    def control(self, record: LogRecord, kind: bytes) -> None:
        try:
            message = decode_control(record.value or b"")
        except DECODE_ERRORS:
            raise Refused("bad_control") from None
        if str(message.__struct_config__.tag).encode() != kind:
            raise Refused("bad_control")
        match message:
            case Domain(domain=domain):
                if self.counts["read"] + self.counts["control"]:
                    raise Refused("bad_control")
                self.live = domain == "live"
            case Tick(time=time):
                if (time is None) != self.live:
                    raise Refused("forged_control")
                if time is not None and not YEAR_1990 <= time < YEAR_2200:
                    raise Refused("bad_control")
                now = record.timestamp if time is None else time
                self.tick = now if self.tick is None else max(now, self.tick)
                self.advance(now)
            case Adopt(policy=digest):
                if digest is not None:
                    now, self.policy = self.clock or 0, parse(self.registry[f"policy/{digest}"])
                    self.adopted = max(now, record.timestamp if self.live else 0) - self.dark * HOUR
                    self.soonest = 0
                    for user in self.users.values():
                        user.wake = None
            case Hold():
                self.held = True
            case Release():
                self.held = False
                self.rates.clear()
            case Pause(rule=rule):
                self.paused.add(rule)
            case Resume(rule=rule):
                self.paused = set() if rule is None else self.paused - {rule}
            case Gap(start=start, end=end):
                self.counts["lost"] += end - start

    def event(self, record: LogRecord) -> None:
        event, key, time, order, traits = self.admitted(record)
        backfill = event.context is not None and event.context.backfill
        withdrawn = (event.type == "track" and event.event in UNSUBSCRIBE_EVENTS) or (
            traits is not None and (traits.unsubscribed is True or False in (traits.consent or {}).values())
        )
        context = event.context
        passive = event.type in ("alias", "delete") or (event.type == "track" and event.event in PASSIVE_EVENTS)
        active = not passive and (context is None or context.active is not False)
        user = self.users.get(key)
        if self.clock is not None and time < self.clock - 7 * DAY and not backfill:
            if event.type != "delete" and not withdrawn:
                raise Refused("too_late")
            active = False
        if user is not None and event.messageId in [name for name, _ in user.seen]:
            self.counts["duplicate"] += 1
            return
        if not backfill:
            self.advance(time)
            user = self.users.get(key)
        clock = self.clock or 0
        late = time < clock and not backfill
        self.counts.update(applied=1, backfilled=backfill, late=late)
        if late or backfill:
            self.counts["dedupe_unsure"] += (user is not None and len(user.seen) == 32) or time < clock - 48 * HOUR
        else:
            self.heard[time // HOUR] += 1
        if event.type == "delete" or (user is not None and not user.known and event.userId is not None):
            if user is not None:
                self.leave(key, user, time)
            if event.type == "delete":
                return
            seen, user = user.seen if user is not None else [], None
        else:
            seen = user.seen if user is not None else []
        if user is None:
            user = User(event.userId is not None)
        self.state_consent(user, event, time, traits)
        if active:
            begins = time > user.last
            now = max(clock, record.timestamp if self.live and backfill else 0) - self.dark * HOUR
            if begins and backfill:
                user.floor = max(user.floor, now, time - self.dark * HOUR)
            self.settle(key, user, time, "event")
            if begins and (late or backfill):
                user.floor = max(user.floor, now)
            self.act(key, user, event, time, order, traits)
            user.wake = max(self.earliest(user), self.hour or 0)
            self.soonest = min(self.soonest, user.wake)
        if user.days or user.profile:
            hour = self.hour or 0
            user.seen = [entry for entry in seen if entry[1] + 48 >= hour or False][-31:] + [(event.messageId, hour)]
            self.users[key] = user

    def admitted(self, record: LogRecord) -> tuple[Event, str, int, tuple[int | None] | None, Any]:
        if not record.value:
            raise Refused("tombstone")
        if len(record.value) >= MAX_BYTES:
            raise Refused("too_large")
        if record.key is None:
            raise Refused("null_key")
        try:
            event = decode_event(record.value)
        except msgspec.ValidationError as error:
            raise Refused("unknown_type" if "Invalid enum value" in str(error) and "$.type" in str(error) else "wrong_type") from None
        except DECODE_ERRORS:
            raise Refused("malformed_json") from None
        key = event.userId if event.userId is not None else event.anonymousId
        if key is None or key in HOPELESS_IDS or not key.strip():
            raise Refused("bad_id")
        if key.encode() != record.key:
            raise Refused("key_mismatch")
        if event.schemaVersion not in (None, SCHEMA_VERSION):
            raise Refused("unknown_version")
        time = event_time(event, record.timestamp if self.live else None)
        if time is None:
            raise Refused("no_time")
        if time < YEAR_1990:
            raise Refused("absurd_time")
        if event.type == "track" and event.event is None:
            raise Refused("wrong_type")
        order = traits = None
        try:
            if event.type == "identify" and bytes(event.traits):
                traits = decode_traits(event.traits)
            if event.type == "track" and event.event in self.policy.orders:
                order = self.order(event)
        except DECODE_ERRORS:
            raise Refused("wrong_type") from None
        if event.type in ("delete", "alias") and event.userId is None:
            raise Refused("bad_id")
        ahead = record.timestamp if self.live else None if self.tick is None else self.tick + HOUR
        if ahead is None or time > ahead + self.policy.skew:
            raise Refused("time_in_future")
        return event, key, time, order, traits

    def order(self, event: Event) -> tuple[int | None]:
        """An order's worth in the reporting currency; None if no rate is known."""
        found = decode_order(event.properties) if bytes(event.properties) else None
        amounts = [] if found is None else [a for a in (found.revenue, found.total, found.value) if a is not None]
        rates = self.policy.currency
        currency = (found.currency if found is not None else None) or rates.reporting
        if not amounts:
            return (0,)
        try:
            return (to_reporting(minor_units(amounts[0], currency), currency, rates),)
        except MoneyError as error:
            raise Refused(error.reason) from None

    # -- time and silence

    def advance(self, time: int) -> None:
        self.horizon = time if self.horizon is None else max(self.horizon, time)
        closed = (self.horizon - self.policy.lateness) // HOUR
        if self.hour is None:
            self.hour = min([closed, *(self.earliest(user) for user in self.users.values())])
        while self.hour < closed:
            hour, self.hour = self.hour, self.hour + 1
            if self.judge(hour):
                self.dark_hours.append(hour)
                continue
            if hour < self.soonest:
                continue
            for key in sorted(self.users, key=str.encode):
                user = self.users[key]
                if (self.earliest(user) if user.wake is None else user.wake) <= hour:
                    self.settle(key, user, self.hour * HOUR, "clock")
                    user.wake = self.next(user)
            wakes = [user.wake for user in self.users.values()]
            self.soonest = 0 if None in wakes else min(wakes, default=NEVER)  # type: ignore[type-var, assignment]

    def earliest(self, user: User) -> int:
        """The hour of the first wake-up after an event: nothing can fall due before."""
        least = self.policy.min_silence if user.known else 30 * DAY
        times = [user.last + least + (self.dark - user.dark) * HOUR] if user.days else []
        return min([*times, *([user.contact["end"]] if user.contact and user.contact["open"] else [])], default=NEVER) // HOUR

    def next(self, user: User) -> int:
        """The hour of the wake-up after a wake-up: the next thing that can fall due."""
        dark = self.dark * HOUR
        times = [at + dark for at, _, what in self.due(user) if not isinstance(what, Rule) or at >= user.floor]
        if user.contact and user.contact["open"]:
            times.append(user.contact["end"])
        return max(min(times, default=NEVER) // HOUR, self.hour or 0)

    def judge(self, hour: int) -> bool:
        count, slot = self.heard.pop(hour, 0) * 16, hour % 168
        rate = self.rates.get(slot)
        guard = self.policy.guard
        if self.held or (rate is not None and rate >= 16 * guard.min_expected and count < guard.dark_below * rate):
            return True
        if rate is not None:
            self.rates[slot] = rate + (count - rate) // 4
        elif count:
            self.rates[slot] = count
        return False

    def due(self, user: User) -> list[tuple[int, int, Any]]:
        """Deadlines of the current silence in effective time: (deadline, order among equals, stage or rule)."""
        silence, stages = user.last - user.dark * HOUR, self.policy.lifecycle
        if not user.days:
            return []
        if not user.known:
            return [(silence + 30 * DAY, 0, "gone")]
        found: list[tuple[int, int, Any]] = []
        if user.stage in ("new", "active", "returned"):
            found.append((silence + stages.at_risk, -2, "at_risk"))
        if user.stage != "dormant":
            found.append((silence + stages.dormant, -1, "dormant"))
        return found + [(self.deadline(rule, user, silence), i, rule) for i, rule in enumerate(self.policy.rules)]

    def settle(self, key: str, user: User, until: int, by: str) -> None:
        """Everything of this user that is due before `until`."""
        dark = self.dark * HOUR
        if user.contact is not None and user.contact["open"] and user.contact["end"] < until:
            self.measure(user)
        for deadline, _, what in sorted(self.due(user), key=lambda d: d[:2]):
            if deadline >= until - dark:
                break
            if what == "gone":
                if by == "clock":
                    self.leave(key, user, deadline + dark)
                return
            if isinstance(what, str):
                self.move(user, what, deadline + dark)
                if what == "dormant":
                    self.grow(deadline + dark, user, "dormant")
            elif deadline >= max(user.floor, self.adopted):
                self.decide(key, user, what, deadline + dark, by == "event")
        if user.known and user.days:
            user.floor = max(user.floor, until - dark)
            if by == "clock":
                lived = user.last - user.first
                silent = max(0, until - dark - (user.last - user.dark * HOUR))
                self.rate(user, min(9, int(10 * self.policy.risk.p_alive(user.days - 1, lived, lived + silent))))

    def deadline(self, rule: Rule, user: User, silence: int) -> int:
        if isinstance(rule.when, Silence):
            return silence + rule.when.after
        if user.days < rule.when.min_active_days:
            return 1 << 60
        age = user.last - user.first
        return silence + max(rule.when.min_silence, self.policy.risk.crossing(user.days - 1, age, rule.when.threshold) - age)

    def decide(self, key: str, user: User, rule: Rule, deadline: int, back: bool) -> None:
        assert self.clock is not None
        live, contact, profile = rule.mode == "live", user.contact, user.profile
        failed = [
            reason
            for reason, fails in (
                ("returned", back),
                ("expired", self.clock >= deadline + rule.expires_after),
                ("episode_taken", live and user.episode == user.last),
                ("paused", bool(self.paused & {None, rule.id})),
                ("unsubscribed", profile.get("unsubscribed", False)),
                ("no_consent", profile.get("consent", {}).get(rule.channel) is False),
                ("cooldown", contact is not None and deadline < max(contact["at"] + rule.cooldown, contact["end"])),
                ("shadow_mode", not live),
            )
            if fails
        ]
        verdicts = {"returned": "returned", "expired": "stale", "episode_taken": "episode_taken", "shadow_mode": "shadow"}
        drawn = xxhash.xxh3_64_intdigest("\x1f".join((self.policy.salt, key, rule.id)).encode()) < rule.holdout * 2**64
        verdict = verdicts.get(failed[0], "suppressed") if failed else "holdout" if drawn else "send"
        if live and verdict in ("send", "holdout", "suppressed"):
            user.episode = user.last
        name = "\x1f".join((self.tenant, key, rule.id, str(user.last), "0"))
        trigger = sha256(name.encode()).hexdigest()[:32]
        self.sums["decisions", (deadline // DAY, rule.id, verdict, failed[0] if failed else ""), "count"] += 1
        self.decisions.append((key, rule.id, deadline, verdict, failed, trigger))
        if verdict in ("send", "holdout"):
            arm = "holdout" if drawn else "treatment"
            end = deadline + rule.goal.within
            user.contact = {"id": trigger, "rule": rule.id, "arm": arm, "at": deadline, "end": end, "goal": rule.goal.event,
                            "open": True, "back": None}
            self.sums["outcomes", (deadline // DAY, rule.id, arm), "decided"] += 1

    def measure(self, user: User, goal: int | None = None, value: int | None = None) -> None:
        contact = user.contact
        if contact is None or not contact["open"]:
            return
        contact["open"] = False
        cell = (contact["at"] // DAY, contact["rule"], contact["arm"])
        self.sums["outcomes", cell, "measured"] += 1
        self.sums["outcomes", cell, "returned"] += contact["back"] is not None
        self.sums["outcomes", cell, "recalled"] += goal is not None
        self.sums["outcomes", cell, "value"] += value or 0
        self.outcomes.append((contact["id"], contact["arm"], goal is not None, contact["back"], goal, value, contact["end"]))

    # -- a user's event

    def state_consent(self, user: User, event: Event, time: int, traits: Any) -> None:
        """A withdrawal always counts; what else is said does unless something later was said."""
        unsubscribes = event.type == "track" and event.event in UNSUBSCRIBE_EVENTS
        if not user.known or (traits is None and not unsubscribes):
            return
        profile: dict[str, Any] = {"consent": {}, "at": 0, **user.profile}
        if unsubscribes:
            profile["unsubscribed"], stated = True, True
        else:
            current, stated = time >= profile["at"], traits.unsubscribed is not None or bool(traits.consent)
            for name in ("timezone", "locale", "unsubscribed"):
                value = getattr(traits, name)
                if (current and value is not None and value != "") or value is True:
                    profile[name] = value
            for channel, given in sorted((traits.consent or {}).items()):
                if (current or not given) and (channel in profile["consent"] or len(profile["consent"]) < 16):
                    profile["consent"] = profile["consent"] | {channel: given}
        if stated:
            profile["at"] = max(profile["at"], time)
        if profile != {"consent": {}, "at": 0}:
            user.profile = profile

    def act(self, key: str, user: User, event: Event, time: int, order: tuple[int | None] | None, traits: Any) -> None:
        day, before, begins = time // DAY, user.stage, time > user.last
        fresh = self.observe(user, time, event.messageId)
        touch = traits.first_touch if traits is not None and user.first_touch is None else None
        if touch is not None:
            self.touch(user, time, (touch.source, touch.medium, touch.campaign), touch.referrer)
        context = event.context
        campaign, page = (context.campaign, context.page) if context is not None else (None, None)
        fields = (campaign.source, campaign.medium, campaign.name) if campaign is not None else (None, None, None)
        self.touch(user, time, fields, page.referrer if page is not None else None)
        first_channel, last_channel = user.channels
        if fresh:
            self.sums["channels", (day, last_channel), "visitors"] += 1
        if before == "unseen":
            self.move(user, "new", time)
            self.grow(time, user, "new")
            if user.known:
                self.sums["channels", (day, first_channel), "new_users"] += 1
        elif before == "dormant" and begins:
            self.move(user, "returned", time)
            self.grow(time, user, "returned")
        elif fresh:
            self.grow(time, user, "retained")
        stays = {
            "new": user.first + self.policy.lifecycle.new_for,
            "returned": user.since + self.policy.lifecycle.returned_for,
            "active": 1 << 60,
        }
        if begins:
            if before not in ("unseen", "dormant") and time >= stays.get(before, 0):
                self.move(user, "active", time)
            self.rate(user, 9)
        activation = self.policy.activation
        if activation is not None and event.event == activation.event and user.known and not user.activated:
            if time - user.first <= activation.within:
                user.activated = True
                self.sums["channels", (day, first_channel), "activated"] += 1
        if order is not None:
            self.sums["channels", (day, last_channel), "orders"] += 1
            self.sums["channels", (day, last_channel), "unpriced"] += order[0] is None
            self.sums["channels", (day, last_channel), "revenue"] += order[0] or 0
            self.sums["channels", (day, last_channel), "buyers"] += day != user.order_day
            user.order_day = max(day, user.order_day)
        contact = user.contact
        if contact is not None and contact["open"] and contact["at"] <= time:
            contact["back"] = contact["back"] or time
            if time <= contact["end"] and contact["goal"] in (None, event.event):
                self.measure(user, time, order[0] if order else None)

    def touch(self, user: User, time: int, fields: tuple[str | None, ...], referrer: str | None) -> None:
        if not any(fields) and not referrer:
            return
        host = urlsplit(referrer).hostname if referrer else None
        touch = (time, channel_of(self.policy, *fields, host))  # type: ignore[call-arg, arg-type]
        if user.first_touch is None or time < user.first_touch[0]:
            user.first_touch = touch
        if user.last_touch is None or time >= user.last_touch[0]:
            user.last_touch = touch

    def observe(self, user: User, time: int, message_id: str) -> bool:
        """Whether the day is newly counted."""
        forgotten = max(self.dark_hours, default=0) - 8 * 24  # older dark hours count as before every moment
        dark = sum(hour < time // HOUR or hour <= forgotten for hour in self.dark_hours)
        user.last_id = message_id if user.known and time >= user.last else user.last_id
        day, before = time // DAY, user.last // DAY
        if not user.days:
            user.first = user.last = time
            user.days, user.ring, user.decayed, user.dark = 1, 1, (1.0, 1.0, 1.0), dark
            return True
        gap = day - before
        fresh = gap > 0 or (-gap < 64 and not user.ring >> -gap & 1) or (day < user.first // DAY)
        if fresh:
            user.days += 1
            if gap > 0:
                user.decayed = tuple(  # type: ignore[assignment]
                    (c * 2.0 ** (-gap / h) if gap < 1024 else 0.0) + 1.0 for c, h in zip(user.decayed, (7, 30, 90), strict=True))
                user.ring = (user.ring << gap | 1) & ((1 << 64) - 1) if gap < 64 else 1
            else:
                user.decayed = tuple(  # type: ignore[assignment]
                    c + (2.0 ** (gap / h) if -gap < 1024 else 0.0) for c, h in zip(user.decayed, (7, 30, 90), strict=True))
                user.ring |= 1 << -gap if -gap < 64 else 0
        user.first = min(user.first, time)
        if time >= user.last:
            user.last, user.dark = time, dark
        return fresh

    # -- sums -----------------------------------------------------------------------------------------------------------

    def grow(self, time: int, user: User, field: str) -> None:
        self.sums["growth", (time // DAY, "user" if user.known else "visitor"), field] += 1

    def move(self, user: User, stage: str, time: int) -> None:
        kind = "user" if user.known else "visitor"
        self.sums["stage", (kind, user.stage), "users"] -= user.stage != "unseen"
        self.sums["stage", (kind, stage), "users"] += stage != "unseen"
        if user.known and user.stage == "unseen":
            self.sums["risk", (f"{user.risk / 10:.1f}",), "users"] += 1
        if stage != user.stage:
            user.stage, user.since = stage, time

    def rate(self, user: User, bucket: int) -> None:
        if user.known:
            self.sums["risk", (f"{user.risk / 10:.1f}",), "users"] -= 1
            self.sums["risk", (f"{bucket / 10:.1f}",), "users"] += 1
            user.risk = bucket

    def leave(self, key: str, user: User, time: int) -> None:
        if user.stage != "unseen":
            if user.stage != "dormant":
                self.grow(time, user, "expired")
            self.sums["stage", ("user" if user.known else "visitor", user.stage), "users"] -= 1
            if user.known:
                self.sums["risk", (f"{user.risk / 10:.1f}",), "users"] -= 1
        del self.users[key]
