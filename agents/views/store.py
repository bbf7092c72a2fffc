"""Redis as the projector sees it: a generation, and its position with its data in every transaction."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import WatchError

from agents.views.batch import Batch, Offsets
from agents.views.keys import FORMAT, Names, Root, new_generation
from agents.views.recent import Entry, Kept, Recent
from agents.views.wholes import Wholes
from pipeline.state import decode_row
from schemas.codec import rfc3339

_CHUNK: Final = 1_000  # fields of one command


class Lineage(msgspec.Struct, frozen=True):
    """From which Kafka and which topics a generation was made: ids, since names may be used anew."""

    cluster: str
    topics: dict[str, str]
    count: int
    format: int = FORMAT


class Lost(Exception):
    """Redis no longer holds what was last written to it: restored, emptied, or swapped. Open it again."""


class Superseded(Exception):
    """Another projector, started later, keeps these views."""


class Opened(NamedTuple):
    """A generation to go on with. `resumed`: readers see it; else it is empty, and is to be made current."""

    names: Names
    offsets: Offsets
    wholes: Wholes
    recent: Recent
    fresh: int
    """When the views last showed all there was (ms); of new ones: when they were begun."""
    resumed: bool
    why: str
    """Why it is made anew; empty if it is not."""


class Write(NamedTuple):
    """One transaction: what changed, where the projector stands with it, and since when it lagged at most (ms)."""

    batch: Batch
    decisions: list[Entry]
    offsets: Offsets
    fresh: int
    swap: bool = False


_encode_kept = msgspec.msgpack.Encoder().encode
_decode_kept = msgspec.msgpack.Decoder(Kept).decode
_encode_lineage = msgspec.json.Encoder(order="sorted").encode


class Store:
    """The views of one deployment.

    Args:
        redis: a client that does not retry and does not decode.
        root: where they lie.
        owner: names this projector; later ones sort behind earlier ones.
        most: how many decisions are kept.
    """

    def __init__(self, redis: Redis, root: Root, owner: str, most: int) -> None:
        self._redis: Any = redis
        self._root = root
        self._owner = owner.encode()
        self._most = most
        self._serial = 0

    async def open(self, lineage: Lineage, *, oldest: int, now: int, usable: Callable[[Offsets], bool]) -> Opened:
        """Go on with what is current if it can be trusted; else begin a new generation.

        Args:
            lineage: of the topics as they are now.
            oldest: a position that was last fresh before this (ms) may have missed tombstones.
            now: ms.
            usable: whether the topics still reach back to these offsets.

        Raises:
            Superseded: another projector keeps the views.
            RedisError: no answer, or an error.
        """
        current = await self._redis.get(self._root.current)
        why = "there are none"
        if current is not None:
            names = Names(self._root, current.decode())
            about, at = await self._redis.get(names("about")), await self._redis.hgetall(names("at"))
            if at.get(b"owner", b"") > self._owner:
                raise Superseded
            offsets = _offsets(at)
            if about is None or b"serial" not in at:
                why = "they are incomplete"
            elif about != _encode_lineage(lineage):
                why = "they are of other topics"
                await self._redis.delete(self._root.current)  # wrong, not only old
            elif int(at[b"fresh"]) < oldest:
                why = "they are older than half the life of a tombstone"
            elif not usable(offsets):
                why = "the topics do not reach back to their position"
            else:
                self._serial = int(at[b"serial"])
                await self._redis.hset(names("at"), "owner", self._owner)
                wholes, recent = await self._load(names)
                return Opened(names, offsets, wholes, recent, int(at[b"fresh"]), resumed=True, why="")
        return await self._begin(lineage, now, why)

    async def _begin(self, lineage: Lineage, now: int, why: str) -> Opened:
        names = new_generation(self._root, lineage.count)
        self._serial = 0
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(self._root.generations, names.generation)
            pipe.set(names("about"), _encode_lineage(lineage))
            pipe.hset(names("at"), mapping={"owner": self._owner, "serial": 0, "fresh": now})
            await pipe.execute()
        return Opened(names, {}, Wholes(lineage.count), Recent(self._most), now, resumed=False, why=why)

    async def _load(self, names: Names) -> tuple[Wholes, Recent]:
        wholes, recent = Wholes(names.partitions), Recent(self._most)
        for number in range(names.partitions):
            for cell, value in (await self._redis.hgetall(names("cells", number))).items():
                wholes.put(number, cell, value)
        wholes.take()
        for place, kept in (await self._redis.hgetall(names("kept"))).items():
            recent.load(place, _decode_kept(kept))
        recent.loaded()
        return wholes, recent

    async def ping(self) -> None:
        """Raises RedisError or OSError if Redis does not answer."""
        await self._redis.ping()

    async def positions(self, names: Names) -> dict[int, bytes]:
        """The partition rows that are shown."""
        return {int(number): row for number, row in (await self._redis.hgetall(names("positions"))).items()}

    async def write(self, opened: Opened, write: Write) -> None:
        """All of it or nothing.

        Raises:
            Lost: nothing was written; `open` tells whether another projector has taken over.
            RedisError, OSError: it may have been written; `open` tells.
        """
        names, batch = opened.names, write.batch
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(names("at"))
            owner, serial = await pipe.hmget(names("at"), "owner", "serial")
            if owner != self._owner or serial != b"%d" % self._serial:
                raise Lost
            for entry in await self._wanted(pipe, names, batch, write.decisions):
                opened.recent.add(entry)
            for rows in batch.rows.values():
                for user, row in rows.items():
                    if opened.recent.holds(user):
                        opened.recent.forget(user, _first(row))
            pipe.multi()
            _rows(pipe, names, batch)
            _sums(pipe, names, batch, opened.wholes)
            _decisions(pipe, names, opened.recent)
            at = {f"{topic}/{number}": offset for (topic, number), offset in write.offsets.items()}
            pipe.hset(names("at"), mapping={**at, "serial": self._serial + 1, "fresh": write.fresh})
            if write.swap:
                pipe.set(self._root.current, names.generation)
            try:
                await pipe.execute()
            except WatchError:
                raise Lost from None
        self._serial += 1

    async def _wanted(self, pipe: Any, names: Names, batch: Batch, decisions: list[Entry]) -> list[Entry]:
        """Those whose user is still there, and was not erased since: nothing about who is gone is kept."""
        found = []
        by_partition: dict[int, list[Entry]] = {}
        for entry in decisions:
            by_partition.setdefault(entry.place.partition, []).append(entry)
        for number, entries in by_partition.items():
            there = await pipe.hmget(names("users", number), [entry.user for entry in entries])
            changed = batch.rows.get(number, {})
            for entry, stored in zip(entries, there, strict=True):
                first = _first(changed.get(entry.user, stored))
                if first is not None and first <= entry.started:
                    found.append(entry)
        return found

    async def sweep(self, names: Names) -> int:
        """Delete every generation but this one; how many there were."""
        others = [name.decode() for name in await self._redis.smembers(self._root.generations)]
        others = [name for name in others if name != names.generation]
        for other in others:
            found = self._redis.scan_iter(match=Names(self._root, other)("*"), count=1_000)
            keys = [key async for key in found]
            for some in _chunks(keys, _CHUNK):
                await self._redis.unlink(*some)
            await self._redis.srem(self._root.generations, other)
        return len(others)


def _first(row: bytes | None) -> str | None:
    """A row's first activity; None: there is none. A decision of an earlier silence is of somebody who was erased."""
    if row is None:
        return None
    first = decode_row(row).activity.first
    return rfc3339(first) if first else None


def _rows(pipe: Any, names: Names, batch: Batch) -> None:
    for number, rows in batch.rows.items():
        key = names("users", number)
        _put(pipe, key, ((user, row) for user, row in rows.items() if row is not None))
        _remove(pipe, key, (user for user, row in rows.items() if row is None))
    _put(pipe, names("positions"), batch.positions.items())
    _put(pipe, names("guards"), batch.guards.items())
    _put(pipe, names("registry"), ((key, body) for key, body in batch.bodies.items() if body is not None))
    _remove(pipe, names("registry"), (key for key, body in batch.bodies.items() if body is None))


def _sums(pipe: Any, names: Names, batch: Batch, wholes: Wholes) -> None:
    for number, cells in batch.cells.items():
        _put(pipe, names("cells", number), cells.items())
        for cell, value in cells.items():
            wholes.put(number, cell, value)
    for name, whole in wholes.take().items():
        _put(pipe, names("sum", name), whole.items())


def _decisions(pipe: Any, names: Names, recent: Recent) -> None:
    changes = recent.take()
    for key in ("decisions", "sent"):
        for some in _chunks(changes.gone, _CHUNK):
            pipe.zrem(names(key), *some)
    for key in ("documents", "kept"):
        _remove(pipe, names(key), changes.gone)
    _remove(pipe, names("triggers"), (kept.trigger for kept in changes.gone.values()))
    _remove(pipe, names("places"), (user for user, places in changes.users.items() if not places))
    _put(pipe, names("places"), ((user, b" ".join(places)) for user, places in changes.users.items() if places))
    added = changes.added
    _put(pipe, names("documents"), ((place, entry.document) for place, entry in added.items()))
    kept = (
        (place, _encode_kept(Kept(entry.user, entry.trigger, entry.sent, entry.started)))
        for place, entry in added.items()
    )
    _put(pipe, names("kept"), kept)
    _put(pipe, names("triggers"), ((entry.trigger, place) for place, entry in added.items()))
    sent = [place for place, entry in added.items() if entry.sent]
    for key, places in (("decisions", list(added)), ("sent", sent)):
        for some in _chunks(places, _CHUNK):
            pipe.zadd(names(key), dict.fromkeys(some, 0))


def _put(pipe: Any, key: str, pairs: Iterable[tuple[Any, Any]]) -> None:
    for some in _chunks(pairs, _CHUNK):
        pipe.execute_command("HSET", key, *(word for pair in some for word in pair))


def _remove(pipe: Any, key: str, fields: Iterable[Any]) -> None:
    for some in _chunks(fields, _CHUNK):
        pipe.execute_command("HDEL", key, *some)


def _chunks(things: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(things)
    while some := list(islice(left, size)):
        yield some


def _offsets(at: dict[bytes, bytes]) -> Offsets:
    found: Offsets = {}
    for name, value in at.items():
        topic, slash, number = name.decode().rpartition("/")
        if slash:
            found[topic, int(number)] = int(value)
    return found
