"""Reading what is stored in Kafka: a partition's state, the registry, and what the source still holds."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple
from zlib import crc32

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from agents.exits import Exit, Refusal, no_broker
from agents.kafka.connection import quiet
from agents.kafka.records import Taken, arrival, take

_PATIENCE = 30.0  # s without any progress


class Source(NamedTuple):
    """What the source partition holds now."""

    earliest: int
    end: int
    record: tuple[int, int] | None
    """Timestamp and CRC (of key, then value) of the record that was asked for; None: it is gone."""


@asynccontextmanager
async def reader(options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer outside of any group, for committed records.

    Raises:
        Refusal: no broker.
    """
    consumer = AIOKafkaConsumer(
        **options,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        # 'latest' together with assign() made readers find nothing and look finished
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=100,
    )
    try:
        with quiet("aiokafka"):  # the refusal says it, once
            await consumer.start()
    except KafkaConnectionError as error:
        await consumer.stop()
        raise no_broker(",".join(options["bootstrap_servers"]), error) from None
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_table(
    consumer: AIOKafkaConsumer, topic: str, partition: int, table: dict[bytes, bytes], *, start: int | None = None
) -> int:
    """Fold a compacted partition into `table` up to its end: each key's latest value; a tombstone removes the key.

    Args:
        consumer: of `reader`; its assignment is replaced.
        topic: full name.
        partition: number.
        table: key -> value, changed in place.
        start: position to begin at; the earliest record when None.

    Returns:
        The position reached, which is the end of the partition.

    Raises:
        Refusal: the end was not reached: 30 s passed without progress, as behind an open transaction.
    """
    tp = TopicPartition(topic, partition)
    consumer.assign([tp])
    end = (await consumer.end_offsets([tp]))[tp]
    if start is None:
        start = (await consumer.beginning_offsets([tp]))[tp]
    consumer.seek(tp, start)
    fetcher = consumer._fetcher  # noqa: SLF001 see agents.kafka.records
    position, progressed = start, monotonic()
    while position < end or position < (consumer.highwater(tp) or 0):
        match take(fetcher, tp):
            case Taken(records, position, _):
                progressed = monotonic()
                for record in records:
                    if record.value is None:
                        table.pop(record.key, None)
                    else:
                        table[record.key] = record.value
                await asyncio.sleep(0)
            case None:
                await arrival(fetcher, 0.2)
            case error:
                raise error
        if monotonic() - progressed > _PATIENCE:
            line = (
                f"{topic} partition {partition} could be read to offset {position} only, of {end}: "
                "an open transaction hides the rest; see kafka-transactions.sh find-hanging"
            )
            raise Refusal(Exit.FENCED, line)
    return position


async def probe_source(consumer: AIOKafkaConsumer, topic: str, partition: int, offset: int | None) -> Source:
    """Bounds of a source partition, and the fingerprint of its record at `offset` (None: of none)."""
    tp = TopicPartition(topic, partition)
    consumer.assign([tp])
    earliest = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    fingerprint = None
    if offset is not None and earliest <= offset < end:
        consumer.seek(tp, offset)
        deadline = monotonic() + _PATIENCE
        while monotonic() < deadline:
            batches = await consumer.getmany(tp, timeout_ms=200, max_records=1)
            if records := batches.get(tp):
                if records[0].offset == offset:
                    fingerprint = (records[0].timestamp, record_crc(records[0].key, records[0].value))
                break
            if await consumer.position(tp) > offset:
                break
    return Source(earliest, end, fingerprint)


def check_source(
    where: str, state: str, offset: int, last: tuple[int, int, int] | None, source: Source, *, accept_gap: bool
) -> None:
    """Nothing if a source partition is the one that was folded, and holds all that is to be folded next.

    Args:
        where: its name, for a person.
        state: full name of the state topic.
        offset: next record to fold.
        last: offset, timestamp and CRC of the last record folded.
        source: of `probe_source` for that record.
        accept_gap: records before its earliest are given up.

    Raises:
        Refusal: the topic was recreated, or there is a gap.
    """
    recreated = f"{where} was recreated: {{}}; restore it, or start anew with an empty {state}"
    if source.end < offset:
        ends = f"it ends at {source.end}, and the state has folded up to {offset}"
        raise Refusal(Exit.RECREATED, recreated.format(ends))
    if last is not None and source.record is not None and source.record != last[1:]:
        raise Refusal(Exit.RECREATED, recreated.format(f"its record {last[0]} is not the one that was folded"))
    if last is not None and source.record is None and source.earliest <= last[0]:
        raise Refusal(Exit.RECREATED, recreated.format(f"its record {last[0]} is missing"))
    if source.earliest > offset and not accept_gap:
        line = (
            f"{where}: records {offset} to {source.earliest - 1} were deleted before they were read; "
            "lengthen its retention, and start with --accept-gap to go on without them"
        )
        raise Refusal(Exit.GAP, line)


def check_state(where: str, state: str, app_id: str, reported: int, earliest: int) -> None:
    """Nothing if a partition that has no state may begin at the start of its log: nothing was folded yet.

    Args:
        where: its name, for a person.
        state: full name of the state topic.
        app_id: the group's name.
        reported: how far the group says that it has folded.
        earliest: where the log begins.

    Raises:
        Refusal: the group has come further; the state was lost, and all of what was sent would be sent again.
    """
    if reported > earliest:
        line = (
            f"{where} has no state in {state}, and {app_id} has folded it up to {reported}: the state was lost; stop "
            "all workers and run: rekindle rebuild (only to send everything again: kafka-consumer-groups.sh "
            "--delete-offsets)"
        )
        raise Refusal(Exit.RECREATED, line)


def record_crc(key: bytes | None, value: bytes | None) -> int:
    """CRC-32 of a record's key, then its value."""
    return crc32(value or b"", crc32(key or b""))


class Registry:
    """The bodies of the registry topic by their keys, shared by all partitions of this worker.

    Args:
        options: of `client_options`.
        topic: full name.
    """

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        self._options = options
        self._topic = topic
        self._table: dict[bytes, bytes] = {}
        self._position: int | None = None
        self._lock = asyncio.Lock()
        self.bodies: dict[str, bytes] = {}
        """key -> body; the same object for the life of the worker."""

    async def refresh(self) -> None:
        """Read what has been published since the last call.

        Raises:
            Refusal: no broker, or the end was not reached.
        """
        async with self._lock, reader(self._options) as consumer:
            self._position = await read_table(consumer, self._topic, 0, self._table, start=self._position)
            current = {key.decode("utf-8", "replace"): body for key, body in self._table.items()}
            for gone in self.bodies.keys() - current.keys():
                del self.bodies[gone]
            self.bodies.update(current)
