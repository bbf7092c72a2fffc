"""Fetched bytes to records, without aiokafka's record object.

aiokafka wraps each record into a named tuple of eleven fields, most of what a fetched record costs. The objects of its
C decoder already have the five that are needed, so a batch is taken over as it is.
"""

import asyncio
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException


class Taken(NamedTuple):
    """Fetched records of one partition, the position behind them, and the partition's end at that time."""

    records: list[Any]
    position: int
    highwater: int


def unpack(fetched: Any) -> tuple[list[Any], int]:
    """All records of one fetch of one partition, and the position behind them.

    The position may lie beyond the last record's offset + 1: markers, aborted batches and compaction leave gaps.

    Args:
        fetched: an untouched `aiokafka.consumer.fetcher.PartitionRecords`.

    Raises:
        CorruptRecordException: a batch's checksum is wrong; fetching again may help.
    """
    records: list[Any] = []
    position: int = fetched.next_fetch_offset
    batches = fetched._records  # noqa: SLF001
    committed_only = fetched._isolation_level == 1  # noqa: SLF001
    aborted: set[int] = fetched._aborted_producers  # noqa: SLF001
    while batches.has_next():
        batch = batches.next_batch()
        if fetched._check_crcs and not batch.validate_crc():  # noqa: SLF001
            msg = f"invalid checksum in {fetched._tp} after offset {position}"  # noqa: SLF001
            raise CorruptRecordException(msg)
        if committed_only and batch.producer_id is not None:
            fetched._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
            if batch.is_control_batch and fetched._contains_abort_marker(batch):  # noqa: SLF001
                aborted.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in aborted:
                position = batch.next_offset
                continue
        if not batch.is_control_batch:
            if batch.base_offset >= position:
                records.extend(batch)
            else:  # a batch is delivered whole, also when the position lies inside it
                records.extend(record for record in batch if record.offset >= position)
        position = batch.next_offset
    fetched._records_iterator = None  # noqa: SLF001 it refers to its owner: the bytes would wait for the cycle collector
    return records, position


def take(fetcher: Any, tp: TopicPartition) -> Taken | Exception | None:
    """What aiokafka's fetcher holds ready of one partition, handed over whole; it fetches on from behind it.

    Runs on the consumer's loop. None: nothing, or nothing that still counts after a seek or a rebalance. An exception
    is handed over, not raised: it may be one from before a seek.
    """
    result = fetcher._records.pop(tp, None)  # noqa: SLF001
    if result is None:
        return None
    fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001
    if not isinstance(result, FetchResult):
        error: Exception = result._error  # noqa: SLF001
        return error
    if not (result.check_assignment(tp) and result.has_more()):
        return None
    records, position = unpack(result._partition_records)  # noqa: SLF001
    state = result._assignment.state_value(tp)  # noqa: SLF001
    state.consumed_to(position)
    return Taken(records, position, state.highwater)


async def arrival(fetcher: Any, patience: float) -> None:
    """Wait until something has been fetched, `patience` seconds at most. Raises errors of the group's coordination."""
    waiter = fetcher._create_fetch_waiter()  # noqa: SLF001
    await asyncio.wait([waiter], timeout=patience)
    if waiter.done():
        waiter.result()
    else:
        waiter.cancel()
