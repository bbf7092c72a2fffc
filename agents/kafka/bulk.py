"""One long transaction over any number of topics and partitions: everything in it becomes visible at once, or never."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaConnectionError, KafkaError, ProducerFenced
from aiokafka.structs import RecordMetadata

from agents.exits import Exit, Refusal, no_broker
from agents.kafka.batches import BATCH_BYTES, batches

_LEAVE: Final = 5.0  # s to close the connections
_INIT: Final = 60.0  # s for the first answer, which includes the end of what a killed predecessor left open

Entry = tuple[bytes, bytes | None, list[tuple[str, bytes]]]


class Bulk:
    """Appends inside the open transaction; made by `one_transaction`."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._sent: list[asyncio.Future[RecordMetadata]] = []
        self._first: dict[tuple[str, int], asyncio.Future[RecordMetadata]] = {}

    async def append(self, topic: str, partition: int, entries: Iterable[Entry]) -> None:
        """Append to a partition; at most some batches of it are in memory."""
        for batch in batches(entries, transactional=True):
            future = await self._producer.send_batch(batch, topic, partition=partition)
            self._sent.append(future)
            self._first.setdefault((topic, partition), future)

    async def landed(self) -> dict[tuple[str, int], int]:
        """Wait until every batch is acknowledged; the offset of the first record in each partition."""
        await asyncio.gather(*self._sent)  # aiokafka commits over a batch that failed
        return {place: future.result().offset for place, future in self._first.items()}


@asynccontextmanager
async def one_transaction(options: Mapping[str, Any], transactional_id: str, *, seconds: float) -> AsyncIterator[Bulk]:
    """Open a transaction; commit it when the block ends, abort it when the block raises.

    To begin with, whoever uses the same id is fenced, and what a killed one has left open is aborted.

    Args:
        options: of `client_options`.
        transactional_id: one for each job that must not run twice at once.
        seconds: for the whole; the broker aborts what is open for longer.

    Raises:
        Refusal: no broker, or it failed, or it is fenced by another of its kind: nothing of it is visible.
    """
    producer = AIOKafkaProducer(
        **options,
        client_id=transactional_id,
        transactional_id=transactional_id,
        transaction_timeout_ms=int(seconds * 1000),
        acks="all",
        linger_ms=0,
        max_request_size=BATCH_BYTES + 100_000,
        retry_backoff_ms=20,
    )
    try:
        try:
            await asyncio.wait_for(producer.start(), _INIT)
            async with asyncio.timeout(seconds):
                await producer.begin_transaction()
                try:
                    bulk = Bulk(producer)
                    yield bulk
                    await bulk.landed()
                except BaseException:
                    with suppress(KafkaError, TimeoutError):
                        await asyncio.wait_for(producer.abort_transaction(), _LEAVE)
                    raise
                await producer.commit_transaction()
        finally:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), _LEAVE)
    except (ProducerFenced, InvalidProducerEpoch) as error:
        line = f"another run of the same command has taken over ({transactional_id}); nothing of this one is visible"
        raise Refusal(Exit.FENCED, line) from error
    except TimeoutError as error:
        line = f"transaction {transactional_id} was not done in time (at most {seconds:.0f} s); are the brokers up?"
        raise Refusal(Exit.SEND, line) from error
    except KafkaConnectionError as error:
        raise no_broker(",".join(options["bootstrap_servers"]), error) from error
    except KafkaError as error:
        cause = error.__cause__ or error
        line = f"transaction {transactional_id} failed: {type(cause).__name__}: {cause}; nothing of it is visible"
        raise Refusal(Exit.SEND, line) from error
