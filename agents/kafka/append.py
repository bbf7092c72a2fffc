"""Appending many records to a topic, each to the partition of its key, in batches that are built here."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.exits import Exit, Refusal
from agents.kafka.batches import BATCH_BYTES, batches
from agents.kafka.transactions import Message
from schemas.partitioner import partition_of


def batch_producer(options: Mapping[str, Any], client_id: str) -> AIOKafkaProducer:
    """A producer for `append`: idempotent, so that a retry neither repeats nor reorders."""
    return AIOKafkaProducer(
        **options,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=BATCH_BYTES + 100_000,
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
    futures: list[asyncio.Future[Any]] = [
        await producer.send_batch(batch, topic, partition=partition) for batch in batches(messages, transactional=False)
    ]
    await asyncio.gather(*futures)
