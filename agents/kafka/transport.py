"""Faust's aiokafka driver with chunks for messages: membership and fetching are its own, position and commits ours.

Subclasses only. The private names of faust 0.15.3 and aiokafka 0.14 that are relied on are held by
`tests/unit/test_faust_contract.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, ClassVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from agents.exits import Exit, Refusal
from agents.kafka.connection import new_loop
from agents.kafka.owner import Chunk
from agents.kafka.records import Taken, arrival, take
from agents.kafka.shell import Shell
from agents.log import logger

log = logger(__name__)

Delivery = tuple[TP, ConsumerMessage]


_PACE = 0.01  # s between two fetches: at low rates a chunk costs more than its records
_POLL = 0.1  # s that a fetch waits for data; a partition that becomes ready meanwhile waits no longer
_FETCH_BYTES = 512 << 10  # per partition; a fetched batch is delivered whole, so this bounds a chunk


@dataclass
class Cursor:
    """How far a partition has been delivered since its last seek."""

    epoch: int
    delivered: int


@dataclass(frozen=True)
class Progress:
    """Where the consumer stands in a partition."""

    position: int
    highwater: int
    age: float
    """Seconds since the broker said so."""
    delivered: int


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Runs on the consumer's thread; what comes before its first await comes before any fetch of the new assignment."""

    _thread: "ConsumerThread"

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> Any:
        """Stop fetching at once, then let faust and the shell know."""
        self._thread.cursors.clear()
        return super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing is fetched until its owner has loaded and sought."""
        assigned = set(assigned)
        self._thread.cursors.clear()
        self._thread.pause(assigned)
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread with aiokafka's consumer: heartbeats go on whatever the fold does."""

    consumer: "Consumer"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cursors: dict[TopicPartition, Cursor] = {}

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        conf = self.app.conf
        # Its assignor keeps its members' last assignment in the class: one class for each consumer of a process.
        assignor = type("Sticky", (StickyPartitionAssignor,), {})
        return AIOKafkaConsumer(
            **transport.options,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            partition_assignment_strategy=[assignor],
            enable_auto_commit=False,
            # Positions come from the state; without one, or out of range, we want to be told.
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_bytes=16 << 20,
            fetch_max_wait_ms=int(_POLL * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            metadata_max_age_ms=30_000,
        )

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop fetching partitions; on this thread."""
        self._ensure_consumer().pause(*partitions)

    async def seek_to(self, tp: TopicPartition, epoch: int, offset: int) -> bool:
        """Read on from `offset`; False when the partition is not assigned any more. From any thread."""
        found: bool = await self.call_thread(self._seek_to, tp, epoch, offset)
        return found

    async def _seek_to(self, tp: TopicPartition, epoch: int, offset: int) -> bool:
        consumer = self._ensure_consumer()
        try:
            consumer.seek(tp, offset)
            consumer.resume(tp)
        except IllegalStateError:  # a rebalance was faster
            return False
        self.cursors[tp] = Cursor(epoch, offset)
        return True

    def progress(self, tp: TopicPartition) -> Progress | None:
        """Where a partition stands, None when that is not known; reads only, from any thread."""
        subscription = self._ensure_consumer()._subscription.subscription  # noqa: SLF001
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(tp) if assignment is not None else None
        cursor = self.cursors.get(tp)
        if state is None or cursor is None or state.highwater is None or not state.has_valid_position:
            return None
        return Progress(state.position, state.highwater, time() - state.timestamp / 1000, cursor.delivered)

    async def passed(self, tp: TopicPartition, delivered: int) -> int | None:
        """Where a partition stands if everything delivered of it ends at `delivered`, None if not: behind the markers
        that follow its last record. From any thread.
        """
        found: int | None = await self.call_thread(self._passed, tp, delivered)
        return found

    async def _passed(self, tp: TopicPartition, delivered: int) -> int | None:
        progress = self.progress(tp)  # on the thread that fetches: nothing is on its way between the two figures
        return progress.position if progress is not None and progress.delivered == delivered else None

    async def check_group(self) -> None:
        """Raises what the group's coordinator refuses, as a right that is missing: aiokafka tells it only to who polls
        by its own way, and waits. From any thread.
        """
        await self.call_thread(self._check_group)

    async def _check_group(self) -> None:
        if self._consumer is not None:
            self._consumer._coordinator.check_errors()  # noqa: SLF001

    async def _fetch_records(  # type: ignore[override]
        self, consumer: AIOKafkaConsumer, *_: Any, **__: Any
    ) -> Mapping[TP, Chunk]:
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher  # noqa: SLF001
        if consumer._closed or fetcher._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        deadline = monotonic() + _POLL
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            while True:
                if not fetcher._subscriptions.reassignment_in_progress:  # noqa: SLF001
                    chunks = self._drain(fetcher)
                    if chunks:
                        return chunks
                left = deadline - monotonic()
                if left <= 0:
                    return {}
                await arrival(fetcher, left)

    def _drain(self, fetcher: Any) -> dict[TP, Chunk]:
        chunks: dict[TP, Chunk] = {}
        for tp in list(fetcher._records):  # noqa: SLF001
            cursor = self.cursors.get(tp)
            if cursor is None or not self.consumer.shell.hungry(tp.partition, cursor.delivered):
                continue
            match take(fetcher, tp):
                case Exception() as error:
                    self._complain(tp, error)
                case Taken([_, *_] as records, position, highwater):
                    # Without records only markers were passed; the next chunk still continues the last one.
                    start, cursor.delivered = cursor.delivered, position
                    chunk = Chunk(tp.partition, cursor.epoch, start, position, highwater, records)
                    chunks[TP(tp.topic, tp.partition)] = chunk
        return chunks

    def _complain(self, tp: TopicPartition, error: Exception) -> None:
        if isinstance(error, NoOffsetForPartitionError):
            return  # from before the seek: the group has no offset, and needs none
        if isinstance(error, OffsetOutOfRangeError):
            line = (
                f"{tp.topic} partition {tp.partition}: records were deleted before they were read; "
                "lengthen its retention, and start with --accept-gap to go on without them"
            )
            error = Refusal(Exit.GAP, line)
        self.app.loop.call_soon_threadsafe(self.consumer.shell.fail, error)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        consumer = self._ensure_consumer()
        try:
            mine = consumer.assignment()
            own = {TopicPartition(*tp): offset for tp, offset in offsets.items() if tp in mine}
            if own:
                await consumer.commit({tp: OffsetAndMetadata(offset, "") for tp, offset in own.items()})
        except (KafkaError, IllegalStateError) as error:
            log.debug("group_commit_failed", error=repr(error))  # others watch it; the truth lies in the state
            return False
        return True


class Consumer(driver.Consumer):
    """Yields one message for each chunk. The group's committed offsets are for lag tools only."""

    RebalanceListener: ClassVar[type[driver.ConsumerRebalanceListener]] = RebalanceListener
    _thread: ConsumerThread
    shell: Shell

    def __init__(self, transport: "Transport", *args: Any, **kwargs: Any) -> None:
        self.shell = transport.shell
        self._security_protocol = str(transport.options["security_protocol"])
        self._fetched_at = 0.0
        self._reported: dict[TP, int] = {}
        super().__init__(transport, *args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        loop = new_loop(self._security_protocol)
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon, thread_loop=loop)

    async def watch(self) -> None:
        """Look once a second whether the group may be joined. Raises KafkaError."""
        while True:
            await asyncio.sleep(1.0)
            await self._thread.check_group()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit, then let faust stop its flow."""
        await self.shell.revoke(tp.partition for tp in revoked)
        self._reported.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Let faust build its streams, then load what is new."""
        await super().on_partitions_assigned(assigned, generation_id)
        await self.shell.assign((tp.partition for tp in assigned), generation_id)

    async def seek_source(self, topic: str, partition: int, epoch: int, offset: int) -> bool:
        """See `ConsumerThread.seek_to`."""
        return await self._thread.seek_to(TopicPartition(topic, partition), epoch, offset)

    def progress(self, topic: str, partition: int) -> Progress | None:
        """See `ConsumerThread.progress`."""
        return self._thread.progress(TopicPartition(topic, partition))

    async def passed(self, topic: str, partition: int, delivered: int) -> int | None:
        """See `ConsumerThread.passed`."""
        return await self._thread.passed(TopicPartition(topic, partition), delivered)

    async def perform_seek(self) -> None:
        """Faust would go to the group's offsets here; every owner seeks by itself when it has loaded."""

    async def getmany(self, timeout: float) -> AsyncIterator[Delivery]:  # noqa: ASYNC109 faust's signature
        """Fetched chunks. Those that are left when a rebalance begins are read again after its seeks."""
        pause = self._fetched_at + _PACE - monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        chunks, _ = await self._wait_next_records(timeout)
        self._fetched_at = monotonic()
        for tp, chunk in (chunks or {}).items():
            if self.should_stop or not self.flow_active:
                return
            # A seek goes back; faust's own guard would drop what is read again.
            self._read_offset[tp] = None
            yield tp, self._to_message(tp, chunk)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        chunk: Chunk = record
        last = chunk.records[-1]
        generation = self.app.consumer_generation_id
        when = last.timestamp / 1000
        value: Any = chunk
        return ConsumerMessage(
            tp.topic, tp.partition, last.offset, when, 1, [], None, value, None, tp=tp, generation_id=generation
        )

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002 faust's names
        """Tell the group how far the transactions have come."""
        offsets = {}
        for tp in self.assignment():
            owner = self.shell.owners.get(tp.partition)
            if owner is not None and owner.committed >= 0 and self._reported.get(tp) != owner.committed:
                offsets[tp] = owner.committed
        if not offsets or not await self._commit(offsets):
            return False
        self._reported.update(offsets)
        return True

    async def verify_all_partitions_active(self) -> None:
        """Faust's stall detector reads positions that it does not set here; the metrics show lag instead."""


class Transport(driver.Transport):
    """Faust's transport, with our consumer, and one set of connection options for all clients."""

    Consumer: ClassVar[type[Consumer]] = Consumer

    def __init__(self, *args: Any, shell: Shell, options: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shell = shell
        self.options = options
