"""What the worker checks of a record, its time by the clock of the partition, checked before it is sent: so that
whoever sends it hears of it. Only the user's row can tell a repeat, and what is of before an erasure.
"""

from collections.abc import Mapping
from time import time
from typing import NamedTuple

from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.kafka.publish import history, read_registry
from agents.kafka.read import open_logs
from agents.settings import Settings
from pipeline.admission import Channels, Rejection, admit
from pipeline.control import is_control, read_control
from pipeline.partition import LATE_LIMIT, PLAYED_TICK
from pipeline.play import read_raw
from pipeline.policy import DEFAULT, Policy, parse
from pipeline.position import Position, decode_position
from pipeline.profile import is_asked_for
from pipeline.records import LogRecord, UnknownVersion
from schemas.codec import DECODE_ERRORS, decode_foreign, encode_json
from schemas.control import CONTROL_KEY, Tick
from schemas.partitioner import partition_of
from schemas.topics import STATE, USERS

_UNTOLD = Position()  # of a partition that no worker has folded anything of: live, without a clock


class Checked(NamedTuple):
    """An event as it would be sent; `refusal` says why it would be a dead letter."""

    place: int
    key: bytes
    value: bytes
    refusal: Rejection | None


class Admission:
    """What the worker checks of a record, under the policy that was published last.

    `positions`: the row of each partition, where the clocks stand; of a partition without one, and without any, only
    what the wall clock tells is checked.
    """

    def __init__(
        self, policy: Policy, *, backfill: bool = False, positions: Mapping[int, Position | None] | None = None
    ) -> None:
        self._policy = policy
        self._channels = Channels(policy)
        self._backfill = backfill
        self._positions = positions or {0: None}

    def check(self, place: int, value: bytes) -> Checked:
        """Check an event's bytes; `place` is its line, or whatever the caller knows it by."""
        if self._backfill:
            value = as_backfill(value)
        key = read_raw(value).key or b""
        return Checked(place, key, value, self.refusal(key, value, round(time() * 1000)))

    def refusal(self, key: bytes, value: bytes, now: int) -> Rejection | None:
        """Why a record would be a dead letter; None: it would not. `now` in ms."""
        if key == CONTROL_KEY:
            return Rejection("forged_control", "control", "the id is reserved for control messages")
        position = self._positions[partition_of(key, len(self._positions))] or _UNTOLD
        live = position.domain == "live"
        item = admit(LogRecord(0, now, key, value), self._policy, self._channels, now if live else None)
        if isinstance(item, Rejection):
            return item
        policy, asked_for = self._policy, is_asked_for(item)
        if live and item.time > now + policy.skew and not asked_for:
            return Rejection("time_in_future", "time", "later than now and the allowed skew")
        if not live and (
            position.tick is None or (item.time > position.tick + PLAYED_TICK + policy.skew and not asked_for)
        ):
            return Rejection("time_in_future", "time", "time is played here, and has not come so far")
        early = position.horizon is not None and item.time < position.horizon - policy.lateness - LATE_LIMIT
        if early and not (item.backfill or asked_for):
            return Rejection("too_late", "time", "more than 7 days behind the clock; send it with --backfill")
        return None


def as_backfill(value: bytes) -> bytes:
    """The event with `context.backfill` set; bytes that are no JSON object stay as they are."""
    try:
        event = decode_foreign(value)
    except DECODE_ERRORS:
        return value
    if not isinstance(event, dict):
        return value
    context = event.get("context")
    event["context"] = {**(context if isinstance(context, dict) else {}), "backfill": True}
    return bytes(encode_json(event))


async def current_admission(settings: Settings, *, backfill: bool, clocks: bool = False) -> Admission:
    """By the policy that was published last; by the built-in one if none was. With `clocks` by those of the partitions,
    too, as far as workers have come.

    Raises:
        Refusal: no broker or topic, or a newer release wrote the state.
    """
    registry = await read_registry(settings)
    entries = history(registry)
    body = registry.get(f"policy/{entries[-1].policy}") if entries else None
    try:
        positions = await _positions(settings) if clocks else None
    except UnknownVersion as error:
        raise Refusal(Exit.STATE_VERSION, f"{error}; send by that one") from error
    return Admission(DEFAULT if body is None else parse(body), backfill=backfill, positions=positions)


async def _positions(settings: Settings) -> dict[int, Position | None]:
    """The last partition row of each partition. It is the last of each commit, so the topic is read from its end."""
    topic, reach = settings.topic(STATE.name), 1_000
    async with open_logs(client_options(settings)) as logs:
        starts, ends = await logs.starts(topic), await logs.ends(topic)
        found: dict[int, Position | None] = dict.fromkeys(range(len(ends)))
        left = {number: end for number, end in ends.items() if end > starts[number]}
        while left:
            begin = {number: max(starts[number], end - reach) for number, end in left.items()}
            async for number, records in logs.read(topic, begin, left):
                for record in records:
                    if record.key == b"p" and record.value is not None:
                        found[number] = decode_position(record.value)
            left = {n: end for n, end in left.items() if found[n] is None and begin[n] > starts[n]}
            reach *= 8
        played = {number: row for number, row in found.items() if row is not None and row.domain == "played"}
        users = settings.topic(USERS.name)
        ends = await logs.ends(users)
        async for number, records in logs.read(
            users, {number: row.offset for number, row in played.items()}, {number: ends[number] for number in played}
        ):
            for record in filter(is_control, records):  # ticks that no worker has come to yet
                said = read_control(record, played[number])
                if isinstance(said, Tick):
                    played[number].tick = said.time
    return found
