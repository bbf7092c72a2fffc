"""Appending many records to a topic, each to the partition of its key, in batches that are built here."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.exits import Exit, Refusal
from agents.kafka.transactions import Message
from schemas.partitioner import partition_of

_BATCH_BYTES: Final = 1_000_000


def batch_producer(options: Mapping[str, Any], client_id: str) -> AIOKafkaProducer:
    """A producer for `append`: idempotent, so that a retry neither repeats nor reorders."""
    return AIOKafkaProducer(
        **options,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        compression_type="zstd",
        max_batch_size=_BATCH_BYTES,
        max_request_size=_BATCH_BYTES + 100_000,
    )


def by_key(records: Iterable[Message], count: int) -> dict[int, list[Message]]:
    """Records by the partition of their key (murmur2) in a topic of `count` partitions, in their order."""
    sorted_out: dict[int, list[Message]] = {}
    known: dict[bytes, int] = {}
    for record in records:
        key = record[0]
        number = known.get(key)
        if number is None:
            number = known[key] = partition_of(key, count)
        sorted_out.setdefault(number, []).append(record)
    return sorted_out


async def append(producer: AIOKafkaProducer, topic: str, records: Mapping[int, list[Message]]) -> None:
    """Append records to the given partitions; returns when every one of them is acknowledged.

    Raises:
        Refusal: one was not. Others may have been written.
    """
    results = await asyncio.gather(
        *(_append(producer, topic, number, messages) for number, messages in records.items()),
        return_exceptions=True,
    )
    for error in results:
        if isinstance(error, KafkaError):
            cause = error.__cause__ or error
            line = (
                f"writing to {topic} failed: {type(cause).__name__}: {cause}; what was not acknowledged is sent again"
            )
            raise Refusal(Exit.SEND, line) from error
        if error is not None:
            raise error


async def _append(producer: AIOKafkaProducer, topic: str, partition: int, messages: list[Message]) -> None:
    futures: list[asyncio.Future[Any]] = []
    batch = producer.create_batch()
    for key, value, headers in messages:
        if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:  # full
            futures.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None, headers=headers)
    if batch.record_count():
        futures.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*futures)
