"""Fetched bytes to records, without aiokafka's record object.

aiokafka wraps each record into a named tuple of eleven fields, most of what a fetched record costs. The objects of its
C decoder already have the five that are needed, so a batch is taken over as it is.
"""

from typing import Any

from aiokafka.errors import CorruptRecordException


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
    return records, position
