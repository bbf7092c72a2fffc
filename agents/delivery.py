"""Appending checked events to the user topic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from agents.kafka.connection import client_options
from agents.kafka.read import open_logs
from schemas.topics import USERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from agents.admission import Checked
    from agents.settings import Settings

_BATCH: Final = 5_000  # events whose delivery is awaited together


async def deliver(settings: Settings, events: Iterable[Checked]) -> AsyncIterator[int]:
    """Append events to the user topic; yields how many have been acknowledged since the last time."""
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415 0.1 s

    users, options = settings.topic(USERS.name), client_options(settings)
    async with open_logs(options) as logs:
        await logs.count(users)
    producer: Any = AIOKafkaProducer(
        **options, acks="all", enable_idempotence=True, linger_ms=20, compression_type="zstd", max_batch_size=1 << 19
    )
    await producer.start()
    try:
        sent: list[asyncio.Future[Any]] = []
        for event in events:
            sent.append(await producer.send(users, event.value, event.key))  # partitioned by murmur2, as Java does
            if len(sent) >= _BATCH:
                await asyncio.gather(*sent)
                yield len(sent)
                sent.clear()
        await asyncio.gather(*sent)
        yield len(sent)
    finally:
        await producer.stop()
