"""One partition of the user topic: its clock, its rows, its deadlines and its sums. Every driver calls this and
nothing else.

`fold` reads records; `commit` hands over, as one unit, everything that changed since the last one. State =
fold(snapshot, the rest of the log): cutting the log into chunks, or restarting between any two records, changes
nothing.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from pipeline import dedupe
from pipeline.admission import Channels, Rejection, admit
from pipeline.context import EVERY_RULE, Context, Transition
from pipeline.control import is_control, read_control
from pipeline.deadlines import NEVER, Wheel
from pipeline.erasure import Mark, Marks, WrongKey, check_value
from pipeline.guard import Guard
from pipeline.happening import Deadline, Happening
from pipeline.library import Library
from pipeline.outbox import Outbox
from pipeline.perks import Purse
from pipeline.policy import DEFAULT, Policy
from pipeline.position import Position, check_core, decode_position, encode_position
from pipeline.profile import is_asked_for
from pipeline.records import Commit, CoreError, MissingBody, Record, UnknownVersion, UnreadableBody
from pipeline.silence import earliest_wake
from pipeline.state import UserState, decode_row, encode_row, schedule_of
from pipeline.stocks import leave
from pipeline.sums import Cells, Fact
from pipeline.units import DAY, HOUR
from pipeline.user import step
from schemas.control import CONTROL_KEY, Adopt, Domain, Gap, Hold, Pause, Release, Resume, Tick
from schemas.partitioner import partition_of

LATE_LIMIT: Final = 7 * DAY
# How far the player's ticks are apart: in `played` an event may lie that much after the last one.
PLAYED_TICK: Final = HOUR
_PAUSE_RECORDS: Final = 2_000
_PAUSE_WAKES: Final = 5_000

_decode_guard = msgspec.msgpack.Decoder(Guard).decode
_encode_guard = msgspec.msgpack.Encoder().encode


class Partition:
    """The pure core of partition `number` of `count`. `registry` maps keys of the registry topic to bodies; `tenant`
    is a part of every trigger's id; `topic` only names the source in dead letters; `secret` keys the marks of users who
    were erased, and is the same for the life of a log.
    """

    def __init__(
        self,
        number: int,
        count: int,
        registry: Mapping[str, bytes],
        *,
        tenant: str = "default",
        topic: str = "users",
        secret: bytes = b"",
    ) -> None:
        self.number = number
        self.count = count
        self.position = Position(erasure_key=check_value(secret))
        self.guard = Guard()
        self.cells = Cells()
        self.rows: dict[bytes, bytes] = {}
        self.wheel = Wheel()
        self.marks = Marks(secret)
        self._library = Library(registry)
        purse = Purse({}, self.cells.values)
        self._context = Context(DEFAULT, tenant, purse=purse, hourly=self.position.hourly, partitions=count)
        self._channels = Channels(DEFAULT)
        self._hot: dict[bytes, UserState | None] = {}  # rows changed since the last commit, decoded; None: gone
        self._changed: list[tuple[bytes, bytes | None]] = []  # the same, encoded: records of the changelog
        self._outbox = Outbox(topic, number)
        self._moved = False
        self._guard_moved = False
        self._last: Record | None = None
        self._failed: CoreError | None = None
        self._since_pause = 0  # users visited by sweeps since the last pause

    # -- reading

    @property
    def offset(self) -> int:
        """The next record to fold; -1 if none was folded yet."""
        return self.position.offset

    @property
    def last_record(self) -> tuple[int, int, int] | None:
        """(offset, timestamp, CRC) of the last record folded: by it a topic that was recreated is recognised."""
        return self.position.last

    @property
    def clock(self) -> int | None:
        """ms; None before the first tick or event."""
        horizon = self.position.horizon
        return None if horizon is None else horizon - self._context.policy.lateness

    @property
    def policy(self) -> Policy:
        """The adopted policy."""
        return self._context.policy

    def restore(self, changelog: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Load a changelog: (key, value) in log order, a later one wins, None removes. Raises UnknownVersion,
        MissingBody, UnreadableBody, WrongKey.
        """
        latest: dict[bytes, bytes] = {}
        rows = self.rows
        for key, value in changelog:
            kind = key[:1]
            if kind == b"u":
                if value is None:
                    rows.pop(key[1:], None)
                else:
                    rows[key[1:]] = value
            elif value is not None:
                latest[key] = value
        if b"p" in latest:
            expected, self.position = self.position.erasure_key, decode_position(latest.pop(b"p"))
            if self.position.erasure_key not in {"", expected}:  # "": of before there were marks
                raise WrongKey
            self.position.erasure_key = expected
        if b"g" in latest:
            self.guard = _decode_guard(latest.pop(b"g"))
        for key, value in latest.items():
            if key[:1] == b"s":
                self.cells.restore(key[1:], value)
            elif key[:1] == b"e":
                self.marks.restore(key[1:], value)
        position = self.position
        policy = self._library.policy(position.policy) if position.policy else DEFAULT
        self._use(
            msgspec.structs.replace(
                self._context,
                policy=policy,
                epoch=position.epoch,
                adopted=position.adopted,
                dark=self.guard.dark,
                next_hour=position.judged + 1 if position.judged else position.next_hour,
                paused=frozenset(position.paused),
                since={rule: at for rule, (_, at) in position.since.items()},
                hourly=position.hourly,
                modelled=position.modelled,
                quantiles=self._library.quantiles(position.quantiles),
                measured=position.measured,
            )
        )
        self._use_model(position.model)
        self._use_lease(position.lease)
        for key in rows:
            self.wheel.put(max(self._due_hour(key), position.next_hour), key)

    def forget(self, erased: Mapping[bytes, Mark]) -> None:
        """Erase users by marks whose records were lost before they were folded: of a restored state, before the rest of
        the log.
        """
        for name, mark in erased.items():
            self.marks.put(name, mark)
        for key, state in list(self.states()):
            found = self.marks.find(key)
            if found is not None and found.name in erased and state.activity.last <= found.mark.until:
                facts: list[Fact] = []
                leave(state, found.mark.until // DAY, facts)
                self.cells.add(facts)
                self._hot[key] = None

    # -- folding

    def fold(self, records: Sequence[Record]) -> Iterator[None]:
        """Fold records in the order of the log; those before `offset` are passed over.

        Pauses at safe points, at least every 2,000 records and 5,000 wake-ups: there and at the end `commit` may be
        called. Raises MissingBody before consuming the record that needs it; CoreError if the core fails;
        UnknownVersion if the log asks for a newer core.
        """
        position = self.position
        since_pause = 0
        skips = self._library.skips
        for record in records:
            if record.offset < position.offset:
                continue
            try:
                if (record.headers or record.key == CONTROL_KEY) and is_control(record):
                    if not self._skip(record):
                        yield from self._control(record)
                elif skips and self._skip(record):
                    pass
                else:
                    recorded = record.timestamp if position.domain == "live" else None
                    item = admit(record, self._context.policy, self._channels, recorded)
                    if isinstance(item, Rejection):
                        self._reject(record, item)
                    elif (state := self._examine(record, item)) is not None:
                        if not item.backfill and self._move_clock(item.time):
                            yield from self._advance(record)
                            state = self._state(item.key) or self._stranger(item)
                        self._apply(record, item, state)
            except (MissingBody, UnknownVersion, UnreadableBody):
                raise
            except Exception as error:
                self._failed = CoreError(self.number, record.offset, error)
                raise self._failed from error
            position.offset = record.offset + 1
            self._last, self._moved = record, True
            since_pause += 1
            if since_pause >= _PAUSE_RECORDS:
                since_pause = 0
                yield

    def commit(self) -> Commit:
        """Everything that changed since the last commit, as one unit to write; synchronous. After a CoreError it is
        raised again: half of a record may have been folded, and nothing of it is to be kept.
        """
        if self._failed is not None:
            raise self._failed
        self._store_hot()
        changelog, self._changed = self._changed, []
        for cell, value in self.cells.take():
            changelog.append((b"s" + cell, value))
        for name, mark in self.marks.take():
            changelog.append((b"e" + name, mark))
        if self._guard_moved:
            changelog.append((b"g", _encode_guard(self.guard)))
            self._guard_moved = False
        if self._moved or changelog:  # rows never go without the position that they belong to
            last = self._last
            if last is not None:
                crc = zlib.crc32(last.value or b"", zlib.crc32(last.key or b""))
                self.position.last = (last.offset, last.timestamp, crc)
            changelog.append((b"p", encode_position(self.position)))
            self._moved = False
        return Commit(changelog, self._outbox.take(), self.position.offset)

    def states(self) -> Iterator[tuple[bytes, UserState]]:
        """Every user's state as of now, decoded, sorted by key."""
        for key in sorted(self.rows.keys() | self._hot.keys()):
            state = self._hot[key] if key in self._hot else decode_row(self.rows[key])
            if state is not None:
                yield key, state

    # -- events

    def _examine(self, record: Record, item: Happening) -> UserState | None:
        """The user's state if the event is to be applied; None if it was rejected or is a duplicate (and has been
        counted).
        """
        position, key, time = self.position, item.key, item.time
        limit = self._latest_time(record)
        if limit is None or time > limit:
            if limit is None or not is_asked_for(item):
                why = "later than the record's own time and the allowed skew"
                self._reject(record, Rejection("time_in_future", "time", why))
                return None
            time = item.time = position.tick if position.domain == "played" and position.tick else record.timestamp
            item.active = False
        state = self._hot.get(key) or self._state(key)
        if state is None:
            if partition_of(key, self.count) != self.number:
                why = f"murmur2 puts this key on another partition than {self.number}"
                self._reject(record, Rejection("wrong_partition", "validate", why))
                return None
            state = self._stranger(item)
        if time <= state.activity.erased:
            self._reject(record, Rejection("erased", "erased", "of before the user was erased; nothing of it is kept"))
            return None
        horizon = position.horizon
        if horizon is not None and time < horizon - self._context.policy.lateness - LATE_LIMIT:
            if not (item.backfill or is_asked_for(item)):
                self._reject(
                    record, Rejection("too_late", "time", "more than 7 days behind the clock; replay it as backfill")
                )
                return None
            item.active = item.active and item.backfill
        if dedupe.holds(state.seen, item.digest):
            position.counts.read += 1
            position.counts.duplicate += 1
            return None
        return state

    def _apply(self, record: Record, item: Happening, state: UserState) -> None:
        position, context, counts = self.position, self._context, self.position.counts
        time = item.time
        late = position.horizon is not None and time < context.clock
        if late or item.backfill:
            now = context.clock
            if item.backfill:
                counts.backfilled += 1
                if position.domain == "live":
                    now = max(now, record.timestamp)
            else:
                counts.late += 1
            item.settled = now - context.dark * HOUR
            item.dark = self.guard.dark_before(time)
            if len(state.seen) >= dedupe.FULL or time < context.clock - dedupe.WINDOW * HOUR:
                counts.dedupe_unsure += 1
        else:
            item.dark = context.dark
            self.guard.count(time // HOUR)
            self._guard_moved = True
        counts.read += 1
        counts.applied += 1
        state.seen = dedupe.remember(state.seen, item.digest, context.next_hour)
        self._keep(item.key, state.wake, step(state, item, context), record)
        if item.kind == "delete":
            until = max(time, state.activity.last)  # whatever was known of them is of before
            self._outbox.erasure(self.marks.erase(item.key, until, record.offset, record.timestamp), time)

    def _latest_time(self, record: Record) -> int | None:
        """An event later than this (ms) is refused; None: every event, since no tick has said what time it is."""
        position, skew = self.position, self._context.policy.skew
        if position.domain == "live":
            return record.timestamp + skew
        return None if position.tick is None else position.tick + PLAYED_TICK + skew

    def _stranger(self, item: Happening) -> UserState:
        """Somebody of whom nothing is known, except that they may have been erased."""
        state = UserState(known=item.known)
        state.activity.erased = self.marks.until(item.key)
        return state

    def _state(self, key: bytes) -> UserState | None:
        state = self._hot.get(key)
        if state is None and key not in self._hot:
            row = self.rows.get(key)
            return None if row is None else decode_row(row)
        return state

    def _keep(self, key: bytes, before: int, transition: Transition, record: Record) -> None:
        """Take in what a step did. `before` is the hour of the user's last wake-up call, NEVER for a stranger."""
        state = transition.state
        if state is not None and (state.activity.days or state.profile is not None):
            self._hot[key] = state
            hour = state.wake
            if hour < before:
                self.wheel.put(hour, key)
        elif key in self.rows or key in self._hot:  # gone, or a visitor who left and of whom nothing else is known yet
            self._hot[key] = None
        if transition.facts:
            self.cells.add(transition.facts)
        if transition.contacted or transition.crossed:
            self._count_contacts(transition)
        for message in transition.outputs:
            self._outbox.add(key, message, record)

    def _count_contacts(self, transition: Transition) -> None:
        """Contacts by rules with a ceiling; one that reaches it is paused until an operator resumes it."""
        position, context = self.position, self._context
        hour = context.next_hour
        for rule in transition.contacted:
            known, count = position.hourly.get(rule, (hour, 0))
            position.hourly[rule] = [hour, count + 1 if known == hour else 1]
        if transition.crossed:
            context.paused |= set(transition.crossed)
            position.paused = sorted(context.paused)

    def _reject(self, record: Record, why: Rejection) -> None:
        counts = self.position.counts
        counts.read += 1
        counts.rejected += 1
        marked = None if record.key is None else self.marks.find(record.key)
        if marked is not None and why.reason != "erased" and self._state(record.key or b"") is not None:
            marked = None  # they are there again, and it may be theirs of now
        if marked is not None:
            self.marks.refuse(marked, record.timestamp)
        self._outbox.dead_letter(record, why, self.position.core, marked)

    def _skip(self, record: Record) -> bool:
        """Whether an operator asked to pass over this record, which then is a dead letter."""
        skip = self._library.skip(self.number, record.offset)
        if skip is None:
            return False
        self.position.counts.skipped += 1
        self._reject(record, Rejection("skipped", "skip", skip.reason))
        return True

    # -- time

    def _move_clock(self, time: int) -> bool:
        """Time has come to `time` (ms); True if an hour has closed by it that is not swept yet."""
        position, context = self.position, self._context
        if position.horizon is None or time > position.horizon:
            position.horizon = time
            context.clock = time - context.policy.lateness
        return context.clock // HOUR > position.next_hour

    def _advance(self, record: Record) -> Iterator[None]:
        """Close every hour before the clock: judge the source, then wake whoever is due, in order of (hour, key)."""
        position, context, guard, wheel = self.position, self._context, self.guard, self.wheel
        target = context.clock // HOUR
        if not position.next_hour:  # the first time: before the first entry there is nothing to sweep
            keys = self.rows.keys() | self._hot.keys()
            position.next_hour = min(target, min(map(self._due_hour, keys), default=target))
            context.next_hour = position.next_hour
        while (hour := position.next_hour) < target:
            self._moved = True
            if position.judged < hour:
                position.judged = hour
                self._guard_moved = True
                if guard.close(hour, context.policy.guard):
                    context.dark = guard.dark
                    wheel.postpone(hour)
                    position.next_hour = context.next_hour = hour + 1
                    continue
            context.next_hour = hour + 1
            yield from self._sweep(hour, record)
            wheel.drop(hour)
            position.next_hour = hour + 1

    def _sweep(self, hour: int, record: Record) -> Iterator[None]:
        """Wake whoever is due in `hour`. A pause may fall anywhere between two users: the rows tell who was woken."""
        woken: set[bytes] = set()
        for key in self.wheel.due(hour):
            due = self._due_hour(key)
            if due > hour:  # seen since it was put here
                self.wheel.put(due, key)
            else:
                woken.add(key)
            if self._slice_is_full():
                yield
        context, counts, until = self._context, self.position.counts, (hour + 1) * HOUR
        for key in sorted(woken):
            counts.woken += 1
            state = self._state(key) or UserState()  # whoever is gone is due never
            self._keep(key, NEVER, step(state, Deadline(key.decode(), until), context), record)
            if self._slice_is_full():
                yield

    def _slice_is_full(self) -> bool:
        """Count a user; counted over hours, since a long gap closes many in which few are due."""
        self._since_pause += 1
        if self._since_pause < _PAUSE_WAKES:
            return False
        self._since_pause = 0
        return True

    def _due_hour(self, key: bytes) -> int:
        """When `key` is to be woken: by its row, or anew if that was set under another policy. NEVER if it is gone."""
        if key in self._hot:
            state = self._hot[key]
            if state is None:
                return NEVER
            hour, epoch = state.wake, state.epoch
        else:
            row = self.rows.get(key)
            if row is None:
                return NEVER
            hour, epoch = schedule_of(row)
        if epoch == self._context.epoch:
            return hour
        state = self._state(key)
        return NEVER if state is None else earliest_wake(state, self._context)

    # -- control

    def _control(self, record: Record) -> Iterator[None]:
        message = read_control(record, self.position)
        if isinstance(message, Rejection):
            self._reject(record, message)
            return
        position, guard, context = self.position, self.guard, self._context
        match message:
            case Tick():
                time = record.timestamp if message.time is None else message.time
                position.tick = time if position.tick is None else max(position.tick, time)
                if self._move_clock(time):
                    yield from self._advance(record)
            case Adopt():
                self._library.need(message)
                if message.core is not None:
                    check_core(message.core)
                    position.core = max(position.core, message.core)
                if message.lease is not None:
                    self._use_lease(message.lease)
                if message.quantiles is not None:
                    yield from self._adopt_quantiles(message.quantiles, record)
                if message.model is not None:
                    yield from self._adopt_model(message.model, record)
                if message.policy is not None:
                    yield from self._adopt(message.policy, record)
            case Domain():
                position.domain = message.domain
            case Hold():
                guard.held, self._guard_moved = True, True
            case Release():
                guard.release()
                self._guard_moved = True
            case Pause():
                context.paused |= {message.rule or EVERY_RULE}
            case Resume():
                context.paused = frozenset() if message.rule is None else context.paused - {message.rule}
            case Gap():
                position.counts.lost += message.end - message.start
        position.paused = sorted(context.paused)
        position.counts.control += 1

    def _adopt(self, digest: str, record: Record) -> Iterator[None]:
        """Decide by another policy from here on. Deadlines before now change the lifecycle when their user is next
        woken, and open no episode.
        """
        policy, position, old = self._library.policy(digest), self.position, self._context
        adopted = self._now(record)
        since: dict[str, tuple[str, int]] = {}
        for rule in policy.rules:
            mode, at = position.since.get(rule.id, ("", adopted))
            since[rule.id] = (rule.mode, at if mode == rule.mode else adopted)
        context = msgspec.structs.replace(
            old, policy=policy, adopted=adopted, since={rule: at for rule, (_, at) in since.items()}
        )
        yield from self._rewind(context)
        position.policy, position.adopted, position.since = digest, adopted, since

    def _adopt_model(self, digest: str, record: Record) -> Iterator[None]:
        """Tell the risk by another model from here on; deadlines by it that lie before now open no episode."""
        position, old = self.position, self._context
        modelled = self._now(record)
        context = msgspec.structs.replace(
            old, model=self._library.model(digest), model_version=digest[:12], modelled=modelled
        )
        yield from self._rewind(context)
        position.model, position.modelled = digest, modelled

    def _adopt_quantiles(self, digest: str, record: Record) -> Iterator[None]:
        """Go by other thresholds from here on; what they alone bring into a segment opens no episode."""
        measured = self._now(record)
        quantiles = self._library.quantiles(digest)
        yield from self._rewind(msgspec.structs.replace(self._context, quantiles=quantiles, measured=measured))
        self.position.quantiles, self.position.measured = digest, measured

    def _now(self, record: Record) -> int:
        """What lies before this moment (effective time) was not foreseen by what `record` adopts."""
        context = self._context
        now = max(context.clock, record.timestamp) if self.position.domain == "live" else context.clock
        return now - context.dark * HOUR

    def _rewind(self, context: Context) -> Iterator[None]:
        """The one pass over all rows: everyone is put on a new wheel, by the next epoch."""
        context.epoch = self.position.epoch + 1
        self._store_hot()
        wheel = Wheel()
        for visited, (key, row) in enumerate(self.rows.items(), start=1):
            wheel.put(max(earliest_wake(decode_row(row), context), context.next_hour), key)
            if visited % _PAUSE_WAKES == 0:
                yield  # nothing has changed yet: a restart from here adopts anew
        self.position.epoch = context.epoch
        self.wheel = wheel
        self._use(context)

    def _use_model(self, digest: str) -> None:
        self._context.model, self._context.model_version = self._library.model(digest), digest[:12]

    def _use_lease(self, digest: str) -> None:
        leases = self._library.leases(digest)
        self._context.purse = Purse(leases, self.cells.values)
        self.position.lease = digest

    def _use(self, context: Context) -> None:
        self._context = context
        self._channels = Channels(context.policy)
        if self.position.horizon is not None:
            context.clock = self.position.horizon - context.policy.lateness

    def _store_hot(self) -> None:
        """Encode what has changed since the last commit."""
        rows, changed = self.rows, self._changed
        for key, state in self._hot.items():
            if state is None:
                rows.pop(key, None)
                changed.append((b"u" + key, None))
            else:
                row = rows[key] = encode_row(state)
                changed.append((b"u" + key, row))
        self._hot.clear()
