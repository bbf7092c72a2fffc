"""Whether the views show what the topics hold: rows, positions, sums, decisions, read and worked out anew."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from agents.kafka.connection import client_options
from agents.kafka.read import fold_table, open_logs
from agents.settings import Settings
from agents.views.batch import BODIES
from agents.views.connection import redis_client
from agents.views.keys import Names, root_of
from agents.views.recent import PER_USER, Entry, Place, read_entry
from pipeline.state import decode_row
from pipeline.sums import REGISTRY as SUMS
from pipeline.sums import merge
from pipeline.sums.base import Dims, decode_key
from schemas.codec import rfc3339
from schemas.topics import DECISIONS, REGISTRY, STATE

_PULSE: Final = 0.2  # s between two looks

_Cells = dict[tuple[str, Dims], list[int]]
_decode_cell = msgspec.msgpack.Decoder(list[int]).decode


@dataclass
class _Held:
    """What Kafka holds. `tables`: the latest state by partition."""

    tables: dict[int, dict[bytes, bytes]]
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    decisions: list[Entry] = field(default_factory=list)


async def agree(settings: Settings, patience: float) -> list[str]:
    """How the views differ, once that is in no way, or after so many seconds. While nothing is folded any more."""
    deadline = monotonic() + patience
    while True:
        try:
            found = await differences(settings)
        except (RedisError, OSError) as error:
            found = [f"Redis does not answer ({type(error).__name__})"]
        if not found or monotonic() > deadline:
            return found
        await asyncio.sleep(_PULSE)


async def differences(settings: Settings) -> list[str]:
    """How the views differ from the topics, in words; empty: they don't.

    Raises:
        Refusal: no broker, or a topic is missing.
        RedisError, OSError: no Redis.
    """
    held = await _read(settings)
    redis: Any = redis_client(settings)
    try:
        root = root_of(settings.topic_prefix)
        current = await redis.get(root.current)
        if current is None:
            return ["there are no views"]
        names = Names(root, current.decode())
        found = await _state(redis, names, held)
        found += await _sums(redis, names, held)
        return found + await _decisions(redis, names, held, settings.views_decisions)
    finally:
        await redis.aclose()


async def _read(settings: Settings) -> _Held:
    async with open_logs(client_options(settings)) as logs:
        state, decisions = settings.topic(STATE.name), settings.topic(DECISIONS.name)
        held = _Held({number: {} for number in range(await logs.count(state))})
        async for number, records in logs.read(state, await logs.starts(state), await logs.ends(state)):
            fold_table(held.tables[number], records)
        bodies = await logs.registry(settings.topic(REGISTRY.name))
        held.bodies = {key.encode(): body for key, body in bodies.items() if key.startswith(BODIES)}
        async for number, records in logs.read(decisions, await logs.starts(decisions), await logs.ends(decisions)):
            for record in records:
                place = Place(record.timestamp, number, record.offset)
                if (entry := read_entry(place, record.key, record.value, record.headers)) is not None:
                    held.decisions.append(entry)
        return held


def _rows(table: dict[bytes, bytes], kind: bytes) -> dict[bytes, bytes]:
    return {key[1:]: value for key, value in table.items() if key[:1] == kind}


async def _state(redis: Any, names: Names, held: _Held) -> list[str]:
    found = []
    for number, table in held.tables.items():
        shown, rows = await redis.hgetall(names("users", number)), _rows(table, b"u")
        if shown != rows:
            wrong = sum(shown.get(key) != rows.get(key) for key in shown.keys() | rows.keys())
            found.append(f"views: {wrong:,} rows of partition {number} differ")
        if await redis.hget(names("positions"), number) != table.get(b"p"):
            found.append(f"views: the position of partition {number} differs")
        if await redis.hget(names("guards"), number) != table.get(b"g"):
            found.append(f"views: the source guard of partition {number} differs")
    if await redis.hgetall(names("registry")) != held.bodies:
        found.append("views: the policies or models differ")
    return found


async def _sums(redis: Any, names: Names, held: _Held) -> list[str]:
    shown: _Cells = {}
    for name in SUMS:
        cells = await redis.hgetall(names("sum", name))
        shown |= {decode_key(key): _decode_cell(value) for key, value in cells.items()}
    partials = [
        {decode_key(key): _decode_cell(value) for key, value in _rows(table, b"s").items()}
        for table in held.tables.values()
    ]
    wanted = merge(partials)
    wrong = sum(shown.get(key) != wanted.get(key) for key in shown.keys() | wanted.keys())
    return [f"views: {wrong:,} cells of the sums differ"] if wrong else []


async def _decisions(redis: Any, names: Names, held: _Held, most: int) -> list[str]:
    """The last `most`, and of each user the last few; of who was erased none, and none of before if they came again."""
    firsts = {
        key: rfc3339(decode_row(row).activity.first)
        for table in held.tables.values()
        for key, row in _rows(table, b"u").items()
    }
    wanted: dict[bytes, bytes] = {}
    of_user: Counter[bytes] = Counter()
    for entry in sorted(held.decisions, key=lambda entry: entry.place, reverse=True)[:most]:
        if entry.user not in firsts or entry.started < firsts[entry.user]:
            continue
        of_user[entry.user] += 1
        if of_user[entry.user] <= PER_USER:
            wanted[entry.place.encode()] = entry.document
    shown = await redis.hgetall(names("documents"))
    found = []
    if missing := sum(shown.get(place) != document for place, document in wanted.items()):
        found.append(f"views: {missing:,} decisions are missing or differ")
    if surplus := sum(place not in wanted for place in shown):
        found.append(f"views: {surplus:,} decisions of nobody who is there")
    if await redis.zrange(names("decisions"), 0, -1) != sorted(shown):
        found.append("views: the order of the decisions differs")
    return found
