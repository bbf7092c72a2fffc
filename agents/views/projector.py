"""The projector: follows the state, the registry and the decisions, committed records only, and writes the views.

It trusts nothing but what lies in Redis: after every error, and when something else has touched them, it reads its
position from there and goes on from it. So a Redis that comes back old, or empty, or with half of what was sent, ends
in the same views.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from time import monotonic, time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agents.exits import Exit, Refusal
from agents.kafka.connection import client_options
from agents.kafka.store import reader
from agents.log import logger
from agents.settings import Settings
from agents.views.batch import Batch, Offsets
from agents.views.keys import root_of
from agents.views.lineage import read_lineage
from agents.views.metrics import ViewMetrics
from agents.views.recent import Entry, Place, read_entry
from agents.views.store import Lineage, Lost, Opened, Store, Superseded, Write
from pipeline.position import decode_position
from schemas.topics import DECISIONS, REGISTRY, STATE

log = logger(__name__)

_INTERVAL: Final = 0.2  # s between two writes, under load
_FULL: Final = 20_000  # changes that are written at once
_PULSE: Final = 2.0  # s after which the position is written although nothing came: so an emptied Redis is noticed
_IDENTITY: Final = 30.0  # s between two looks whether the topics are still the same
_BACKOFF: Final = 1.0  # s, the longest pause before Redis is tried again

_Now = Callable[[], float]


class Projector:
    """Keeps the views of one deployment.

    Args:
        settings: brokers and topics.
        redis: a client that neither retries nor decodes.
        metrics: what is counted.
        now: the wall clock, s.
    """

    def __init__(self, settings: Settings, redis: Redis, metrics: ViewMetrics, *, now: _Now = time) -> None:
        self._settings = settings
        self._metrics = metrics
        self._now = now
        self._most = settings.views_decisions
        owner = f"{round(now() * 1000):013d}-{token_hex(4)}"
        self._store = Store(redis, root_of(settings.topic_prefix), owner, self._most)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set.

        Raises:
            Refusal: no broker, a missing topic, or another projector has taken over.
        """
        async with reader(client_options(self._settings)) as consumer:
            pause = 0.1
            while not stop.is_set():
                try:
                    await self._store.ping()
                    lineage, tombstones = await asyncio.to_thread(read_lineage, self._settings)
                    await self._follow(consumer, lineage, tombstones, stop)
                except Lost:
                    self._metrics.errors.inc()
                    log.warning("views_lost", note="Redis does not hold what was written; reading its position again")
                except Superseded:
                    line = "another `rekindle views` was started for these topics, and keeps the views; one is enough"
                    raise Refusal(Exit.FENCED, line) from None
                except (RedisError, OSError, TimeoutError) as error:
                    self._metrics.up.set(0)
                    self._metrics.errors.inc()
                    log.warning("redis_failed", error=type(error).__name__)  # the text may quote a row
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), pause)
                    pause = min(_BACKOFF, pause * 2)
                else:
                    pause = 0.1

    async def _follow(self, consumer: AIOKafkaConsumer, lineage: Lineage, tombstones: int, stop: asyncio.Event) -> None:
        now = round(self._now() * 1000)
        bounds = await self._bounds(consumer, lineage.count)
        opened = await self._store.open(lineage, oldest=now - tombstones // 2, now=now, usable=bounds.reach)
        self._metrics.up.set(1)
        self._metrics.current.set(opened.resumed)
        if opened.resumed:
            swept = await self._store.sweep(opened.names)  # a rebuild that was given up
            log.info("views_shown", decisions=len(opened.recent), replaced=swept)
        else:
            self._metrics.rebuilds.inc()
            log.info("views_rebuilding", why=opened.why)
        watcher = asyncio.create_task(self._watch(lineage))
        try:
            following = _Following(consumer, bounds, self._store, opened, most=self._most, now=self._now)
            await following.run(stop, watcher, self._metrics)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, lineage: Lineage) -> None:
        """Returns when the topics are no longer those that the views are made from."""
        while True:
            await asyncio.sleep(_IDENTITY)
            with suppress(Refusal):  # a broker that is down
                found, _ = await asyncio.to_thread(read_lineage, self._settings)
                if found != lineage:
                    return

    async def _bounds(self, consumer: AIOKafkaConsumer, count: int) -> "Bounds":
        topics = {topic.name: self._settings.topic(topic.name) for topic in (STATE, REGISTRY, DECISIONS)}
        tps = {
            (name, number): TopicPartition(full, number)
            for name, full in topics.items()
            for number in range(1 if name == REGISTRY.name else count)
        }
        consumer.assign(list(tps.values()))
        starts = await consumer.beginning_offsets(list(tps.values()))
        ends = await consumer.end_offsets(list(tps.values()))
        return Bounds(tps, {k: starts[tp] for k, tp in tps.items()}, {k: ends[tp] for k, tp in tps.items()})


class Bounds:
    """What the topics hold: partitions by (topic, number), their first offsets, and where whole transactions end."""

    def __init__(self, tps: dict[tuple[str, int], TopicPartition], starts: Offsets, ends: Offsets) -> None:
        self.tps, self.starts, self.ends = tps, starts, ends

    def reach(self, offsets: Offsets) -> bool:
        """Whether nothing is missing between these offsets and the ends. Old decisions may be."""
        for key, start in self.starts.items():
            offset = offsets.get(key)
            if offset is None or offset > self.ends[key] or (offset < start and key[0] != DECISIONS.name):
                return False
        return True

    def begin(self, offsets: Offsets, most: int) -> Offsets:
        """Where to begin: at the offsets, else at the start; of the decisions, at most so far back that the last
        `most` are read: each transaction has a record and a marker.
        """
        found: Offsets = {}
        for key, start in self.starts.items():
            first = max(start, self.ends[key] - 2 * most) if key[0] == DECISIONS.name else start
            found[key] = max(start, offsets.get(key, first))
        return found


class _Following:
    """One generation from where it stands, until something fails."""

    def __init__(
        self, consumer: AIOKafkaConsumer, bounds: "Bounds", store: Store, opened: Opened, *, most: int, now: _Now
    ) -> None:
        self._consumer, self._store, self._opened, self._now = consumer, store, opened, now
        self._tps = bounds.tps
        self._keys = {tp: key for key, tp in bounds.tps.items()}
        self._most = most
        self._begin = bounds.begin(opened.offsets, self._most)
        self._goal = {} if opened.resumed else dict(bounds.ends)
        self._written: Offsets = dict(opened.offsets)
        self._fresh = opened.fresh
        self._metrics: ViewMetrics
        self._batch = Batch()
        self._waiting: dict[int, deque[Entry]] = {number: deque() for number in range(opened.names.partitions)}
        self._reached: dict[int, int] = {}
        """The source offset of each partition up to which the views show its users."""

    async def run(self, stop: asyncio.Event, changed: asyncio.Task[None], metrics: ViewMetrics) -> None:
        """Raises Lost, RedisError, OSError."""
        self._metrics, consumer = metrics, self._consumer
        decisions = [tp for (topic, _), tp in self._tps.items() if topic == DECISIONS.name]
        for key, tp in self._tps.items():
            consumer.seek(tp, self._begin[key])
        if self._goal:  # a decision is shown only if its user's row is there: the rows first
            consumer.pause(*decisions)
        else:
            consumer.resume(*decisions)
            await self._load_reached()
        wrote = monotonic()
        while not stop.is_set():
            if changed.done():
                raise Lost
            for tp, records in (await consumer.getmany(timeout_ms=100, max_records=_FULL)).items():
                self._take(tp, records)
            lag, positions = await self._progress()
            if self._goal and consumer.paused() and self._reached_goal(positions, STATE.name):
                consumer.resume(*decisions)
            due = monotonic() - wrote
            if (self._batch.records and due >= _INTERVAL) or self._batch.changes >= _FULL or due >= _PULSE:
                await self._write(positions, lag)
                wrote = monotonic()
        lag, positions = await self._progress()
        await self._write(positions, lag)

    async def _load_reached(self) -> None:
        for number, row in (await self._store.positions(self._opened.names)).items():
            self._reached[number] = decode_position(row).offset

    def _take(self, tp: TopicPartition, records: list[Any]) -> None:
        topic, number = self._keys[tp]
        self._metrics.records.inc(len(records))
        if topic == STATE.name:
            self._batch.state(number, records)
            if number in self._batch.positions:
                self._reached[number] = decode_position(self._batch.positions[number]).offset
        elif topic == REGISTRY.name:
            self._batch.registry(records)
        else:
            self._metrics.decisions.inc(len(records))
            waiting = self._waiting[number]
            for record in records:
                place = Place(record.timestamp, number, record.offset)
                entry = read_entry(place, record.key, record.value, record.headers)
                if entry is not None:
                    waiting.append(entry)
            while len(waiting) > self._most:  # so many newer ones are there already
                waiting.popleft()

    async def _progress(self) -> tuple[int, Offsets]:
        """Records of the state that are not read yet, and how far each partition has been read."""
        positions = {key: await self._consumer.position(tp) for key, tp in self._tps.items()}
        lag = 0
        for key, tp in self._tps.items():
            if key[0] == STATE.name:
                highwater = self._consumer.highwater(tp)
                lag += 1 if highwater is None else max(0, highwater - positions[key])
        return lag, positions

    def _reached_goal(self, positions: Offsets, *topics: str) -> bool:
        return all(positions[key] >= end for key, end in self._goal.items() if not topics or key[0] in topics)

    async def _write(self, positions: Offsets, lag: int) -> None:
        opened, batch = self._opened, self._batch
        ready: list[Entry] = []
        offsets = dict(positions)
        for number, waiting in self._waiting.items():
            while waiting and waiting[0].source < self._reached.get(number, -1):
                ready.append(waiting.popleft())
            if waiting:
                offsets[DECISIONS.name, number] = waiting[0].place.offset
        swap = bool(self._goal) and self._reached_goal(positions)
        now = round(self._now() * 1000)
        fresh = self._fresh = self._fresh if lag else now
        moved = {key: offset for key, offset in offsets.items() if self._written.get(key) != offset}
        began = monotonic()
        await self._store.write(opened, Write(batch, ready, moved, fresh, swap))
        self._metrics.write.observe(monotonic() - began)
        self._metrics.rows.inc(sum(map(len, batch.rows.values())))
        self._metrics.lag.set(lag)
        self._metrics.age.set(fresh / 1000)
        self._written, self._batch = offsets, Batch()
        if swap:
            self._goal = {}
            self._metrics.current.set(1)
            swept = await self._store.sweep(opened.names)
            log.info("views_shown", decisions=len(opened.recent), replaced=swept)
