"""A second implementation of docs/semantics.md: one list of records; no wheel, chunks or partitions.

Written from the text, not from `pipeline/`. What it finds is compared with what the core finds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import xxhash

from pipeline.policy import DEFAULT, Rule, Silence, channel_of, parse
from pipeline.records import LogRecord
from schemas.codec import DECODE_ERRORS, decode_control
from schemas.control import CONTROL_HEADER, CONTROL_KEY, Adopt, Domain, Gap, Hold, Pause, Release, Resume, Tick
from tests.reference.person import DAY, NEVER, User
from tests.reference.reading import HOUR, YEAR_1990, Admitted, Refused, admit

YEAR_2200: Final = 7_258_118_400_000


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
        self.certificates: list[tuple[bytes, int, int]] = []
        self.marks: dict[bytes, list[int]] = {}  # until, offset, applied, refused, last; by the user's key
        self.live, self.held, self.adopted = True, False, 0
        self.tick: int | None = None
        self.horizon: int | None = None
        self.hour: int | None = None  # the first that is not closed
        self.paused: set[str | None] = set()
        self.dark_hours: list[int] = []
        self.rates: dict[int, int] = {}
        self.heard: Counter[int] = Counter()
        self.soonest = NEVER  # no user's wake-up lies before this hour: only saves time

    @property
    def clock(self) -> int | None:
        return None if self.horizon is None else self.horizon - self.policy.lateness

    @property
    def dark(self) -> int:
        return len(self.dark_hours)

    # -- records

    def fold(self, records: Sequence[LogRecord]) -> "Naive":
        for record in records:
            reserved = record.key == CONTROL_KEY
            marks = [value for name, value in record.headers if name == CONTROL_HEADER]
            try:
                if reserved or marks:
                    self.control(record, marks)
                    self.counts["control"] += 1
                    continue
                self.event(record)
            except Refused as reason:
                self.counts["rejected"] += 1
                self.deadletters.append((record.offset, str(reason)))
                key = record.key or b""
                if key in self.marks and (str(reason) == "erased" or key.decode() not in self.users):
                    until, offset, applied, refused, last = self.marks[key]
                    self.marks[key] = [until, offset, applied, refused + 1, max(last, record.timestamp)]
            self.counts["read"] += 1
        return self

    def control(self, record: LogRecord, marks: list[bytes]) -> None:
        if record.key != CONTROL_KEY or len(marks) != 1:
            raise Refused("forged_control")
        try:
            message = decode_control(record.value or b"")
        except DECODE_ERRORS:
            raise Refused("bad_control") from None
        if str(message.__struct_config__.tag).encode() != marks[0]:
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
        ahead = record.timestamp if self.live else None if self.tick is None else self.tick + HOUR
        item = admit(record, self.policy, ahead, live=self.live)
        event, key, time, backfill, active = item.event, item.key, item.time, item.backfill, item.active
        user = self.users.get(key)
        until = self.marks[key.encode()][0] if key.encode() in self.marks else 0
        if time <= until:
            raise Refused("erased")
        if self.clock is not None and time < self.clock - 7 * DAY and not backfill:
            if event.type != "delete" and not item.withdraws:
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
        seen, known = ([], 0) if user is None else (user.seen, user.last)
        if user is not None and (event.type == "delete" or (event.userId is not None and not user.known)):
            self.leave(key, user, time)
            user = None
        if event.type == "delete":
            *_, refused, last = self.marks.get(key.encode(), (0, 0))
            mark = [max(time, known), record.offset, record.timestamp, refused, max(last, record.timestamp)]
            self.marks[key.encode()] = mark
            self.certificates.append((key.encode(), mark[0], record.offset))
            return
        user = user or User(event.userId is not None)
        user.state(item)
        if active:
            begins = time > user.last
            now = max(clock, record.timestamp if self.live and backfill else 0) - self.dark * HOUR
            if begins and backfill:
                user.floor = max(user.floor, now, time - self.dark * HOUR)
            self.settle(key, user, time, "event")
            if begins and (late or backfill):
                user.floor = max(user.floor, now)
            self.act(user, item)
            user.wake = max(self.earliest(user), self.hour or 0)
            self.soonest = min(self.soonest, user.wake)
        if user.days or user.profile:
            hour = self.hour or 0
            user.seen = [*[entry for entry in seen if entry[1] + 48 >= hour][-31:], (event.messageId, hour)]
            self.users[key] = user

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
        windows = [user.contact["end"]] if user.contact and user.contact["open"] else []
        return min([*times, *windows], default=NEVER) // HOUR

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
        return [*found, *((self.deadline(r, user, silence), i, r) for i, r in enumerate(self.policy.rules))]

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
                self.decide(key, user, what, deadline + dark, back=by == "event")
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
        crossing = self.policy.risk.crossing(user.days - 1, age, rule.when.threshold)
        return silence + max(rule.when.min_silence, crossing - age)

    def decide(self, key: str, user: User, rule: Rule, deadline: int, *, back: bool) -> None:
        assert self.clock is not None
        live, contact, profile = rule.mode == "live", user.contact, user.profile
        open_until = contact["end"] if contact is not None and contact["open"] else 0
        failed = [
            reason
            for reason, fails in (
                ("returned", back),
                ("expired", self.clock >= deadline + rule.expires_after),
                ("episode_taken", live and user.episode == user.last),
                ("paused", bool(self.paused & {None, rule.id})),
                ("unsubscribed", profile.get("unsubscribed", False)),
                ("no_consent", profile.get("consent", {}).get(rule.channel) is False),
                ("cooldown", contact is not None and deadline < max(contact["at"] + rule.cooldown, open_until)),
                ("shadow_mode", not live),
            )
            if fails
        ]
        verdicts = {
            "returned": "returned",
            "expired": "stale",
            "episode_taken": "episode_taken",
            "shadow_mode": "shadow",
        }
        hashed = xxhash.xxh3_64_intdigest(f"{self.policy.salt}\x1f{key}\x1f{rule.id}".encode())
        drawn = hashed < rule.holdout * 2**64
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
            user.contact = {
                "id": trigger,
                "rule": rule.id,
                "arm": arm,
                "at": deadline,
                "end": end,
                "goal": rule.goal.event,
                "open": True,
                "back": None,
            }
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
        self.outcomes.append(
            (contact["id"], contact["arm"], goal is not None, contact["back"], goal, value, contact["end"])
        )

    # -- a user's event

    def act(self, user: User, item: Admitted) -> None:
        event, time, order, context = item.event, item.time, item.order, item.event.context
        day, before, begins = time // DAY, user.stage, time > user.last
        forgotten = max(self.dark_hours, default=0) - 8 * 24  # older dark hours count as before every moment
        dark = sum(hour < time // HOUR or hour <= forgotten for hour in self.dark_hours)
        fresh = user.observe(time, dark, event.messageId)
        told = item.traits.first_touch if item.traits is not None and user.first_touch is None else None
        campaign, page = (context.campaign, context.page) if context is not None else (None, None)
        touches = [(told.source, told.medium, told.campaign, told.referrer)] if told is not None else []
        fields = (campaign.source, campaign.medium, campaign.name) if campaign is not None else (None, None, None)
        for *names, referrer in (*touches, (*fields, page.referrer if page is not None else None)):
            if any(names) or referrer:
                host = urlsplit(referrer).hostname if referrer else None
                user.touch(time, channel_of(self.policy, names[0], names[1], names[2], host))
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
        reached = activation is not None and event.event == activation.event and time - user.first <= activation.within
        if reached and user.known and not user.activated:
            user.activated = True
            self.sums["channels", (day, first_channel), "activated"] += 1
        if order is not None:
            self.sums["channels", (day, last_channel), "orders"] += 1
            self.sums["channels", (day, last_channel), "unpriced"] += order < 0
            self.sums["channels", (day, last_channel), "revenue"] += max(0, order)
            self.sums["channels", (day, last_channel), "buyers"] += day != user.order_day
            user.order_day = max(day, user.order_day)
        contact = user.contact
        if contact is not None and contact["open"] and contact["at"] <= time:
            contact["back"] = contact["back"] or time
            if time <= contact["end"] and contact["goal"] in (None, event.event):
                self.measure(user, time, None if order is None or order < 0 else order)

    # -- sums

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
