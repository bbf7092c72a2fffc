"""One partition of a foreign topic in the hands of `rekindle ingest`: mapped, checked, appended, then committed."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import time
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer

from agents.admission import Admission
from agents.edge import IngestMetrics
from agents.kafka.append import append, by_key
from agents.kafka.owner import Chunk, Phase
from agents.kafka.transactions import Message
from agents.log import logger
from pipeline.admission import Rejection
from pipeline.mapping import Mapping, Origin
from pipeline.position import CORE_VERSION
from schemas.codec import encode_json
from schemas.deadletter import DeadLetterHeaders, kept
from schemas.event import MAX_BYTES

log = logger(__name__)

_LEAVE: Final = 5.0  # s for what is on its way when a partition is given up


class Mapped(NamedTuple):
    """What became of the records of a chunk."""

    events: list[Message]
    refused: list[Message]
    skipped: int


class Mapper:
    """Records of a foreign topic as records of ours. Pure but for the clock.

    Args:
        mapping: how.
        admission: what the worker will check.
        topic: the foreign one.
        backfill: everything is imported history.
    """

    def __init__(self, mapping: Mapping, admission: Admission, topic: str, *, backfill: bool = False) -> None:
        self._mapping = mapping
        self._admission = admission
        self._topic = topic
        self._backfill = backfill

    def map(self, partition: int, records: Sequence[Any]) -> Mapped:
        """Events with their keys, and dead letters; a record that the mapping skips is only counted."""
        mapped, now = Mapped([], [], 0), round(time() * 1000)
        skipped = 0
        for record in records:
            timestamp = record.timestamp if record.timestamp and record.timestamp > 0 else None
            origin = Origin(self._topic, partition, record.offset, record.key, timestamp)
            found = self._mapping.map(record.value, origin)
            if isinstance(found, Rejection):
                mapped.refused.append(dead_letter(record, origin, found))
                continue
            if not found:
                skipped += 1
            for event in found:
                refusal = event if isinstance(event, Rejection) else None
                if isinstance(event, dict):
                    if self._backfill:
                        event.setdefault("context", {})["backfill"] = True
                    key = str(event.get("userId") or event.get("anonymousId") or "").encode()
                    value = encode_json(event)
                    refusal = self._admission.refusal(key, value, now)
                    if refusal is None:
                        mapped.events.append((key, value, []))
                        continue
                if refusal is not None:
                    mapped.refused.append(dead_letter(record, origin, refusal))
        return mapped._replace(skipped=skipped)


def dead_letter(record: Any, origin: Origin, why: Rejection) -> Message:
    """A foreign record as a dead letter: its own bytes, and where it lies."""
    value, digest = kept(record.value or b"", MAX_BYTES - 1)
    headers = DeadLetterHeaders(
        reason=why.reason,
        message=why.message,
        stage="ingest",
        core=str(CORE_VERSION),
        topic=origin.topic,
        partition=str(origin.partition),
        offset=str(origin.offset),
        time=str(record.timestamp),
        sha256=digest,
    )
    return record.key or b"", value, headers.encode()


@dataclass(frozen=True)
class IntakeTerms:
    """What all intakes of a process share."""

    mapper: Mapper
    producer: AIOKafkaProducer
    users: str
    """Full name of the user topic."""
    deadletters: str
    count: int
    """Partitions of both."""
    begin: Callable[[int], Awaitable[int]]
    """Partition -> where to begin: what the group has committed, else as asked for. Raises Refusal."""
    seek: Callable[[int, int, int], Awaitable[bool]]
    passed: Callable[[int, int], Awaitable[int | None]]
    """Partition, everything before it was handled -> the position behind the markers that follow."""
    report: Callable[[], Awaitable[Any]]
    """Commit the group's offsets."""
    fail: Callable[[BaseException], None]
    metrics: IngestMetrics


class Intake:
    """What an owner is to the worker's shell: all methods run on the loop of the process."""

    behind = 0
    """What was read and is not committed waits in no buffer."""

    def __init__(self, number: int, terms: IntakeTerms) -> None:
        self.number = number
        self.phase = Phase.OPENING
        self.epoch = 0
        self.position = -1
        self.committed = -1
        """Everything before it has been acknowledged."""
        self._terms = terms
        self._inbox: deque[Chunk] = deque()
        self._arrived = asyncio.Event()
        self._lock = asyncio.Lock()  # held while a chunk is on its way
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Find where to begin, then take chunks."""
        for work in (self._open(), self._run()):
            task = asyncio.create_task(self._guard(work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 every failure ends the process, with its own exit code
            self._terms.fail(error)

    async def _open(self) -> None:
        async with self._lock:
            self.committed = await self._terms.begin(self.number)
            if self.phase is not Phase.OPENING:
                return
            self.phase = Phase.READY
        log.info("intake_ready", partition=self.number, offset=self.committed)
        await self._seek(self.committed)

    async def _seek(self, offset: int) -> None:
        self.epoch += 1
        self._inbox.clear()
        self.position = offset
        await self._terms.seek(self.number, self.epoch, offset)

    def take(self, chunk: Chunk) -> None:
        """Hand over a fetched chunk."""
        self._inbox.append(chunk)
        self._arrived.set()

    async def _run(self) -> None:
        while self.phase is not Phase.GONE:
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox:
                chunk = self._inbox.popleft()
                if chunk.epoch != self.epoch:
                    continue
                if chunk.start != self.position:
                    await self._seek(self.position)
                    continue
                async with self._lock:
                    if chunk.epoch == self.epoch:
                        await self._handle(chunk)

    async def _handle(self, chunk: Chunk) -> None:
        terms = self._terms
        mapped = terms.mapper.map(self.number, chunk.records)
        # Dead letters first: if the events fail, both are sent again; a letter too many does no harm.
        if mapped.refused:
            await append(terms.producer, terms.deadletters, {self.number % terms.count: mapped.refused})
        if mapped.events:
            await append(terms.producer, terms.users, by_key(mapped.events, terms.count))
        self.position = self.committed = chunk.end
        terms.metrics.handled(self.number, mapped, lag=chunk.highwater - chunk.end)

    async def settle(self) -> None:
        """Pass the markers behind the last record: they are no records, but the end of the partition lies there."""
        if self.phase is Phase.READY and not self._inbox and not self._lock.locked():
            position = self.position
            passed = await self._terms.passed(self.number, position)
            if passed is not None and self.position == position == self.committed:
                self.committed = passed

    async def hold(self) -> None:
        """A rebalance begins: let what is on its way arrive, and commit it."""
        self.epoch += 1
        self._inbox.clear()
        if self.phase is Phase.READY:
            self.phase = Phase.HELD
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE), self._lock:
                    pass
            await self._terms.report()

    async def resume(self) -> None:
        """Go on after `hold`: the partition stayed here."""
        if self.phase in (Phase.HELD, Phase.READY):
            self.phase = Phase.READY
            await self._seek(self.position)
            self._arrived.set()

    async def drop(self, reason: str) -> None:
        """Let go of the partition; what was not acknowledged is read again by whoever has it next."""
        self.phase = Phase.GONE
        self.epoch += 1
        current = asyncio.current_task()
        for task in list(self._tasks):
            if task is not current:
                task.cancel()
        self._terms.metrics.left(self.number)
        log.info("intake_left", partition=self.number, reason=reason)
