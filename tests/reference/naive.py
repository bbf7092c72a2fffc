"""A second implementation of docs/semantics.md: one list of records; no wheel, chunks or partitions.

Written from the text, not from `pipeline/`. What it finds is compared with what the core finds.
"""

from collections.abc import Sequence
from typing import Final

from pipeline.policy import parse
from pipeline.records import LogRecord
from pipeline.risk import from_json
from schemas.codec import DECODE_ERRORS, decode_control, decode_lease, decode_quantiles
from schemas.control import CONTROL_HEADER, CONTROL_KEY, Adopt, Domain, Gap, Hold, Pause, Release, Resume, Tick
from tests.reference import contacts, deciding, groups, scores
from tests.reference.person import NEVER, User
from tests.reference.reading import DAY, HOUR, YEAR_1990, Admitted, Refused, admit
from tests.reference.silence import act, comes_back, earliest, following, settle
from tests.reference.world import World

YEAR_2200: Final = 7_258_118_400_000


class Naive(World):
    """Folds the records of one partition, one after the other."""

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
            case Adopt():
                self.adopt(message, record.timestamp)
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

    def adopt(self, message: Adopt, appended: int) -> None:
        since = max(self.clock or 0, appended if self.live else 0) - self.dark
        if message.policy is not None:
            self.policy, self.adopted = parse(self.registry[f"policy/{message.policy}"]), since
            before, self.switched = self.switched, {}
            for rule in self.policy.rules:
                mode, earlier = before.get(rule.id, ("", 0))
                self.switched[rule.id] = (rule.mode, earlier if mode == rule.mode else since)
        if message.model is not None:
            self.model = from_json(self.registry[f"model/{message.model}"]) if message.model else None
            self.model_since, self.model_version = since, message.model[:12]
        if message.quantiles is not None:
            body = self.registry[f"quantiles/{message.quantiles}"] if message.quantiles else b'{"features": {}}'
            self.quantiles, self.measured = decode_quantiles(body).features, since
        if message.lease is not None:
            self.lease = decode_lease(self.registry[f"lease/{message.lease}"]).perks
        if message.policy is not None or message.model is not None or message.quantiles is not None:
            self.soonest = 0
            for user in self.users.values():
                user.wake, user.stale = None, True

    def event(self, record: LogRecord) -> None:
        item = admit(record, self.policy, record.timestamp if self.live else self.tick, live=self.live)
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
            scores.lose(self, user)
            self.leave(user, time)
            user = None
        if event.type == "delete":
            *_, refused, last = self.marks.get(key.encode(), (0, 0))
            mark = [max(time, known), record.offset, record.timestamp, refused, max(last, record.timestamp)]
            self.marks[key.encode()] = mark
            self.certificates.append((key.encode(), mark[0], record.offset))
            return
        user = user or User(key, event.userId is not None)
        user.state(item)
        if item.feedback is not None:
            contacts.report(self, user, *item.feedback, time)
        if active:
            now = max(clock, record.timestamp if self.live and backfill else 0) - self.dark
            self.activity(user, item, now if late or backfill else 0)
        if user.days or user.profile:
            hour = self.hour or 0
            user.seen = [*[entry for entry in seen if entry[1] + 48 >= hour][-31:], (event.messageId, hour)]
            self.users[key] = user

    def activity(self, user: User, item: Admitted, settled: int) -> None:
        """`settled`: deadlines before it are not decided for the silence that a late or backfilled event begins."""
        begins = item.time > user.last
        if begins and item.backfill:
            user.floor = max(user.floor, settled, item.time - self.dark)
        if settled or user.wake is None or user.stale or item.time // HOUR >= user.wake:
            settle(self, user, item.time, "event")
        if begins:
            user.floor = max(user.floor, settled)
            comes_back(self, user, item.time)
        before = user.stage
        act(self, user, item)
        for rule in groups.active(self, user, before=before, backfill=item.backfill, late=settled > 0):
            at = groups.moment(user) + self.dark
            deciding.decide(self, user, deciding.fresh(user, rule, at), at, back=False)
        user.wake = None if user.stale else max(earliest(self, user), self.hour or 0)
        self.soonest = min(self.soonest, user.wake or 0)

    # -- time

    def advance(self, time: int) -> None:
        self.horizon = time if self.horizon is None else max(self.horizon, time)
        closed = (self.horizon - self.policy.lateness) // HOUR
        if self.hour is None:
            self.hour = min([closed, *(earliest(self, user) for user in self.users.values())])
        while self.hour < closed:
            hour, self.hour = self.hour, self.hour + 1
            if self.judge(hour):
                self.dark_hours.append(hour)
                continue
            if hour < self.soonest:
                continue
            for key in sorted(self.users, key=str.encode):
                user = self.users[key]
                if (earliest(self, user) if user.wake is None else user.wake) <= hour:
                    settle(self, user, self.hour * HOUR, "clock")
                    user.wake = following(self, user)
            wakes = [user.wake for user in self.users.values()]
            self.soonest = 0 if None in wakes else min(wakes, default=NEVER)  # type: ignore[type-var, assignment]

    def judge(self, hour: int) -> bool:
        """Whether this hour was dark; learns from it if not."""
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
