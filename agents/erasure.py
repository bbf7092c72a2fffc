"""Erasing a user, and the certificate: `applied` when nothing of the user is applied or shown any more, `complete` when
the topics have let go of what they said before.
"""

import asyncio
from time import monotonic, time
from typing import Final, Literal

import msgspec

from agents.admission import current_admission
from agents.delivery import deliver
from agents.erasure_key import erasure_key
from agents.exits import Exit, Refusal
from agents.kafka.admin import topic_settings
from agents.kafka.connection import client_options
from agents.kafka.read import Logs, open_logs
from agents.settings import Settings
from pipeline.erasure import Mark, WrongKey, check_value, decode_mark, mark_name
from pipeline.position import decode_position
from schemas.codec import encode_json, rfc3339
from schemas.partitioner import partition_of
from schemas.topics import PERSONAL, STATE, gone_within

_PULSE: Final = 0.5  # s between two looks


class Certificate(msgspec.Struct):
    """What can be said of an erasure. Times in RFC 3339.

    `refused`: records of before that came after it; `last_record_at`: when the last record about the user was appended,
    those included; `complete_from`: when every topic, as it is kept now, has let go of that one, null if a topic keeps
    its records for ever; `remains`: what is still there, in words.
    """

    state: Literal["none", "applied", "complete"]
    mark: str
    erased_until: str | None = None
    applied_at: str | None = None
    partition: int | None = None
    offset: int | None = None
    refused: int = 0
    last_record_at: str | None = None
    complete_from: str | None = None
    remains: list[str] = []


def request(user: str, mark: str, at: int) -> bytes:
    """The event that erases a user; the same for the same moment (ms), so that sending it twice erases once."""
    return encode_json({"messageId": f"erase-{mark}-{at}", "type": "delete", "userId": user, "timestamp": rfc3339(at)})


async def forget(settings: Settings, user: str, at: int, wait: float) -> Certificate | None:
    """Erase a user who asked for it at `at` (ms), unless they are erased up to then already: append an event of the
    type `delete`, and look for so many seconds whether it is applied. None: not yet; it will be, once a worker runs.

    Raises:
        Refusal: as `certificate`; USAGE: it would be refused.
    """
    mark = mark_name(user.encode(), erasure_key(settings)).hex()
    found = await certificate(settings, user, at)
    if not _covers(found, at):
        checked = (await current_admission(settings, backfill=False)).check(0, request(user, mark, at))
        if checked.refusal is not None:
            raise Refusal(Exit.USAGE, f"they can't be erased: {checked.refusal.message}")
        async for _ in deliver(settings, [checked]):
            pass
    deadline = monotonic() + wait
    while True:
        found = await certificate(settings, user, round(time() * 1000))
        if _covers(found, at):
            return found
        if monotonic() > deadline:
            return None
        await asyncio.sleep(_PULSE)


def _covers(found: Certificate, at: int) -> bool:
    return found.erased_until is not None and found.erased_until >= rfc3339(at)


async def certificate(settings: Settings, user: str, now: int) -> Certificate:
    """Look up what became of a user's erasure as of `now` (ms). Seconds for a million users.

    Raises:
        Refusal: no broker, a topic is missing, or no key of erasures, or another than the workers have.
    """
    key, secret = user.encode(), erasure_key(settings)
    name = mark_name(key, secret)
    async with open_logs(client_options(settings)) as logs:
        mark, appended = await _look(logs, settings.topic(STATE.name), key, name, secret)
        if mark is None:
            return Certificate("none", name.hex(), remains=["they were not erased, or the worker is not there yet"])
        remains = []
        for topic in PERSONAL:
            full = settings.topic(topic.name)
            old = sum(at <= mark.last for at in appended) if topic is STATE else await logs.reach_back(full, mark.last)
            if old:
                what = "records name them" if topic is STATE else "partitions reach back to before the erasure"
                remains.append(f"{full}: {old} {what}")
        number = partition_of(key, await logs.count(settings.topic(STATE.name)))
    kept = await asyncio.to_thread(topic_settings, client_options(settings), settings.topic_prefix, PERSONAL)
    within = [gone_within(found) for found in kept.values()]
    from_then = None if None in within else mark.last + max(ms for ms in within if ms is not None)
    complete = from_then is not None and now >= from_then and not remains
    return Certificate(
        "complete" if complete else "applied",
        name.hex(),
        rfc3339(mark.until),
        rfc3339(mark.applied),
        number,
        mark.offset,
        mark.refused,
        rfc3339(mark.last),
        None if from_then is None else rfc3339(from_then),
        remains,
    )


async def _look(logs: Logs, state: str, key: bytes, name: bytes, secret: bytes) -> tuple[Mark | None, list[int]]:
    """The user's mark, and append times of the records of the state that name them, compacted or not yet."""
    number = partition_of(key, await logs.count(state))
    starts, ends = await logs.starts(state), await logs.ends(state)
    mark: Mark | None = None
    appended: list[int] = []
    position: bytes | None = None
    async for _, records in logs.read(state, {number: starts[number]}, {number: ends[number]}):
        for record in records:
            if record.key == b"u" + key:
                appended.append(record.timestamp)
            elif record.key == b"e" + name:
                mark = decode_mark(record.value)
            elif record.key == b"p":
                position = record.value
    if position is not None and decode_position(position).erasure_key not in {"", check_value(secret)}:
        raise Refusal(Exit.ERASURE_KEY, f"{WrongKey()}; it is not the one that the workers have")
    return mark, appended
