"""What the worker checks of a record alone, checked before it is sent: so that whoever sends it hears of it."""

from time import time
from typing import NamedTuple

from agents.kafka.publish import history, read_registry
from agents.settings import Settings
from pipeline.admission import Channels, Rejection, admit
from pipeline.play import read_raw
from pipeline.policy import DEFAULT, Policy, parse
from pipeline.records import LogRecord
from schemas.codec import DECODE_ERRORS, decode_foreign, encode_json
from schemas.control import CONTROL_KEY


class Checked(NamedTuple):
    """An event as it would be sent; `refusal` says why it would be a dead letter."""

    place: int
    key: bytes
    value: bytes
    refusal: Rejection | None


class Admission:
    """What the worker checks of a record alone, under the policy that was published last."""

    def __init__(self, policy: Policy, *, backfill: bool = False) -> None:
        self._policy = policy
        self._channels = Channels(policy)
        self._backfill = backfill

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
        item = admit(LogRecord(0, now, key, value), self._policy, self._channels, now)
        if isinstance(item, Rejection):
            return item
        if item.time > now + self._policy.skew:
            return Rejection("time_in_future", "time", "later than now and the allowed skew")
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


async def current_admission(settings: Settings, *, backfill: bool) -> Admission:
    """By the policy that was published last; by the built-in one if none was."""
    registry = await read_registry(settings)
    entries = history(registry)
    body = registry.get(f"policy/{entries[-1].policy}") if entries else None
    return Admission(DEFAULT if body is None else parse(body), backfill=backfill)
